"""``results.csv``: one table of jobs, claims and records, valid at every moment of a run."""

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from workbook.runner.errors import JobError
from workbook.runner.jobs import Job
from workbook.runner.results import Result, within_band

COLUMNS = (
    "job",
    "notebook",
    "kind",
    "name",
    "value",
    "low",
    "high",
    "holds",
    "seconds",
    "peak_mb",
    "device",
    "status",
)
RESULTS = "results.csv"


class Journal:
    """Keeps the results of a run and rewrites the table after each, in one step."""

    def __init__(self, folder: Path, jobs: Sequence[Job]):
        """Write the empty table; raise `JobError` when another run wrote one meanwhile."""
        self.path = folder / RESULTS
        self.results: dict[str, Result] = {}
        self._jobs = jobs
        try:
            with self.path.open("x", encoding="utf-8", newline="") as file:
                _write(file, [])
        except FileExistsError as error:
            raise JobError([f"{folder} was taken by another run that started just now: give another --out"]) from error

    def add(self, result: Result) -> None:
        """Keep a result and write the table anew: rows stand in the order of the jobs."""
        self.results[result.job_id] = result
        rows = [row for job in self._jobs if job.id in self.results for row in result_rows(job, self.results[job.id])]
        temporary = self.path.with_name(f".{RESULTS}.new")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            _write(file, rows)
        os.replace(temporary, self.path)

    def in_order(self) -> list[Result]:
        """Return the results so far in the order of the jobs."""
        return [self.results[job.id] for job in self._jobs if job.id in self.results]


def result_rows(job: Job, result: Result) -> list[dict[str, Any]]:
    """Return a result's rows: the job, its claims, its records. Absent values are left out.

    ``value`` is a record's mean, ``low`` and ``high`` its interval, ``holds`` whether a claim holds or a
    record's mean lies in its band; ``seconds`` and ``peak_mb`` stand on the job's own row.
    """
    shared = {"job": job.id, "notebook": job.notebook.stem, "device": result.device, "status": result.status}
    of_job = {"kind": "job", "name": job.notebook.stem}
    if result.status != "cancelled":
        of_job |= {"seconds": f"{result.seconds:.2f}", "peak_mb": f"{result.peak_mb:.0f}"}
    claims = [{"kind": "claim", "name": claim["id"], "holds": _word(claim["holds"])} for claim in result.claims]
    records = [
        {
            "kind": "record",
            "name": record["name"],
            "value": record["mean"],
            "low": record["low"],
            "high": record["high"],
            "holds": _word(within_band(record)),
            "device": record["device"],
        }
        for record in result.records
    ]
    return [shared | row for row in (of_job, *claims, *records)]


def _word(value: bool | None) -> str:
    return "" if value is None else str(value).lower()


def _write(file: Any, rows: Iterable[dict[str, Any]]) -> None:
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
