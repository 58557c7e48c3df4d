"""What this machine has for the workbook, and what to do about what it lacks.

Nothing heavy is imported and nothing is waited for longer than a few seconds: frameworks are asked for their
metadata, GPUs and trial imports run in processes with a time limit, hosts are tried in threads that are left
behind when they do not answer.
"""

import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from data_scripts.cache import cache_folder, cache_location, readable_size
from data_scripts.download import mirror_folder
from data_scripts.errors import CacheError
from data_scripts.registry import read_registry
from workbook.paths import ROOT, RUNS

REQUIREMENTS = ROOT / "requirements.txt"
WEIGHTS = ROOT / "data_scripts" / "weights" / "glyphnet.safetensors"
FRAMEWORKS = ("torch", "torchvision", "tensorflow", "keras")
NETWORK_SECONDS = 2.0
"""For all hosts together."""
GPU_SECONDS = 6.0
"""For nvidia-smi and PyTorch, side by side. Nothing is waited for on a machine without nvidia-smi."""
IMPORT_SECONDS = 90.0
"""For each framework of ``--imports``; a first import from a cold disk is slow."""
MEMORY_NEEDED, DISK_NEEDED, DISK_TIGHT = 2e9, 0.2e9, 2e9
"""Bytes: what a chapter takes at most; what runs and caches of the quick profile take; where room gets short."""

INSTALL = "python -m pip install -r requirements.txt"


@dataclass(frozen=True)
class Finding:
    """One row of the doctor's table.

    Attributes:
        what: was looked at.
        found: what is there.
        status: ``"ok"``; ``"note"``, something is limited or merely worth knowing; ``"problem"``, the course
            does not run as it should.
        advice: what to do; never empty for a note or a problem.
    """

    what: str
    found: str
    status: Literal["ok", "note", "problem"]
    advice: str = ""

    def __post_init__(self):
        if self.status != "ok" and not self.advice:
            raise ValueError(f"{self.what!r} is a {self.status}, but its finding does not say what to do")


def examine(*, offline: bool = False, imports: bool = False) -> list[Finding]:
    """Look at everything and return the findings in the order of the table.

    Args:
        offline: leave the network alone.
        imports: also import each framework, in a process of its own (up to a minute).
    """
    checks: list[Callable[[], list[Finding]]] = [
        check_python,
        check_environment,
        check_frameworks,
        check_pins,
        *([check_imports] if imports else []),
        check_kernel,
        check_gpu,
        check_cpu,
        check_memory,
        check_disk,
        check_cache,
        check_mirror,
        check_public_files,
        check_weights,
        check_runs,
        (lambda: [Finding("Network", "not checked", "note", "leave out --offline to check it")])
        if offline
        else check_network,
    ]
    with ThreadPoolExecutor(len(checks)) as pool:
        return [finding for found in pool.map(_guarded, checks) for finding in found]


def _guarded(check: Callable[[], list[Finding]]) -> list[Finding]:
    """Run a check; a broken environment may break the check itself, which must not hide the other rows."""
    try:
        return check()
    except Exception as error:
        name = check.__name__.removeprefix("check_").replace("_", " ").capitalize()
        found = f"could not be looked at: {type(error).__name__}: {error}"
        return [Finding(name, found, "problem", f"set the environment up again: {INSTALL}")]


def check_python() -> list[Finding]:
    """Compare this Python with ``requires-python``."""
    supported = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if platform.python_version() in SpecifierSet(supported, prereleases=True):
        return [Finding("Python", found, "ok")]
    advice = f"use a Python {supported}: delete .venv and run, for example, make run PYTHON=python3.12"
    return [Finding("Python", found, "problem", advice)]


def check_environment() -> list[Finding]:
    """Say whether this Python is that of a virtual (or conda) environment."""
    if sys.prefix != sys.base_prefix or os.environ.get("CONDA_PREFIX") == sys.prefix:
        return [Finding("Environment", sys.prefix, "ok")]
    advice = (
        "the pinned packages would replace those of your system: make an environment (python3 -m venv .venv) "
        "and use .venv/bin/python, or use make, which does it for you"
    )
    return [Finding("Environment", f"{sys.prefix}, not a virtual environment", "note", advice)]


def read_pins(path: Path = REQUIREMENTS) -> dict[str, str]:
    """Return the pinned version of each package in ``requirements.txt`` that applies to this Python."""
    lines = (line.split(" #")[0].strip() for line in path.read_text("utf-8").splitlines())
    required = [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]
    pinned = [r for r in required if r.marker is None or r.marker.evaluate()]
    return {r.name: next(iter(r.specifier)).version for r in pinned}


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_frameworks() -> list[Finding]:
    """Compare the installed frameworks with the pinned ones, without importing them."""
    pins = read_pins()
    findings = []
    for package in FRAMEWORKS:
        version, pin = _installed(package), pins.get(package, "no version")
        if version is None:
            findings.append(Finding(package, f"not installed, {pin} is pinned", "problem", INSTALL))
        elif version != pin:
            advice = f"results were checked with {pin}; {INSTALL} installs it"
            findings.append(Finding(package, f"{version}, {pin} is pinned", "note", advice))
        else:
            findings.append(Finding(package, version, "ok"))
    return findings


def check_pins() -> list[Finding]:
    """Compare all other installed packages with the pinned ones."""
    pins = {package: pin for package, pin in read_pins().items() if package not in FRAMEWORKS}
    installed = {package: _installed(package) for package in pins}
    missing = [package for package in pins if installed[package] is None]
    other = [f"{p} {installed[p]} (not {pins[p]})" for p in pins if installed[p] not in (None, pins[p])]
    as_pinned = f"{len(pins) - len(missing) - len(other)} of {len(pins)} as pinned"
    if missing:
        return [Finding("Packages", f"{as_pinned}; missing: {_some(missing)}", "problem", INSTALL)]
    if other:
        advice = f"harmless as long as everything runs; {INSTALL} puts them right"
        return [Finding("Packages", f"{as_pinned}; other: {_some(other)}", "note", advice)]
    return [Finding("Packages", as_pinned, "ok")]


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def check_imports() -> list[Finding]:
    """Import each framework in a process of its own: two of them in one process can abort it."""
    return [check_import(package) for package in FRAMEWORKS]


def check_import(package: str) -> Finding:
    """Import one package in a process of its own and say how long it took, or how it failed."""
    what, start = f"import {package}", time.perf_counter()
    done = _run([sys.executable, "-c", f"import {package}"], seconds=IMPORT_SECONDS)
    if done is None:
        advice = "try again (a first import reads much from disk), with other programs closed"
        return Finding(what, f"not done after {IMPORT_SECONDS:.0f} s", "problem", advice)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        advice = f"install it again: python -m pip install --force-reinstall -r {REQUIREMENTS.name}"
        return Finding(what, f"failed: {last}", "problem", advice)
    return Finding(what, f"works, {time.perf_counter() - start:.1f} s", "ok")


def _run(command: list[str], *, seconds: float) -> subprocess.CompletedProcess | None:
    """Run a command; return None when it is not done in time."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return None


def check_kernel() -> list[Finding]:
    """Say whether Jupyter's kernel ``python3``, which every notebook names, starts this Python."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    repair = "python -m ipykernel install --sys-prefix --name python3"
    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        return [Finding("Jupyter kernel", "no kernel 'python3'", "problem", repair)]
    # Jupyter starts a bare 'python' as the Python it runs in itself. Other paths are compared as they are
    # written: the Pythons of all virtual environments link to one file.
    bare = {"python", "python3", f"python3.{sys.version_info.minor}"}
    if command in bare or Path(command).absolute().parent == Path(sys.executable).absolute().parent:
        return [Finding("Jupyter kernel", "'python3' is this Python", "ok")]
    return [Finding("Jupyter kernel", f"'python3' starts {command}", "problem", repair)]


def check_gpu() -> list[Finding]:
    """Ask nvidia-smi for devices, and PyTorch, in a process of its own, whether it can use them."""
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        advice = "the sections 'On a GPU' are written for CUDA and are skipped; all else runs on the CPU"
        return [Finding("GPU", "Apple GPU (PyTorch's device 'mps')", "note", advice)]
    smi = shutil.which("nvidia-smi")
    if smi is None:
        advice = "none is needed: the sections 'On a GPU' say so and are skipped"
        return [Finding("GPU", "no NVIDIA device (no nvidia-smi)", "note", advice)]
    query = [smi, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    torch = [sys.executable, "-c", "import torch; print(torch.cuda.is_available(), torch.version.cuda)"]
    with ThreadPoolExecutor(2) as pool:
        devices, cuda = pool.map(lambda command: _run(command, seconds=GPU_SECONDS), (query, torch))
    return [_gpu_devices(devices), _gpu_in_torch(cuda)]


def _gpu_devices(done: subprocess.CompletedProcess | None) -> Finding:
    advice = "run nvidia-smi by hand and repair the driver; without it the GPU sections are skipped"
    if done is None:
        return Finding("GPU", f"nvidia-smi does not answer in {GPU_SECONDS:.0f} s", "note", advice)
    if done.returncode or not done.stdout.strip():
        told = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
        return Finding("GPU", f"nvidia-smi reports no device: {told}", "note", advice)
    return Finding("GPU", "; ".join(done.stdout.strip().splitlines()), "ok")


def _gpu_in_torch(done: subprocess.CompletedProcess | None) -> Finding:
    what = "GPU in PyTorch"
    if done is None:
        advice = "run python -m workbook doctor --imports, which waits longer"
        return Finding(what, f"PyTorch does not start in {GPU_SECONDS:.0f} s", "note", advice)
    available, _, cuda = done.stdout.strip().partition(" ")
    if done.returncode or available not in ("True", "False"):
        return Finding(what, "PyTorch does not start", "problem", INSTALL)
    if available == "True":
        return Finding(what, f"usable, CUDA {cuda}", "ok")
    if cuda == "None":
        return Finding(what, "this PyTorch is a CPU build", "note", f"for the GPU sections: {INSTALL}")
    advice = f"update the NVIDIA driver to one that supports CUDA {cuda}; until then GPU sections are skipped"
    return Finding(what, f"not usable with CUDA {cuda}", "note", advice)


def check_cpu() -> list[Finding]:
    """Count the processors that this process may use, and say whether the environment limits threads."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{psutil.cpu_count(logical=False) or '?'} cores, {usable} threads usable"
    if limit := os.environ.get("OMP_NUM_THREADS"):
        found += f", OMP_NUM_THREADS={limit}"
    if usable < 2:
        advice = "the stated minutes are for two cores: expect about twice as long"
        return [Finding("CPU", found, "note", advice)]
    return [Finding("CPU", found, "ok")]


def check_memory() -> list[Finding]:
    """Compare the memory with what a chapter takes."""
    memory = psutil.virtual_memory()
    found = f"{readable_size(memory.total)}, {readable_size(memory.available)} available"
    need = readable_size(MEMORY_NEEDED)
    if memory.total < MEMORY_NEEDED:
        advice = f"a chapter takes up to {need}: use a machine with more, or read the executed notebooks"
        return [Finding("Memory", found, "problem", advice)]
    if memory.available < MEMORY_NEEDED:
        advice = f"a chapter takes up to {need}: close programs and run with --workers 1"
        return [Finding("Memory", found, "note", advice)]
    return [Finding("Memory", found, "ok")]


def check_disk() -> list[Finding]:
    """Look at the room for runs and for the cache."""
    return [_disk("Disk, repository", ROOT), _disk("Disk, cache", cache_location())]


def _disk(what: str, folder: Path) -> Finding:
    existing = next(place for place in (folder, *folder.parents) if place.is_dir())
    free = shutil.disk_usage(existing).free
    found = f"{readable_size(free)} free"
    way_out = ", or set WORKBOOK_CACHE to another disk" if "cache" in what else ", or delete old folders in runs/"
    if free < DISK_NEEDED:
        return Finding(what, found, "problem", f"make {readable_size(DISK_NEEDED)} free{way_out}")
    if free < DISK_TIGHT:
        return Finding(what, found, "note", f"enough for the quick profile; free some for public data{way_out}")
    return Finding(what, found, "ok")


def check_cache() -> list[Finding]:
    """Say where the cache is, how large it is, and whether it can be written to."""
    try:
        folder = cache_folder()
    except CacheError as error:
        advice = "make it writable, or set WORKBOOK_CACHE to a folder of yours"
        return [Finding("Cache", f"{cache_location()}: {error.__cause__.strerror}", "problem", advice)]
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return [Finding("Cache", f"{folder}: {len(sizes)} files, {readable_size(sum(sizes))}, writable", "ok")]


def check_mirror() -> list[Finding]:
    """Look for the registry's files in the mirror folder. Sizes are compared here, hashes when a file is used."""
    folder = mirror_folder()
    if folder is None:
        advice = "only needed without a network: name a folder that holds the public files"
        return [Finding("Mirror", "WORKBOOK_MIRROR is not set", "note", advice)]
    if not folder.is_dir():
        advice = "correct or unset WORKBOOK_MIRROR"
        return [Finding("Mirror", f"{folder} is no folder", "problem", advice)]
    missing, wrong = [], []
    registry = read_registry().values()
    for file in registry:
        path = folder / file.name
        if not path.is_file():
            if not (file.is_archive and (folder / path.stem).is_dir()):
                missing.append(file.name)
        # An archive may be packed in any way, so its size says nothing.
        elif not file.is_archive and path.stat().st_size not in {file.size, *(p.size for p in file.other_packings)}:
            wrong.append(file.name)
    found = f"{folder}: {len(registry) - len(missing) - len(wrong)} of {len(registry)} public files"
    if wrong:
        advice = "replace these files: they have another size than registry.toml states and will be refused"
        return [Finding("Mirror", f"{found}; wrong: {_some(wrong)}", "problem", advice)]
    if missing:
        advice = "the missing files are downloaded when needed, or can be put into this folder"
        return [Finding("Mirror", f"{found}; missing: {_some(missing)}", "note", advice)]
    return [Finding("Mirror", found, "ok")]


def check_public_files() -> list[Finding]:
    """Count the public files that are in the cache."""
    registry = read_registry().values()
    there = [file for file in registry if (cache_location() / "downloads" / file.name).is_file()]
    found = f"{len(there)} of {len(registry)} in the cache"
    if len(there) == len(registry):
        return [Finding("Public data", found, "ok")]
    size = readable_size(sum(file.size for file in registry if file not in there))
    advice = f"none is needed at the quick profile; the public profile fetches the other {size} when it needs them"
    return [Finding("Public data", found, "note", advice)]


def check_weights() -> list[Finding]:
    """Open the weights of GlyphNet, which every quick run starts from."""
    from safetensors import SafetensorError, safe_open

    advice = f"get it back with: git checkout -- {WEIGHTS.relative_to(ROOT)}"
    if not WEIGHTS.is_file():
        return [Finding("GlyphNet weights", "missing", "problem", advice)]
    try:
        with safe_open(WEIGHTS, framework="numpy") as weights:
            found = f"{len(list(weights.keys()))} tensors, {readable_size(WEIGHTS.stat().st_size)}"
    except SafetensorError as error:
        return [Finding("GlyphNet weights", f"damaged: {error}", "problem", advice)]
    return [Finding("GlyphNet weights", found, "ok")]


def check_runs() -> list[Finding]:
    """Say whether runs can be written, and whether git leaves them alone."""
    try:
        with tempfile.TemporaryFile(dir=RUNS if RUNS.is_dir() else ROOT):
            pass
    except OSError as error:
        advice = "make the folder writable, or give runs another one: python -m workbook run --out FOLDER"
        return [Finding("Runs folder", f"{RUNS}: {error.strerror}", "problem", advice)]
    git = shutil.which("git")
    inside = git and (ROOT / ".git").exists()
    if inside:
        done = _run([git, "-C", str(ROOT), "check-ignore", "-q", f"{RUNS.name}/x"], seconds=GPU_SECONDS)
        if done is not None and done.returncode == 1:
            return [Finding("Runs folder", "not ignored by git", "note", "add a line 'runs/' to .gitignore")]
    return [Finding("Runs folder", "writable" + (", ignored by git" if inside else ""), "ok")]


def check_network() -> list[Finding]:
    """Try to connect to each host of the registry (or to the proxy in front of it), all at once."""
    servers = {_server(url) for file in read_registry().values() for url in file.urls}
    reached: dict[tuple[str, int], str] = {}

    def connect(server: tuple[str, int]) -> None:
        try:
            with socket.create_connection(server, timeout=NETWORK_SECONDS):
                reached[server] = "reachable"
        except OSError as error:
            reached[server] = error.strerror or str(error)

    # Daemon threads: a name server that does not answer cannot be given a time limit, only be left behind.
    threads = [threading.Thread(target=connect, args=(server,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + NETWORK_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    advice = (
        "the quick profile needs no network; for public data connect or set a proxy (HTTPS_PROXY), "
        "or name a folder that holds the files with WORKBOOK_MIRROR"
    )
    failed = [
        f"{host}: {reached.get((host, port), f'no answer in {NETWORK_SECONDS:.0f} s')}"
        for host, port in sorted(servers)
        if reached.get((host, port)) != "reachable"
    ]
    found = f"{len(servers) - len(failed)} of {len(servers)} download hosts reachable"
    if failed:
        return [Finding("Network", f"{found}; {_some(failed)}", "note", advice)]
    return [Finding("Network", found, "ok")]


def _server(url: str) -> tuple[str, int]:
    """Return the host and port that a download of ``url`` connects to."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname):
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}", scheme="http")
    return parts.hostname, parts.port or {"https": 443, "http": 80}[parts.scheme]
