"""Runs functions on this machine, each in a process of its own that can be ended with all its children.

The rest of the runner asks only for a `concurrent.futures.Executor`, so a cluster's can stand in for this one.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.connection import wait
from typing import Any

import psutil

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "WORKBOOK_THREADS",
)
_HAS_SIGNAL_MASK = hasattr(signal, "pthread_sigmask")  # not on Windows


def core_count() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_environment(workers: int) -> dict[str, str]:
    """Return the variables that share the cores fairly between ``workers`` notebooks."""
    threads = str(max(1, core_count() // workers))
    return dict.fromkeys(_THREAD_VARIABLES, threads)


class LocalExecutor(Executor):
    """At most ``workers`` functions at once, each in a fresh process: one that dies takes no other with it.

    ``shutdown(cancel_futures=True)`` also ends what is running, kernels included.
    """

    def __init__(self, workers: int):
        self._environment = thread_environment(workers)
        self._stopping = False
        self._lock = threading.Lock()
        self._futures: list[Future] = []
        self._pids: set[int] = set()
        if _HAS_SIGNAL_MASK:
            # Started here, because starting it lifts the signal mask that `_hold_interrupts` sets.
            from multiprocessing import resource_tracker

            resource_tracker.ensure_running()
        self._threads = ThreadPoolExecutor(workers, initializer=_hold_interrupts)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Schedule ``function(*args, **kwargs)``; all must be picklable.

        The future raises `concurrent.futures.process.BrokenProcessPool` when the process dies.
        """
        future = self._threads.submit(self._in_a_process, function, args, kwargs)
        self._futures.append(future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the executor; with ``cancel_futures`` kill running processes, their children first."""
        if cancel_futures:
            self._stopping = True
            self._threads.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in self._futures):
                with self._lock:
                    pids = list(self._pids)
                for pid in pids:
                    _kill_tree(pid)
                time.sleep(0.05)
        self._threads.shutdown(wait=wait)

    def _in_a_process(self, function: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        pool = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(self._environment,)
        )
        with pool:
            pid = pool.submit(os.getpid).result()
            with self._lock:
                self._pids.add(pid)
            try:
                if self._stopping:
                    raise CancelledError
                return pool.submit(function, *args, **kwargs).result()
            finally:
                with self._lock:
                    self._pids.discard(pid)


def _hold_interrupts() -> None:
    """Keep Ctrl-C from the processes this thread starts, until they can take it (see `_start_worker`)."""
    if _HAS_SIGNAL_MASK:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _start_worker(environment: dict[str, str]) -> None:
    os.environ.update(environment)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # a warning of every kernel's start
    # Ctrl-C reaches the whole process group, but only the main process decides what ends. A function rather
    # than SIG_IGN, which kernels would inherit: they must stay interruptible.
    signal.signal(signal.SIGINT, lambda *_: None)
    if _HAS_SIGNAL_MASK:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave no kernel behind when the main process is killed outright."""
    wait([multiprocessing.parent_process().sentinel])
    _kill_children(psutil.Process())
    os._exit(1)


def _kill_tree(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        worker = psutil.Process(pid)
        worker.suspend()  # or it could start a kernel after its children are listed
        _kill_children(worker)
        worker.kill()


def _kill_children(process: psutil.Process) -> None:
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
