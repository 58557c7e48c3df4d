"""What checkers need to look at an answer: blank or not, as numbers, close or not."""

import dis
import types
from collections.abc import Iterable
from typing import Any

import numpy as np

from workbook.exercises.exercise import Wrong

_NOTHING = {"RESUME", "RESUME_CHECK", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}


def is_blank(answer: Any) -> bool:
    """Return whether nothing has been written: None, ``...``, an empty text, or a function with an empty body."""
    if answer is None or answer is Ellipsis:
        return True
    if isinstance(answer, str):
        return not answer.strip()
    if not isinstance(answer, types.FunctionType):
        return False
    steps = list(dis.get_instructions(answer))
    constants = [step.argval for step in steps if step.opname in ("LOAD_CONST", "RETURN_CONST")]
    return {step.opname for step in steps} <= _NOTHING and constants == [None]


def as_array(value: Any) -> np.ndarray:
    """Return a number, list, array or tensor of any framework as a float64 array.

    Raises:
        Wrong: it holds no numbers.
    """
    if hasattr(value, "detach"):  # PyTorch, also with a gradient or on a device
        value = value.detach().cpu()
    if hasattr(value, "numpy") and callable(value.numpy):
        value = value.numpy()
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise Wrong(f"expected numbers, got {type(value).__name__}") from None


def from_set(value: Any) -> Any:
    """Return a set as a sorted list, and all else as it is: for answers, such as rows, whose order means nothing."""
    return sorted(value) if isinstance(value, set | frozenset) else value


def as_number(value: Any) -> float:
    """Return a single number, whatever holds it.

    Raises:
        Wrong: there is not exactly one, or it is not finite.
    """
    array = as_array(value)
    if array.size != 1:
        raise Wrong(f"expected a single number, got {array.size} of shape {array.shape}")
    number = float(array.reshape(()))
    if not np.isfinite(number):
        raise Wrong(f"expected a finite number, got {number}")
    return number


def is_close(value: Any, expected: Any, *, rtol: float = 1e-4, atol: float = 1e-6) -> bool:
    """Return whether an answer has the expected shape and values."""
    found, wanted = as_array(value), as_array(expected)
    return found.shape == wanted.shape and np.allclose(found, wanted, rtol=rtol, atol=atol)


def tell_apart(
    found: Any, known: Iterable[tuple], *, share: float = 0.0, rtol: float = 1e-4, atol: float = 1e-6
) -> None:
    """Compare an answer with the values that the usual mistakes give.

    Args:
        found: the learner's.
        known: ``(value, what is said of it)``, or with a share of the points as a third; the first match counts.
        share: where a mistake names none.
        rtol, atol: see `is_close`.

    Raises:
        Wrong: the answer is one of them.
    """
    for value, said, *own in known:
        if is_close(found, value, rtol=rtol, atol=atol):
            raise Wrong(said, *own or (share,))


def must_return(value: Any) -> Any:
    """Return what the learner's function gave, unless it gave nothing.

    Raises:
        Wrong: it is None.
    """
    if value is None:
        raise Wrong("your function returns nothing: is the `return` missing?")
    return value
