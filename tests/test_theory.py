"""Every formula that the course teaches is checked by a claim in a committed notebook: the list, held against them.

The list is the first table of the course's plan. What a chapter that is not written yet owes stands in `WAITING`; the
day its first notebook is there, the row must have moved to `TAUGHT`, or this file fails.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import nbformat
import pytest

from tests.toy_notebooks import executed_toy
from workbook.bundles import read_claims
from workbook.paths import CHAPTERS

TAUGHT = {
    "softmax cross-entropy: gradient p − y, Hessian diag(p) − ppᵀ": ("02.softmax-gradient", "02.softmax-hessian"),
    "the binary case, and the linear head's gradient": ("02.binary-gradient", "02.linear-head-gradient"),
    "softmax applied twice: the loss floor": ("02.double-softmax-floor",),
    "batch-norm statistics: the share left after t steps": ("02.batch-norm-share",),
    "Ben-David 2010: the bound, thresholds between two Gaussians": ("02c.bound-holds", "02c.ben-david-thresholds"),
    "label shift defeats invariance": ("02d.label-shift",),
    "proxy A-distance on held-out rows": ("02d.proxy-a-distance",),
    "L2-SP as a Gaussian prior": ("02b.l2-sp-ridge",),
    "LP-FT: features never move off the span": ("02b.lp-ft-off-span",),
    "linearised fine-tuning, and the zero head": ("02b.linearised", "02b.zero-head"),
    "LoRA: rank and first gradient": ("04c.lora-rank", "04c.lora-first-gradient"),
    "H-score, LogME, LEEP": ("05b.scores-rank",),
    "importance weighting: E_S[wℓ] = E_T[ℓ], its variance": (
        "06.importance-identity",
        "06.importance-variance",
        "06.gaussian-shift",
        "06.infinite-variance",
    ),
    "MMD: unbiased estimate, null bias of the V-statistic": ("07.mmd-unbiased", "07.mmd-null-bias"),
    "CORAL: A = C_S^(−1/2) C_T^(1/2)": ("07.coral-covariance",),
    "Gaussian optimal transport": ("07.gaussian-ot",),
    "gradient reversal and its schedule": ("07b.gradient-reversal", "07b.reversal-schedule"),
    "distillation: (p_s − p_t)/T, its limit, the factor T²": (
        "08.soft-gradient",
        "08.high-temperature-limit",
        "08.t-squared",
    ),
}
"""Topic → the claims that check it; a claim's id begins with the name of its lesson."""

WAITING: dict[str, str] = {}
"""Topic → the chapter that will derive and check it."""


def findings(folder: Path, taught: Mapping[str, Iterable[str]], waiting: Mapping[str, str]) -> list[str]:
    """Return what the notebooks in a folder lack of the list: one line a missing, failed or unscoped claim."""
    found, problems = {}, []
    notebooks = {path.stem.split("_")[0]: path for path in sorted(folder.glob("*.ipynb"))}
    for lesson, path in notebooks.items():
        found[lesson] = {claim["id"]: claim for claim in read_claims(nbformat.read(path, as_version=4))}
    for topic, ids in taught.items():
        for claim_id in ids:
            lesson = claim_id.split(".")[0]
            claim = found.get(lesson, {}).get(claim_id)
            if claim is None:
                where = notebooks[lesson].name if lesson in notebooks else f"no notebook {lesson}_*.ipynb"
                problems.append(f"{topic}: claim {claim_id} is missing ({where})")
            elif not claim["in_scope"]:
                problems.append(f"{topic}: claim {claim_id} is out of scope in {notebooks[lesson].name}")
            elif not claim["holds"]:
                problems.append(f"{topic}: claim {claim_id} does not hold in {notebooks[lesson].name}")
    for topic, chapter in waiting.items():
        here = [path.name for lesson, path in notebooks.items() if lesson[:2] == chapter]
        if here:
            problems.append(
                f"{topic}: waits for chapter {chapter}, which is there ({here[0]}): name its claims in TAUGHT"
            )
    return problems


def test_every_formula_is_checked_by_a_claim():
    problems = findings(CHAPTERS, TAUGHT, WAITING)
    assert not problems, "\n".join(problems)


def test_rows_stand_once_and_ids_name_a_lesson():
    ids = [claim_id for row in TAUGHT.values() for claim_id in row]
    assert all(TAUGHT.values())
    assert len(ids) == len(set(ids))
    assert not TAUGHT.keys() & WAITING.keys()
    assert all(claim_id[:2].isdigit() and "." in claim_id for claim_id in ids)


@pytest.fixture
def shelf(tmp_path):
    """A folder with one executed notebook, 00_toy, whose claims are 00.one, 00.sum, 00.max …"""

    def put(change=lambda claim: None):
        notebook = executed_toy()
        for claim in read_claims(notebook):
            change(claim)
        nbformat.write(notebook, tmp_path / "00_toy.ipynb")
        return tmp_path

    return put


def test_a_claim_that_is_there_is_found(shelf):
    assert findings(shelf(), {"one": ("00.one", "00.max")}, {"later": "06"}) == []


def test_a_missing_claim_or_notebook_is_reported(shelf):
    missing, no_notebook = findings(shelf(), {"one": ("00.one", "00.other"), "two": ("02d.label-shift",)}, {})
    assert "claim 00.other is missing (00_toy.ipynb)" in missing
    assert "no notebook 02d_*.ipynb" in no_notebook


@pytest.mark.parametrize(("entry", "words"), [("holds", "does not hold"), ("in_scope", "is out of scope")])
def test_a_claim_must_hold_and_be_in_scope(shelf, entry, words):
    def spoil(claim):
        if claim["id"] == "00.sum":
            claim[entry] = False

    (problem,) = findings(shelf(spoil), {"sum": ("00.sum",), "one": ("00.one",)}, {})
    assert f"claim 00.sum {words}" in problem


def test_a_waiting_row_is_demanded_once_its_chapter_is_there(shelf):
    (problem,) = findings(shelf(), {}, {"importance weighting": "00", "distillation": "08"})
    assert "importance weighting: waits for chapter 00, which is there (00_toy.ipynb)" in problem
