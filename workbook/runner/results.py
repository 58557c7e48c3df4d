"""What a job leaves behind, as plain data that travels between processes."""

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "failed", "cancelled"]


@dataclass(frozen=True)
class Failure:
    """Why a job failed: the cell's source and the end of its traceback where a cell is to blame."""

    message: str
    cell: str = ""
    source: str = ""
    traceback: str = ""


@dataclass(frozen=True)
class Result:
    """The outcome of one job: wall time in seconds, peak resident memory of its processes in MB (10^6 bytes)."""

    job_id: str
    status: Status
    seconds: float = 0.0
    peak_mb: float = 0.0
    claims: list[dict[str, Any]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    failure: Failure | None = None

    @property
    def broken_claims(self) -> list[dict[str, Any]]:
        """The claims in scope that do not hold."""
        return [claim for claim in self.claims if claim["in_scope"] and not claim["holds"]]

    @property
    def succeeded(self) -> bool:
        """Whether the notebook ran to its end and every claim in scope holds."""
        return self.status == "ok" and not self.broken_claims

    @property
    def device(self) -> str:
        """The devices that the job's records name, usually one; empty without records."""
        return "+".join(dict.fromkeys(record["device"] for record in self.records if record.get("device")))


def verdict(claim: dict[str, Any]) -> str:
    """Return 'holds' or 'FAILS'; 'out of scope' says so beside the outcome, which was recorded but not judged."""
    if claim["in_scope"]:
        return "holds" if claim["holds"] else "FAILS"
    return f"out of scope ({'holds' if claim['holds'] else 'does not hold'})"


def within_band(record: dict[str, Any]) -> bool | None:
    """Return whether a record's mean lies in the band a learner should see; None when it has no band."""
    if not record.get("expected"):
        return None
    low, high = record["expected"]
    return low <= record["mean"] <= high
