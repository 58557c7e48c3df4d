"""``report.html``: the run on one page that needs nothing else to be read."""

import os
import platform
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import psutil

from workbook.runner.execution import executed_notebook
from workbook.runner.executor import core_count
from workbook.runner.jobs import Job
from workbook.runner.progress import clock
from workbook.runner.results import Result, verdict, within_band

_PACKAGES = ("transfer-learning-workbook", "torch", "tensorflow", "keras", "scikit-learn", "numpy", "papermill")


def write_report(folder: Path, jobs: Sequence[Job], results: Sequence[Result], started: datetime) -> Path:
    """Write ``report.html`` into the folder of a run, in one step, and return its path."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clock": clock, "number": _number, "verdict": verdict, "within_band": within_band}
    page = environment.get_template("report.html.jinja").render(
        name=folder.name,
        started=started,
        seconds=(datetime.now().astimezone() - started).total_seconds(),
        machine=_machine(),
        devices=", ".join(dict.fromkeys(result.device for result in results if result.device)),
        versions=_versions(),
        rows=[(job, result, _link(folder, job)) for job, result in zip(jobs, results, strict=True)],
    )
    path = folder / "report.html"
    temporary = folder / ".report.html.new"
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, path)
    return path


def _link(folder: Path, job: Job) -> str | None:
    """Return the relative address of a job's executed notebook, None when there is none."""
    path = executed_notebook(folder, job.id)
    return quote(path.name) if path.exists() else None


def _machine() -> str:
    memory = psutil.virtual_memory().total / 1e9
    return f"{platform.system()} {platform.machine()}, {core_count()} cores, {memory:.0f} GB memory"


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)  # read from metadata: importing a framework takes seconds
        except PackageNotFoundError:
            continue
    return found


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}"
