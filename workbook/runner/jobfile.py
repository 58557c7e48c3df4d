"""Reads a job file: the YAML that describes a run of several notebooks over a grid of parameters.

```yaml
name: 01-reference-grid     # folder under runs/; date and time when absent
notebooks: ["01"]           # numbers, stems or paths, each run over the grid below
parameters: {draws: 1}      # the same for every job
grid: {k: [1, 5]}           # crossed: one job for each combination
seeds: [0, 1, 2]            # crossed too, as the parameter 'seed'
```

Instead of ``notebooks``, ``jobs`` lists entries ``{name, notebook, parameters, grid, seeds}``; a name stands for the
notebook's in the jobs' ids. The top level then
gives their defaults: an entry's parameters are merged over it, its own grid or seeds replace it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from workbook.runner.errors import JobError, did_you_mean
from workbook.runner.jobs import Request

_TOP_KEYS = ("name", "notebooks", "jobs", "parameters", "grid", "seeds")
_JOB_KEYS = ("name", "notebook", "parameters", "grid", "seeds")


@dataclass(frozen=True)
class JobFile:
    """A run as its file describes it; ``name`` is None when the file gives none."""

    name: str | None
    requests: list[Request]


def read_job_file(path: Path) -> JobFile:
    """Read and check a job file; raise `JobError` with every mistake, each with its place in the file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise JobError([f"job file {path}: {error.strerror}"]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise JobError([f"job file {path} is not valid YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(content, dict):
        raise JobError([f"job file {path}: expected a mapping with {', '.join(_TOP_KEYS)}, got {_shown(content)}"])
    reader = _Reader()
    job_file = reader.read(content)
    if reader.problems:
        raise JobError(f"job file {path.name}: {problem}" for problem in reader.problems)
    return job_file


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r}"


class _Reader:
    """Turns the YAML's content into requests, and collects what is wrong on the way."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def read(self, content: Mapping[str, Any]) -> JobFile:
        self._check_keys(content, _TOP_KEYS, "")
        top = self._settings(content, "")
        if ("notebooks" in content) == ("jobs" in content):
            self.problems.append("expected either 'notebooks' or 'jobs', for example notebooks: ['01']")
        requests = [
            self._request(name, top, f"notebooks[{i}]")
            for i, name in enumerate(self._list(content, "notebooks", "['01', '02']"))
        ]
        for i, entry in enumerate(self._list(content, "jobs", "[{notebook: '01', grid: {k: [1, 5]}}]")):
            where = f"jobs[{i}]"
            if not isinstance(entry, dict):
                self.problems.append(f"{where}: expected a mapping with 'notebook', got {_shown(entry)}")
                continue
            self._check_keys(entry, _JOB_KEYS, f"{where}.")
            own = self._settings(entry, f"{where}.")
            settings = {
                "parameters": {**top["parameters"], **own["parameters"]},
                "grid": own["grid"] if "grid" in entry else top["grid"],
                "seeds": own["seeds"] if "seeds" in entry else top["seeds"],
            }
            request = self._request(entry.get("notebook"), settings, f"{where}.notebook")
            requests.append(replace(request, name=self._name(entry.get("name"), f"{where}.")))
        return JobFile(self._name(content.get("name")), requests)

    def _check_keys(self, mapping: Mapping[str, Any], allowed: tuple[str, ...], where: str) -> None:
        for key in mapping:
            if key not in allowed:
                hint = did_you_mean(str(key), allowed)
                self.problems.append(f"unknown key '{where}{key}'{hint}. Allowed: {', '.join(allowed)}")

    def _settings(self, mapping: Mapping[str, Any], where: str) -> dict[str, Any]:
        grid = self._mapping(mapping, "grid", where, "{k: [1, 5]}")
        for name, values in list(grid.items()):
            if not isinstance(values, list) or not values:
                self.problems.append(
                    f"'{where}grid.{name}': expected a list of at least one value, for example [1, 5], "
                    f"got {_shown(values)}"
                )
                del grid[name]
        seeds = self._list(mapping, "seeds", "[0, 1, 2]", where)
        if any(isinstance(seed, bool) or not isinstance(seed, int) for seed in seeds):
            self.problems.append(f"'{where}seeds': expected whole numbers, for example [0, 1, 2], got {seeds!r}")
        parameters = self._mapping(mapping, "parameters", where, "{draws: 1}")
        return {"parameters": parameters, "grid": grid, "seeds": seeds}

    def _mapping(self, mapping: Mapping[str, Any], key: str, where: str, example: str) -> dict[str, Any]:
        value = mapping.get(key, {})
        if isinstance(value, dict) and all(isinstance(name, str) for name in value):
            return dict(value)
        self.problems.append(f"'{where}{key}': expected names and values, for example {example}, got {_shown(value)}")
        return {}

    def _list(self, mapping: Mapping[str, Any], key: str, example: str, where: str = "") -> list[Any]:
        if key not in mapping:
            return []
        value = mapping[key]
        if isinstance(value, list) and value:
            return value
        self.problems.append(
            f"'{where}{key}': expected a list of at least one, for example {example}, got {_shown(value)}"
        )
        return []

    def _request(self, notebook: Any, settings: Mapping[str, Any], where: str) -> Request:
        if not isinstance(notebook, str):
            # YAML reads 010 as the number 8, so a bare number cannot be trusted.
            self.problems.append(f"'{where}': expected text, got {_shown(notebook)}; write it in quotes: '01'")
        grid = dict(settings["grid"])
        if settings["seeds"]:
            if "seed" in grid:
                self.problems.append(f"'{where}': gets 'seed' from the grid and from seeds: keep one")
            grid["seed"] = settings["seeds"]
        return Request(str(notebook), settings["parameters"], grid)

    def _name(self, name: Any, where: str = "") -> str | None:
        if name is None:
            return None
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+=-]*", name) or name == "latest":
            self.problems.append(
                f"'{where}name': expected a folder name of letters, digits, '-', '_' or '.' (not 'latest'), for "
                f"example 01-reference-grid, got {_shown(name)}"
            )
            return None
        return name
