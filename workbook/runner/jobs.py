"""From what was asked for (notebooks, parameters, grids) to a checked list of jobs."""

import hashlib
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from workbook.runner.errors import JobError
from workbook.runner.notebooks import find_notebook, kernel_name, kernel_problem, list_notebooks
from workbook.runner.parameters import Parameter, parameter_problem, parse_assignment, read_parameters

_LONGEST_ID = 120  # file systems stop at 255 bytes; temporary names add to it


@dataclass(frozen=True)
class Request:
    """One notebook as a person names it, the parameters it gets, those that are crossed, and a name for its jobs."""

    notebook: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    name: str | None = None


@dataclass(frozen=True)
class Job:
    """One execution: ``id`` is unique in its run and safe as a file name."""

    id: str
    notebook: Path
    kernel: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class _Source:
    """What is known of a notebook file before it runs."""

    path: Path
    kernel: str
    parameters: dict[str, Parameter]


@dataclass(frozen=True)
class _Crossing:
    """A notebook with one combination of values: ``names`` are the crossed parameters, ``name`` the job's own."""

    source: _Source
    parameters: dict[str, Any]
    names: tuple[str, ...]
    name: str | None


def plan_jobs(
    requests: Sequence[Request],
    assignments: Sequence[str] = (),
    profile: str | None = None,
    known: Sequence[Path] | None = None,
) -> list[Job]:
    """Check every request and return its jobs, grids crossed, in the order asked.

    ``assignments`` (``name=value``) and ``profile`` apply to every request and win over its parameters.
    ``known`` are the notebooks that numbers and stems refer to, by default the chapters.
    Raises `JobError` with all the mistakes of all the requests; nothing has run or been written by then.
    """
    known = list_notebooks() if known is None else known
    overrides, problems = read_overrides(assignments, profile)
    sources: dict[Path, _Source] = {}
    crossed: list[_Crossing] = []
    for request in requests:
        try:
            path = find_notebook(request.notebook, known)
            source = sources.get(path) or sources.setdefault(path, _read_source(path))
        except LookupError as error:
            problems.append(str(error))
            continue
        parameters = {**request.parameters, **overrides}
        problems += [f"{path.stem}: {problem}" for problem in _problems(source, parameters, request.grid)]
        for values in itertools.product(*request.grid.values()):
            crossing = dict(zip(request.grid, values, strict=True))
            crossed.append(_Crossing(source, {**parameters, **crossing}, tuple(request.grid), request.name))
    if not requests:
        problems.append("no notebooks to run: chapters/ holds none yet (python -m workbook build makes them)")
    if not problems:
        problems = _repeated(crossed)
    if problems:
        raise JobError(problems)
    ids = _ids(crossed)
    return [
        Job(job_id, one.source.path, one.source.kernel, one.parameters)
        for job_id, one in zip(ids, crossed, strict=True)
    ]


def read_overrides(assignments: Sequence[str], profile: str | None) -> tuple[dict[str, Any], list[str]]:
    """Return the parameters that ``name=value`` texts and a profile set, and what is wrong with them."""
    overrides: dict[str, Any] = {}
    problems = []
    given = list(assignments) if profile is None else [*assignments, f"profile={profile!r}"]
    for text in given:
        try:
            name, value = parse_assignment(text)
        except ValueError as error:
            problems.append(str(error))
            continue
        if name in overrides and overrides[name] != value:
            problems.append(f"{name!r} is given twice, as {overrides[name]!r} and as {value!r}: keep one")
        overrides[name] = value
    return overrides, problems


def _read_source(path: Path) -> _Source:
    try:
        notebook = nbformat.read(path, as_version=4)
        parameters = read_parameters(path)
    except OSError as error:
        raise LookupError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # nbformat raises a different one for each way of not being a notebook
        raise LookupError(f"{path}: is not a notebook that can be read ({type(error).__name__}: {error})") from error
    return _Source(path, kernel_name(notebook), parameters)


def _problems(source: _Source, parameters: Mapping[str, Any], grid: Mapping[str, Sequence[Any]]) -> list[str]:
    found = [parameter_problem(name, value, source.parameters) for name, value in parameters.items()]
    found += [parameter_problem(name, value, source.parameters) for name, values in grid.items() for value in values]
    found += [f"{name!r} is both set and crossed in a grid: keep one" for name in parameters if name in grid]
    found.append(kernel_problem(source.kernel))
    return [problem for problem in found if problem]


def _repeated(crossed: Sequence[_Crossing]) -> list[str]:
    counts = Counter((one.source.path, repr(sorted(one.parameters.items()))) for one in crossed)
    return [
        f"{path.stem} is listed {count} times with the same parameters: keep one"
        for (path, _), count in counts.items()
        if count > 1
    ]


def _ids(crossed: Sequence[_Crossing]) -> list[str]:
    """Return a readable id for each: name or stem, crossed parameters, and more only where these do not tell apart."""
    folders = defaultdict(set)
    paths = [one.source.path for one in crossed]
    for path in paths:
        folders[path.stem.lower()].add(path.parent)
    stems = [
        one.name or (f"{path.parent.name}-{path.stem}" if len(folders[path.stem.lower()]) > 1 else path.stem)
        for one, path in zip(crossed, paths, strict=True)
    ]
    ids = [
        _slug(stem, {name: one.parameters[name] for name in one.names})
        for stem, one in zip(stems, crossed, strict=True)
    ]
    clashes = _clashes(ids)
    ids = [
        _slug(stem, one.parameters) if job_id.lower() in clashes else job_id
        for job_id, stem, one in zip(ids, stems, crossed, strict=True)
    ]
    # What still clashes differs only in characters that a file name cannot show.
    clashes, seen = _clashes(ids), Counter()
    for index, job_id in enumerate(ids):
        if job_id.lower() in clashes:
            seen[job_id.lower()] += 1
            ids[index] = f"{job_id}-{seen[job_id.lower()]}"
    return ids


def _clashes(ids: Sequence[str]) -> set[str]:
    """Return the ids that stand for several jobs, in lower case as some file systems do not tell case apart."""
    return {job_id for job_id, count in Counter(job_id.lower() for job_id in ids).items() if count > 1}


def _slug(stem: str, parameters: Mapping[str, Any]) -> str:
    parts = [stem, *(f"{name}={value}" for name, value in parameters.items())]
    safe = ["_".join(re.findall(r"[\w.=+-]+", part.replace("'", ""))) for part in parts]
    slug = "-".join(safe)
    if len(slug.encode()) <= _LONGEST_ID:
        return slug
    digest = hashlib.sha256(slug.encode()).hexdigest()[:8]
    return slug.encode()[:_LONGEST_ID].decode(errors="ignore") + "-" + digest
