"""The root conftest.py: what nbval skips and how many threads a worker's kernels get."""

import importlib.util
import os
from types import SimpleNamespace

import pytest

from workbook.authoring.comparison import SKIPPED_MIMES
from workbook.bundles import CLAIM_MIME, RECORD_MIME
from workbook.paths import ROOT
from workbook.runner.executor import core_count


@pytest.fixture
def settings():
    spec = importlib.util.spec_from_file_location("root_conftest", ROOT / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def configured(settings, monkeypatch, **attributes):
    monkeypatch.setattr(os, "environ", {})
    settings.pytest_configure(SimpleNamespace(addinivalue_line=lambda *_: None, **attributes))
    return os.environ


def test_kernels_of_a_single_process_use_all_cores(settings, monkeypatch):
    assert configured(settings, monkeypatch) == {}


@pytest.mark.parametrize("workers", [1, 2, 1000])
def test_workers_share_the_cores(settings, monkeypatch, workers):
    environment = configured(settings, monkeypatch, workerinput={"workercount": workers})
    expected = str(max(1, core_count() // workers))
    assert environment["WORKBOOK_THREADS"] == environment["OMP_NUM_THREADS"] == expected


def test_nbval_skips_measured_digits_and_compares_claims(settings):
    collector = SimpleNamespace(skip_compare=("metadata",))
    settings.pytest_collectstart(collector)
    assert collector.skip_compare == ("metadata", "text/markdown", RECORD_MIME)
    assert CLAIM_MIME not in SKIPPED_MIMES


def test_other_collectors_are_left_alone(settings):
    collector = SimpleNamespace()
    settings.pytest_collectstart(collector)
    assert not hasattr(collector, "skip_compare")
