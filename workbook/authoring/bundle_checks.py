"""Checks of the claims and records in a notebook: what a reader sees is what their bundles say."""

import math
import re
from collections.abc import Iterator

from nbformat import NotebookNode

from workbook.authoring.cells import code_cells, excerpt
from workbook.bundles import CLAIM_MIME, RECORD_MIME

_NUMBER = re.compile(r"(?P<digits>[-−]?(?:\d+\.\d+|\.\d+|\d+)(?:e[-+]?\d+)?)(?P<percent>\s*%)?", re.IGNORECASE)


def claims(notebook: NotebookNode) -> Iterator[str]:
    """Each claim holds, its line says what its bundle says, and its id is used once."""
    seen = set()
    for where, claim, data in _bundles(notebook, CLAIM_MIME):
        missing = {"id", "statement", "holds", "in_scope"} - set(claim)
        if missing:
            yield f"{where}: the claim bundle lacks {', '.join(sorted(missing))}"
            continue
        line = f"Claim {claim['id']} · {claim['statement']} · {'holds' if claim['holds'] else 'does not hold'}"
        allowed = {line} if claim["in_scope"] else {line, f"{line} (out of scope)"}
        if data.get("text/plain") not in allowed:
            yield f"{where}: the claim line {data.get('text/plain')!r} differs from its bundle: {line!r}"
        if not claim["holds"]:
            yield f"{where}: claim {claim['id']} does not hold"
        if claim["id"] in seen:
            yield f"{where}: claim {claim['id']} is made twice"
        seen.add(claim["id"])


def records(notebook: NotebookNode) -> Iterator[str]:
    """The mean that a record shows is the mean of its values, to the digits shown."""
    for where, bundle, data in _bundles(notebook, RECORD_MIME):
        shown = str(data.get("text/markdown", ""))
        for record in bundle.get("records", [bundle]):
            name, mean, values = record.get("name"), record.get("mean"), record.get("values")
            if mean is None or not values:
                yield f"{where}: record {name} lacks its values or their mean"
                continue
            average = math.fsum(values) / len(values)
            if not math.isclose(mean, average, rel_tol=1e-6, abs_tol=1e-12):
                yield f"{where}: record {name} has the mean {mean}, but its values average to {average}"
            if not _shows(shown.replace(str(name), ""), record, in_table="records" in bundle):
                yield f"{where}: record {name} has the mean {mean}, not shown in its text {excerpt(shown)}"


def _bundles(notebook: NotebookNode, mime: str) -> Iterator[tuple[str, dict, dict]]:
    for where, cell in code_cells(notebook):
        for output in cell.outputs:
            if mime in output.get("data", {}):
                yield where, output.data[mime], output.data


def _shows(text: str, record: dict, in_table: bool) -> bool:
    """Tell whether ``text`` shows the record's mean, plain or in per cent, rounded to the digits shown.

    A single record shows its mean first. In a table any number may be it, so there a whole number counts only if
    what follows marks it as a mean (the row heading '1' of 'k = 1' is not the mean .9 with no digits) or if the
    mean itself is whole, such as a count.
    """
    numbers = list(_NUMBER.finditer(text))
    if not in_table:
        return any(_rounds_to(match, record["mean"]) for match in numbers[:1])
    marks = tuple(filter(None, ("±", "%", record.get("unit"))))
    return any(
        _rounds_to(match, record["mean"])
        for match in numbers
        if "." in match["digits"]
        or float(record["mean"]).is_integer()
        or text[match.end("digits") :].lstrip().startswith(marks)
    )


def _rounds_to(match: re.Match[str], mean: float) -> bool:
    digits = match["digits"].replace("−", "-").lower()
    mantissa, _, exponent = digits.partition("e")
    decimals = len(mantissa.partition(".")[2]) - int(exponent or 0)
    target = 100 * mean if match["percent"] else mean
    return abs(float(digits) - target) <= 0.5 * 10.0**-decimals * (1 + 1e-6)
