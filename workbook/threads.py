"""How many threads this process may use: all cores, or its share when several notebooks run side by side."""

import os

from threadpoolctl import ThreadpoolController


def available_threads() -> int:
    """Return ``WORKBOOK_THREADS`` (the runner sets it for its workers), else the cores this process may run on.

    Raises:
        ValueError: ``WORKBOOK_THREADS`` is set to something that is not a positive whole number.
    """
    share = os.environ.get("WORKBOOK_THREADS", "")
    if not share:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not share.isdecimal() or int(share) < 1:
        raise ValueError(f"WORKBOOK_THREADS={share!r}: expected a whole number of at least 1; unset it for all cores")
    return int(share)


def keep_blas_to_one_thread() -> None:
    """Give the BLAS of NumPy and that of SciPy one thread each, for as long as this process lives.

    Each library brings a pool of its own. With several threads apiece, their idle workers hold the cores that the
    other pool, or PyTorch's, waits for: an L-BFGS fit on 200 rows took ten times as long on two cores as on one.
    The course's matrices are small, and one thread costs them nothing. PyTorch's own threads are not touched.
    """
    ThreadpoolController().limit(limits=1, user_api="blas")
