"""Finds the notebook that a person means by '1', '04b', '01_concepts' or a path."""

import re
from collections.abc import Sequence
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from nbformat import NotebookNode

from workbook.paths import CHAPTERS, ROOT
from workbook.runner.errors import did_you_mean

DEFAULT_KERNEL = "python3"


def list_notebooks(folder: Path = CHAPTERS) -> list[Path]:
    """Return the notebooks of ``folder`` by name."""
    return sorted(folder.glob("*.ipynb"))


def find_notebook(text: str, known: Sequence[Path]) -> Path:
    """Return the notebook named by a path, a stem ('01_concepts') or a number ('01', '1', '04b').

    Numbers and stems are looked up among ``known``; paths from the working directory, then from the root.
    Raises `LookupError` with the known names when there is none, or when a number fits several.
    """
    looks_like_path = text.endswith(".ipynb") or "/" in text or "\\" in text
    if looks_like_path:
        for candidate in (Path(text), ROOT / text):
            if candidate.is_file() and candidate.suffix == ".ipynb":
                return candidate.resolve()
    wanted = Path(text).stem if looks_like_path else text
    if Path(text).name == text:
        matches = [path for path in known if path.stem == wanted]
        number = _number(wanted)
        matches = matches or [path for path in known if number and _number(path.stem.split("_")[0]) == number]
        if len(matches) == 1:
            return matches[0].resolve()
        if matches:
            names = ", ".join(path.stem for path in matches)
            raise LookupError(f"{text!r} fits several notebooks ({names}): give the whole name")
    stems = [path.stem for path in known]
    raise LookupError(
        f"unknown notebook {text!r}{did_you_mean(wanted, stems)}. "
        f"Known: {', '.join(stems) or 'none'}; or give the path of an .ipynb file"
    )


def chapter_number(stem: str) -> int | None:
    """Return the chapter of a lesson's stem, 4 for '04b_rates_and_priors'; None where it has none."""
    number = _number(stem.split("_")[0])
    return number[0] if number else None


def _number(text: str) -> tuple[int, str] | None:
    """Return a chapter's number, '04b' and '4b' as (4, 'b'); None where ``text`` is not just a number."""
    match = re.fullmatch(r"(\d+)([a-z]?)", text)
    return (int(match[1]), match[2]) if match else None


def kernel_name(notebook: NotebookNode) -> str:
    """Return the kernel that the notebook asks for, `DEFAULT_KERNEL` when it names none."""
    return notebook.metadata.get("kernelspec", {}).get("name") or DEFAULT_KERNEL


def kernel_problem(name: str) -> str | None:
    """Return why no kernel called ``name`` can be started here, None when it is installed."""
    installed = KernelSpecManager().find_kernel_specs()
    if name in installed:
        return None
    install = f"python -m ipykernel install --sys-prefix --name {name}"
    return f"needs the kernel {name!r}, installed: {', '.join(sorted(installed)) or 'none'}; try: {install}"
