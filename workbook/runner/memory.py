"""Measures what a process and its children (kernels, data loaders) hold in memory at most."""

import threading
from types import TracebackType

import psutil

_INTERVAL = 0.25  # seconds; looking for children costs some milliseconds


class PeakMemory:
    """Context manager that samples the resident memory of this process's tree; ``mb`` is the peak in 10^6 bytes.

    Pages shared between the processes count once for each of them.
    """

    def __init__(self) -> None:
        self.mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.mb = max(self.mb, _tree_bytes() / 1e6)
            if self._stop.wait(_INTERVAL):
                return


def _tree_bytes() -> int:
    total = 0
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.Error:  # it ended since it was listed
            continue
    return total
