import json
import os
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from data_scripts.registry import PublicFile
from workbook import doctor
from workbook.commands.doctor import doctor as command
from workbook.doctor import Finding, examine


@pytest.fixture(autouse=True)
def calm_machine(tmp_path, monkeypatch):
    """A cache of its own, no mirror, no GPU driver, no proxy."""
    monkeypatch.setenv("WORKBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WORKBOOK_MIRROR", raising=False)
    for proxy in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    without_smi = doctor.shutil.which
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None if name == "nvidia-smi" else without_smi(name))


def only(findings):
    (finding,) = findings
    return finding


def public_file(name="a.bin", size=3, url="http://127.0.0.1:1/a.bin"):
    return PublicFile(name, (url,), size, "CC0", "nobody", "a test", hash="sha256:" + "0" * 64)


def list_files(monkeypatch, *files):
    monkeypatch.setattr(doctor, "read_registry", lambda: {file.name: file for file in files})


def test_it_looks_at_everything_within_eight_seconds():
    start = time.perf_counter()
    findings = examine(offline=True)
    assert time.perf_counter() - start < 8
    looked_at = [finding.what for finding in findings]
    assert looked_at == [
        *("Python", "Environment", "torch", "torchvision", "tensorflow", "keras", "Packages", "Jupyter kernel"),
        *("GPU", "CPU", "Memory", "Disk, repository", "Disk, cache", "Cache", "Mirror", "Public data"),
        *("GlyphNet weights", "Runs folder", "Network"),
    ]


def test_no_framework_is_imported_on_the_way():
    script = (
        "import sys; from workbook.doctor import examine; examine(offline=True);"
        "print(sorted({'torch', 'torchvision', 'tensorflow', 'keras'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=doctor.ROOT)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_lack_without_advice_cannot_be_reported():
    with pytest.raises(ValueError, match="does not say what to do"):
        Finding("GPU", "none", "note")


def test_an_unsupported_python_is_a_problem(monkeypatch):
    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.10.4")
    finding = only(doctor.check_python())
    assert finding.status == "problem"
    assert ">=3.11" in finding.advice


def test_python_outside_an_environment_is_noted(monkeypatch):
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    finding = only(doctor.check_environment())
    assert finding.status == "note"
    assert "python3 -m venv" in finding.advice


def install(monkeypatch, **versions):
    monkeypatch.setattr(doctor, "_installed", versions.get)


def pin(monkeypatch, tmp_path, *lines):
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    monkeypatch.setattr(doctor, "read_pins", lambda read=doctor.read_pins: read(tmp_path / "requirements.txt"))


def test_frameworks_missing_other_and_as_pinned(monkeypatch, tmp_path):
    pin(monkeypatch, tmp_path, "torch==2.15.0", "torchvision==0.29.2", "tensorflow==2.21.0", "keras==3.15.1")
    install(monkeypatch, torch="2.15.0", torchvision="0.29.1", keras="3.15.1")
    findings = {finding.what: finding for finding in doctor.check_frameworks()}
    assert [findings[name].status for name in doctor.FRAMEWORKS] == ["ok", "note", "problem", "ok"]
    assert findings["torchvision"].found == "0.29.1, 0.29.2 is pinned"
    assert findings["tensorflow"].advice == "python -m pip install -r requirements.txt"


def test_pins_of_other_systems_and_the_editable_line_are_left_out(monkeypatch, tmp_path):
    pin(monkeypatch, tmp_path, "# a remark", "six==1.17.0", "wheel==1 ; sys_platform == 'nowhere'", "-e .")
    assert doctor.read_pins() == {"six": "1.17.0"}
    install(monkeypatch, six="1.17.0")
    assert only(doctor.check_pins()) == Finding("Packages", "1 of 1 as pinned", "ok")


@pytest.mark.parametrize(
    ("installed", "status", "told"),
    [({}, "problem", "missing: six"), ({"six": "1.16.0"}, "note", "six 1.16.0 (not 1.17.0)")],
)
def test_other_packages_missing_or_other(installed, status, told, monkeypatch, tmp_path):
    pin(monkeypatch, tmp_path, "six==1.17.0")
    install(monkeypatch, **installed)
    finding = only(doctor.check_pins())
    assert finding.status == status
    assert told in finding.found


def test_an_import_that_works_fails_or_hangs(monkeypatch, tmp_path):
    (tmp_path / "fails.py").write_text("raise OSError('a library is missing')")
    (tmp_path / "hangs.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert doctor.check_import("json").status == "ok"
    assert doctor.check_import("fails").found == "failed: OSError: a library is missing"
    monkeypatch.setattr(doctor, "IMPORT_SECONDS", 0.3)
    assert doctor.check_import("hangs").found.startswith("not done after")


def kernel_that_starts(python, folder, monkeypatch):
    kernel = folder / "kernels" / "python3"
    kernel.mkdir(parents=True)
    spec = {"argv": [str(python), "-m", "ipykernel_launcher"], "display_name": "x", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(folder))


def test_the_kernel_of_this_python_is_ok(monkeypatch, tmp_path):
    kernel_that_starts(sys.executable, tmp_path, monkeypatch)
    assert only(doctor.check_kernel()).status == "ok"


def test_a_kernel_that_starts_another_python_is_a_problem(monkeypatch, tmp_path):
    # It links to the same file, as the Pythons of all virtual environments do.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "python").symlink_to(os.path.realpath(sys.executable))
    kernel_that_starts(tmp_path / "other" / "python", tmp_path, monkeypatch)
    finding = only(doctor.check_kernel())
    assert finding.status == "problem"
    assert "other/python" in finding.found
    assert "ipykernel install" in finding.advice


def nvidia_smi(folder, monkeypatch, script, torch_says):
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: str(tool))
    python = folder / "python"
    python.write_text(f"#!/bin/sh\necho {torch_says}\n")
    python.chmod(0o755)
    monkeypatch.setattr(doctor.sys, "executable", str(python))
    monkeypatch.setattr(doctor.platform, "system", lambda: "Linux")
    return doctor.check_gpu()


def test_a_device_that_pytorch_can_use(monkeypatch, tmp_path):
    device, in_torch = nvidia_smi(tmp_path, monkeypatch, "echo 'Some GPU, 8192 MiB, 580.1'", "True 13.0")
    assert device == Finding("GPU", "Some GPU, 8192 MiB, 580.1", "ok")
    assert in_torch == Finding("GPU in PyTorch", "usable, CUDA 13.0", "ok")


@pytest.mark.parametrize(
    ("torch_says", "told"), [("False None", "CPU build"), ("False 13.0", "not usable with CUDA 13.0")]
)
def test_a_device_that_pytorch_cannot_use(torch_says, told, monkeypatch, tmp_path):
    _, in_torch = nvidia_smi(tmp_path, monkeypatch, "echo 'Some GPU, 8192 MiB, 580.1'", torch_says)
    assert in_torch.status == "note"
    assert told in in_torch.found


def test_a_driver_that_fails(monkeypatch, tmp_path):
    device, _ = nvidia_smi(tmp_path, monkeypatch, "echo 'no driver' >&2; exit 9", "False 13.0")
    assert device.found == "nvidia-smi reports no device: no driver"


def test_a_driver_that_hangs_is_left(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "GPU_SECONDS", 0.3)
    start = time.perf_counter()
    device, _ = nvidia_smi(tmp_path, monkeypatch, "exec sleep 60", "False 13.0")
    assert time.perf_counter() - start < 3
    assert "does not answer" in device.found


def test_an_apple_gpu_is_named(monkeypatch):
    monkeypatch.setattr(doctor.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(doctor.platform, "machine", lambda: "arm64")
    assert "mps" in only(doctor.check_gpu()).found


@pytest.mark.parametrize(
    ("total", "available", "status"), [(1e9, 5e8, "problem"), (8e9, 1e9, "note"), (8e9, 4e9, "ok")]
)
def test_memory_is_compared_with_what_a_chapter_takes(total, available, status, monkeypatch):
    memory = SimpleNamespace(total=total, available=available)
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: memory)
    assert only(doctor.check_memory()).status == status


@pytest.mark.parametrize(("free", "status"), [(1e8, "problem"), (1e9, "note"), (1e10, "ok")])
def test_room_on_the_disks(free, status, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    assert [finding.status for finding in doctor.check_disk()] == [status, status]


def test_one_processor_is_noted(monkeypatch):
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda process: {0}, raising=False)
    assert only(doctor.check_cpu()).status == "note"


def test_the_cache_is_measured(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "x.npz").write_bytes(bytes(2000))
    assert only(doctor.check_cache()).found == f"{tmp_path / 'cache'}: 1 files, 2.0 kB, writable"


def test_a_cache_that_cannot_be_written_is_a_problem(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORKBOOK_CACHE", str(tmp_path / "file" / "cache"))
    finding = only(doctor.check_cache())
    assert finding.status == "problem"
    assert "Not a directory" in finding.found
    assert "WORKBOOK_CACHE" in finding.advice


def test_the_mirror_unset_mistyped_empty_wrong_and_full(tmp_path, monkeypatch):
    list_files(monkeypatch, public_file("a.bin", size=3))
    assert only(doctor.check_mirror()).status == "note"
    monkeypatch.setenv("WORKBOOK_MIRROR", str(tmp_path / "mirror"))
    assert only(doctor.check_mirror()).status == "problem"
    (tmp_path / "mirror").mkdir()
    assert "0 of 1 public files; missing: a.bin" in only(doctor.check_mirror()).found
    (tmp_path / "mirror" / "a.bin").write_bytes(b"1234")
    assert "wrong: a.bin" in only(doctor.check_mirror()).found
    (tmp_path / "mirror" / "a.bin").write_bytes(b"123")
    assert only(doctor.check_mirror()).status == "ok"


def test_public_files_in_the_cache_are_counted(tmp_path, monkeypatch):
    list_files(monkeypatch, public_file("a.bin", size=3000), public_file("b.bin", size=5000))
    (tmp_path / "cache" / "downloads").mkdir(parents=True)
    (tmp_path / "cache" / "downloads" / "a.bin").write_bytes(bytes(3000))
    finding = only(doctor.check_public_files())
    assert finding.found == "1 of 2 in the cache"
    assert "the other 5.0 kB" in finding.advice


def test_weights_missing_damaged_and_whole(tmp_path, monkeypatch):
    import numpy as np
    from safetensors.numpy import save_file

    weights = tmp_path / "glyphnet.safetensors"
    monkeypatch.setattr(doctor, "WEIGHTS", weights)
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    assert only(doctor.check_weights()).found == "missing"
    save_file({"stem": np.zeros((3, 3), np.float32)}, weights)
    assert only(doctor.check_weights()).found.startswith("1 tensors")
    weights.write_bytes(weights.read_bytes()[:-4])
    assert only(doctor.check_weights()).status == "problem"


def test_a_runs_folder_that_git_would_commit_is_noted(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    monkeypatch.setattr(doctor, "RUNS", tmp_path / "runs")
    assert only(doctor.check_runs()).found == "not ignored by git"
    (tmp_path / ".gitignore").write_text("runs/\n")
    assert only(doctor.check_runs()).found == "writable, ignored by git"


def test_a_host_that_answers_and_one_that_does_not(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        good, bad = (f"http://127.0.0.1:{s.getsockname()[1]}/x" for s in (server, unused))
        list_files(monkeypatch, public_file("a", url=good))
        assert only(doctor.check_network()) == Finding("Network", "1 of 1 download hosts reachable", "ok")
        list_files(monkeypatch, public_file("a", url=good), public_file("b", url=bad))
        finding = only(doctor.check_network())
    assert finding.status == "note"
    assert finding.found.startswith("1 of 2 download hosts reachable; 127.0.0.1: Connection refused")
    assert "WORKBOOK_MIRROR" in finding.advice


def test_a_name_server_that_never_answers_does_not_hang_the_doctor(monkeypatch):
    def silent(*_, **__):
        time.sleep(2)
        raise OSError("Name or service not known")

    monkeypatch.setattr(doctor, "NETWORK_SECONDS", 0.2)
    monkeypatch.setattr(doctor.socket, "create_connection", silent)
    list_files(monkeypatch, public_file())
    start = time.perf_counter()
    assert "no answer" in only(doctor.check_network()).found
    assert time.perf_counter() - start < 1


def test_behind_a_proxy_the_proxy_is_what_has_to_answer(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "near.example")
    assert doctor._server("https://host.example/x") == ("proxy.example", 3128)
    assert doctor._server("https://near.example/x") == ("near.example", 443)


def test_a_check_that_breaks_does_not_hide_the_others(monkeypatch):
    def check_kernel():
        raise ImportError("jupyter_client is broken")

    monkeypatch.setattr(doctor, "check_kernel", check_kernel)
    findings = {finding.what: finding for finding in examine(offline=True)}
    assert findings["Kernel"].status == "problem"
    assert "jupyter_client is broken" in findings["Kernel"].found
    assert "Memory" in findings


@pytest.mark.parametrize(("status", "exit_code"), [("ok", 0), ("note", 0), ("problem", 1)])
def test_the_command_draws_a_table_and_fails_only_for_a_problem(status, exit_code, monkeypatch):
    def found(**options):
        assert options == {"offline": True, "imports": False}
        return [Finding("Disk [of mine]", "[bold]full[/bold]", status, "empty it")]

    monkeypatch.setattr("workbook.commands.doctor.examine", found)
    result = CliRunner().invoke(command, ["--offline"])
    assert result.exit_code == exit_code
    for cell in ("Disk [of mine]", "[bold]full[/bold]", status, "empty it"):
        assert cell in result.output
