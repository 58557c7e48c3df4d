"""The gate over the notebooks of the workbook: what is committed agrees with its text and can be trusted."""

import pytest

from workbook.authoring.gate import pair_findings
from workbook.authoring.pairing import find_pairs


@pytest.mark.parametrize("pair", find_pairs(), ids=lambda pair: pair.name)
def test_notebook_passes_the_gate(pair):
    findings = pair_findings(pair)
    assert not findings, "\n".join(findings)
