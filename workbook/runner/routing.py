"""From a chapter's number to its lesson that does what was asked: photographs have lessons of their own.

A lesson names the profiles that it offers in the comment of its parameter ``profile``; without one it offers the
default alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbook.profiles import PROFILES
from workbook.runner.jobs import Request
from workbook.runner.notebooks import chapter_number, find_notebook
from workbook.runner.parameters import Parameter, read_parameters


def offered_profiles(parameters: Mapping[str, Parameter]) -> tuple[str, ...]:
    """Return the profiles that a notebook says it can run at."""
    if "profile" not in parameters:
        return ()
    profile = parameters["profile"]
    named = [word.strip("\"',;:.") for word in profile.help.split()]
    return tuple(name for name in PROFILES if name in named or name == profile.default)


def route(
    requests: Sequence[Request], overrides: Mapping[str, Any], known: Sequence[Path]
) -> tuple[list[Request], list[str]]:
    """Return the requests with chapter numbers replaced where another lesson of the chapter is meant, and what to say.

    A number is replaced when its lesson lacks the profile or a parameter that was given, and exactly one lesson of
    the same chapter has all of them. Stems and paths are left alone.

    Args:
        requests: as asked.
        overrides: parameters for all of them, ``profile`` among them.
        known: the notebooks that numbers refer to.
    """
    routed, said = [], []
    for request in requests:
        wanted = {**request.parameters, **overrides}
        path = _by_number(request.notebook, known)
        if path is None or _serves(path, wanted, request.grid):
            routed.append(request)
            continue
        lessons = [other for other in known if chapter_number(other.stem) == chapter_number(path.stem)]
        serving = [other for other in lessons if _serves(other, wanted, request.grid)]
        if len(serving) != 1:
            routed.append(request)
            continue
        (lesson,) = serving
        asked = ", ".join(f"{name}={value}" for name, value in wanted.items())
        said.append(f"{request.notebook}: the lesson of this chapter for {asked} is {lesson.stem}; it is run.")
        routed.append(Request(str(lesson), request.parameters, request.grid, request.name))
    return routed, said


def lessons_for(profile: str | None, known: Sequence[Path]) -> list[Path]:
    """Return the notebooks that offer a profile: all of them for None, and for one that does not exist."""
    return [path for path in known if profile not in PROFILES or profile in offered_profiles(read_parameters(path))]


def _by_number(text: str, known: Sequence[Path]) -> Path | None:
    """Return the notebook that a chapter's bare number names, None when ``text`` is something else."""
    if not text.isdecimal():
        return None
    try:
        return find_notebook(text, known)
    except LookupError:
        return None


def _serves(path: Path, wanted: Mapping[str, Any], grid: Mapping[str, Sequence[Any]]) -> bool:
    if not wanted and not grid:
        return True
    try:
        parameters = read_parameters(path)
    except Exception:  # planning reads it again and says what is wrong with it
        return False
    if not all(name in parameters for name in (*wanted, *grid)):
        return False
    profiles = [wanted["profile"]] if "profile" in wanted else list(grid.get("profile", ()))
    return all(profile in offered_profiles(parameters) for profile in profiles)
