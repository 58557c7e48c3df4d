"""Settings of every pytest run: what nbval skips, and how workers share the cores."""

import os

import pytest

from workbook.authoring.comparison import EXTRA_SKIPPED_MIMES
from workbook.runner.executor import thread_environment


def pytest_configure(config: pytest.Config) -> None:
    """Register markers; give each worker of pytest-xdist, and its kernels, its share of the cores."""
    config.addinivalue_line("markers", "chapter: runs cells of a real chapter, which takes minutes")
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        os.environ.update(thread_environment(worker["workercount"]))


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Keep nbval from comparing measured digits; only its collectors have ``skip_compare``."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare = (*collector.skip_compare, *EXTRA_SKIPPED_MIMES)
