"""Whole runs of toy notebooks: what they leave behind and how they end."""

import csv
import html
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from click.testing import CliRunner

from workbook.commands.run import run
from workbook.paths import ROOT
from workbook.runner.execution import execute_job
from workbook.runner.executor import core_count
from workbook.runner.jobs import Request, plan_jobs
from workbook.runner.journal import COLUMNS
from workbook.runner.start import start_run

FAILING = """\
before = 1
raise ValueError("no [/such] thing")"""


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "runs" / "mine"


@pytest.fixture
def start(tmp_path, out):
    """Run notebooks into ``out`` and return the exit status."""

    def start_there(*notebooks: Path, **keywords) -> int:
        return start_run([str(path) for path in notebooks], **{"out": out, "runs": tmp_path / "runs", **keywords})

    return start_there


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert tuple(reader.fieldnames) == COLUMNS
    return rows


def test_two_notebooks_leave_copies_table_and_report(start, out, good, toy, capsys):
    where = toy("02_where", "import os\nprint(os.getcwd(), os.environ['OMP_NUM_THREADS'], rate)")
    before = good.read_bytes(), where.read_bytes()

    assert start(good, where, assignments=["rate=1"], workers=1) == 0

    assert (good.read_bytes(), where.read_bytes()) == before
    assert sorted(os.listdir(out)) == ["01_good.ipynb", "02_where.ipynb", "report.html", "results.csv"]
    assert os.readlink(out.parent / "latest") == "mine"
    printed = nbformat.read(out / "02_where.ipynb", 4).cells[-1].outputs[0].text
    assert printed == f"{ROOT} {core_count()} 1\n"

    job, claim, record, other = table(out)
    assert {k: v for k, v in claim.items() if v} == {
        "job": "01_good",
        "notebook": "01_good",
        "kind": "claim",
        "name": "01.sum",
        "holds": "true",
        "device": "cpu",
        "status": "ok",
    }
    assert [record[k] for k in ("kind", "name", "value", "low", "high", "holds")] == [
        "record",
        "01.k",
        "2.0",
        "0.0",
        "4.0",
        "true",
    ]
    assert (job["kind"], job["name"], job["device"], job["status"]) == ("job", "01_good", "cpu", "ok")
    assert float(job["seconds"]) > 0
    assert float(job["peak_mb"]) > 50  # a kernel alone takes more
    assert (other["job"], other["kind"], other["status"]) == ("02_where", "job", "ok")

    shown = capsys.readouterr()
    assert shown.err == ""
    assert "k and seed add up" in shown.out
    assert "report.html" in shown.out
    page = (out / "report.html").read_text()
    assert 'href="01_good.ipynb"' in page
    assert "0 to 4 (95 %)" in page
    assert not re.search(r"(src|href)=\"(https?:|/)", page)


def test_job_file_runs_its_grid(start, tmp_path, good):
    file = tmp_path / "grid.yaml"
    file.write_text(f"name: grid\nnotebooks: ['{good}']\ngrid: {{k: [1, 5]}}\nseeds: [3]\n")

    assert start(job_file=file, out=None) == 0

    folder = tmp_path / "runs" / "grid"
    records = [row for row in table(folder) if row["kind"] == "record"]
    assert [(row["job"], row["value"], row["holds"]) for row in records] == [
        ("01_good-k=1-seed=3", "2.0", "true"),
        ("01_good-k=5-seed=3", "6.0", "false"),
    ]
    assert "01_good-k%3D5-seed%3D3.ipynb" in (folder / "report.html").read_text()


def test_failing_notebooks_are_explained_and_stop_no_other(start, out, good, toy, capsys):
    bad = toy("00_bad", "print('fine')", FAILING)
    claim = {"id": "01.x", "statement": "pigs fly", "holds": False, "in_scope": True}
    outside = {**claim, "id": "01.y", "in_scope": False}
    bundles = [{"text/plain": "Claim", "application/vnd.workbook.claim+json": c} for c in (outside, claim)]
    show = f"from IPython.display import display\nfor b in {bundles!r}: display(b, raw=True)\nassert False"

    assert start(bad, toy("01_claims", show), good) == 1

    rows = table(out)
    assert [(row["job"], row["status"]) for row in rows if row["kind"] == "job"] == [
        ("00_bad", "failed"),
        ("01_claims", "failed"),
        ("01_good", "ok"),
    ]
    claims = [row for row in rows if row["kind"] == "claim"]
    assert [(row["name"], row["holds"], row["status"]) for row in claims] == [
        ("01.y", "false", "failed"),
        ("01.x", "false", "failed"),
        ("01.sum", "true", "ok"),
    ]
    shown = capsys.readouterr().out
    assert "00_bad failed: ValueError: no [/such] thing" in shown
    assert "before = 1\nraise ValueError" in shown
    assert "FAILS" in shown
    assert "out of scope (does not hold)" in shown
    assert "\x1b" not in shown
    assert nbformat.read(out / "00_bad.ipynb", 4).cells[-1].outputs[0].ename == "ValueError"
    assert "raise ValueError(" in html.unescape((out / "report.html").read_text())


def test_death_of_kernel_or_worker_and_slow_cells_are_named(start, out, good, toy, capsys):
    kernel = toy("01_kernel", "import os\nos.kill(os.getpid(), 9)")
    slow = toy("02_slow", "import time\ntime.sleep(60)")
    worker = toy("03_worker", "import os\nos.kill(os.getppid(), 9)")

    assert start(kernel, slow, worker, good, timeout=2, workers=2) == 1

    assert {row["job"]: row["status"] for row in table(out)} == {
        "01_kernel": "failed",
        "02_slow": "failed",
        "03_worker": "failed",
        "01_good": "ok",
    }
    shown = capsys.readouterr().out
    assert "01_kernel failed: the kernel died, probably for want of memory" in shown
    assert "os.kill(os.getpid(), 9)" in shown
    assert "02_slow failed: a cell took longer than --timeout 2 seconds" in shown
    assert "03_worker failed: the process that ran the notebook died" in shown
    assert sorted(os.listdir(out)) == [
        "01_good.ipynb",
        "01_kernel.ipynb",
        "02_slow.ipynb",
        "03_worker.ipynb",
        "report.html",
        "results.csv",
    ]


def test_kernel_that_dies_at_its_start_is_started_again(good, tmp_path, monkeypatch):
    attempts = []

    def execute(source, target, **options):
        attempts.append(source)
        if len(attempts) < 3:
            raise RuntimeError("Kernel died before replying to kernel_info")
        Path(target).write_bytes(good.read_bytes())

    monkeypatch.setattr("papermill.execute_notebook", execute)
    (job,) = plan_jobs([Request(str(good))])
    assert execute_job(job, tmp_path).status == "ok"
    assert len(attempts) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-p", "sed=1"], "no parameter 'sed' (did you mean 'seed'?)"),
        (["--profile", "quik"], "unknown profile 'quik'"),
        (["nowhere"], "unknown notebook 'nowhere'"),
        (["--jobs", "none.yaml"], "give either notebooks or --jobs"),
    ],
)
def test_command_refuses_mistakes_before_anything_runs(good, out, arguments, said):
    result = CliRunner().invoke(run, [str(good), "--out", str(out), *arguments])
    assert result.exit_code == 1
    assert said in result.stderr
    assert "Nothing was run." in result.stderr
    assert not out.exists()


def test_finished_run_is_not_written_over(out, good):
    out.mkdir(parents=True)
    (out / "results.csv").write_text("job\n")
    result = CliRunner().invoke(run, [str(good), "--out", str(out)])
    assert result.exit_code == 1
    assert "holds the results of another run: give a new folder with --out" in result.stderr
    assert (out / "results.csv").read_text() == "job\n"


def test_full_disk_is_told_and_ends_the_run(out, good, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device", "results.csv")

    monkeypatch.setattr("workbook.runner.start.run_jobs", full)
    monkeypatch.setattr("workbook.runner.start.point_latest", lambda *paths: None)
    result = CliRunner().invoke(run, [str(good), "--out", str(out)])
    assert result.exit_code == 1
    assert "No space left on device: 'results.csv'" in result.stderr


COMMAND = """
import sys, pathlib, workbook.paths
workbook.paths.RUNS = pathlib.Path(sys.argv.pop(1))
from workbook.commands.run import run
run()
"""


@pytest.fixture
def launched(out, good, toy):
    """Start the command in a process group of its own; yield it once one job is done and one sleeps."""
    marker = out.parent.parent / "asleep"
    sleeping = toy("02_sleep", f"import pathlib, time\npathlib.Path({str(marker)!r}).touch()\ntime.sleep(600)")
    never = toy("03_never", "1")
    command = [sys.executable, "-c", COMMAND, str(out.parent), str(good), str(sleeping), str(never)]
    process = subprocess.Popen(
        [*command, "--workers", "1", "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    )
    deadline = time.monotonic() + 60
    while not marker.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def left_of(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return which of the processes still run after so many seconds (zombies have ended)."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.skipif(sys.platform == "win32", reason="process groups and SIGINT")
def test_ctrl_c_ends_everything_and_keeps_what_is_done(launched, out):
    children = psutil.Process(launched.pid).children(recursive=True)
    assert len(children) >= 2  # a worker and its kernel at least

    pressed = time.monotonic()
    os.killpg(launched.pid, signal.SIGINT)
    stdout, stderr = launched.communicate(timeout=20)

    assert launched.returncode == 130
    assert left_of(children, 5 - (time.monotonic() - pressed)) == []
    assert stderr == ""
    assert "Interrupted: 1 of 3 jobs had finished and are kept in" in " ".join(stdout.split())
    rows = table(out)
    assert {row["job"]: row["status"] for row in rows} == {
        "01_good": "ok",
        "02_sleep": "cancelled",
        "03_never": "cancelled",
    }
    assert {row["kind"] for row in rows if row["job"] == "01_good"} == {"job", "claim", "record"}
    assert sorted(os.listdir(out)) == ["01_good.ipynb", "report.html", "results.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_kill_leaves_a_valid_table_and_no_kernel(launched, out):
    children = psutil.Process(launched.pid).children(recursive=True)

    launched.kill()

    assert left_of(children, 5) == []
    assert {row["job"] for row in table(out)} == {"01_good"}
