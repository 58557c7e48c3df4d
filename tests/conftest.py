"""Fixtures that several folders of tests share."""

from collections.abc import Iterator

import pytest


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in one fixed order, so that equal means bit for bit."""
    import torch  # here, because most test files do without it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
