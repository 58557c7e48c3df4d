"""Fixtures that several folders of tests share."""

import os
from collections.abc import Iterator

import pytest

# POT, and skada with it, would import TensorFlow into processes that hold PyTorch (see workbook.start_torch).
os.environ["POT_BACKEND_DISABLE_TENSORFLOW"] = "1"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in one fixed order, so that equal means bit for bit."""
    import torch  # here, because most test files do without it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
