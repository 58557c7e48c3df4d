"""A bound on how long a learner's code may take."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class TookTooLong(BaseException):
    """Raised in the learner's code when its time is up; no `Exception`, so that ``except Exception`` lets it pass."""


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Stop what runs inside after so many seconds, with `TookTooLong`.

    A call that never comes back from C is stopped only when it does. Where there is no alarm clock (Windows, or
    another thread than the main one), a loop in Python is stopped at its next step.
    """
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        with _alarm(seconds):
            yield
    else:
        with _interrupting(seconds):
            yield


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, ring)
    # It rings again and again: a bare `except` may swallow the first.
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _interrupting(seconds: float) -> Iterator[None]:
    import ctypes

    done, thread = threading.Event(), threading.get_ident()

    def watch() -> None:
        ends = time.monotonic() + seconds
        while not done.wait(max(0.0, ends - time.monotonic())):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TookTooLong))
            ends = time.monotonic() + 0.5

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
