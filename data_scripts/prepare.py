"""Makes ahead of time what notebooks at the quick profile would make on first use: fonts, letters, digits.

    python -m data_scripts.prepare

Nothing is fetched from a network. A notebook does not depend on it: every loader makes what it misses.
"""

import importlib
import sys
import time
from collections.abc import Callable

from data_scripts.errors import DataError


def find_fonts() -> str:
    """Let matplotlib list this machine's fonts; in a notebook its message about that would be an output."""
    fonts = importlib.import_module("matplotlib.font_manager").fontManager.ttflist
    return f"{len(fonts)} found"


def load(name: str) -> str:
    """Load a task of the quick profile and describe it.

    Args:
        name: of the task and of its module in this package.
    """
    task = getattr(importlib.import_module(f"data_scripts.{name}"), f"load_{name}")()
    shape = " × ".join(map(str, task.inputs.shape))
    return f"{shape}, {len(task.class_names)} classes"


TASKS = ("glyphs", "handwriting", "photo_digits", "which_photo", "printed_digits", "faces", "breast_cancer")
STEPS: dict[str, Callable[[], str]] = {
    "fonts": find_fonts,
    **{name: lambda name=name: load(name) for name in TASKS},
}


def main() -> int:
    """Take every step, say what it gave and how long it took; return the exit status."""
    for name, step in STEPS.items():
        start = time.perf_counter()
        try:
            found = step()
        except DataError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        print(f"  {name:15} {found:35} {time.perf_counter() - start:5.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
