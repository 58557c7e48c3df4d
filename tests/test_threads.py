import ast
import os
import subprocess
import sys

import pytest

from workbook.paths import ROOT
from workbook.threads import available_threads


@pytest.mark.parametrize(("share", "threads"), [("1", 1), ("3", 3), ("16", 16)])
def test_a_worker_takes_the_share_it_was_given(monkeypatch, share, threads):
    monkeypatch.setenv("WORKBOOK_THREADS", share)
    assert available_threads() == threads


@pytest.mark.parametrize("unset", [None, ""])
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not bind processes to cores")
def test_without_a_share_all_cores_of_the_process_are_taken(monkeypatch, unset):
    monkeypatch.delenv("WORKBOOK_THREADS", raising=False)
    if unset is not None:
        monkeypatch.setenv("WORKBOOK_THREADS", unset)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5})
    assert available_threads() == 3


def test_a_system_without_affinity_counts_its_cores(monkeypatch):
    monkeypatch.delenv("WORKBOOK_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_threads() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_threads() == 1


@pytest.mark.parametrize("share", ["0", "-1", "two", "1.5", "²", " "])
def test_a_share_that_is_no_whole_number_is_refused(monkeypatch, share):
    monkeypatch.setenv("WORKBOOK_THREADS", share)
    with pytest.raises(ValueError, match=f"WORKBOOK_THREADS='{share}': expected a whole number of at least 1; unset"):
        available_threads()


def test_pytorch_computes_with_its_share():
    script = 'from workbook.lesson import begin; begin("torch"); import torch; print(torch.get_num_threads())'
    environment = os.environ | {"WORKBOOK_THREADS": "3"}
    environment.pop("OMP_NUM_THREADS", None)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "3\n", done.stderr


def test_a_lesson_keeps_both_blas_libraries_to_one_thread():
    program = (
        "from workbook.lesson import begin; from threadpoolctl import threadpool_info; begin();"
        "print([pool['num_threads'] for pool in threadpool_info() if pool['user_api'] == 'blas'])"
    )
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(ran.stdout)) == {1}
