"""The pinned closure serves Python 3.11 to 3.13 on Linux (x86_64) and macOS (arm64)."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from workbook.doctor import read_pins
from workbook.paths import ROOT

LINES = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
PINS = [Requirement(line) for line in LINES if line.strip() and not line.startswith(("#", "-"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

PYTHONS = {"3.11": "3.11.9", "3.12": "3.12.8", "3.13": "3.13.2"}
SYSTEMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    "macos": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
}
SIX = [(python, system) for python in PYTHONS for system in SYSTEMS]


def environment(python, system):
    """Return the values of the markers there (PEP 508)."""
    return {
        "python_version": python,
        "python_full_version": PYTHONS[python],
        "implementation_name": "cpython",
        "implementation_version": PYTHONS[python],
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "extra": "",
        **SYSTEMS[system],
    }


def pins_for(python, system):
    """Return the versions of each package that are pinned there."""
    versions = {}
    for pin in PINS:
        if pin.marker is None or pin.marker.evaluate(environment(python, system)):
            (specifier,) = pin.specifier
            versions.setdefault(canonicalize_name(pin.name), []).append(specifier.version)
    return versions


def test_every_line_is_a_pinned_package_and_the_last_installs_the_workbook():
    *packages, last = [line for line in LINES if line.strip() and not line.startswith("#")]
    assert last == "-e ."
    name_and_pin = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!_]+( ; .+)?")
    assert [line for line in packages if not name_and_pin.fullmatch(line)] == []


def test_nothing_names_an_index_a_host_or_a_place_on_this_machine():
    named = re.compile(r"--|https?:|file:|://|(^|[\s=])[/~]|@")
    assert [line for line in LINES if named.search(line)] == []


@pytest.mark.parametrize(("python", "system"), SIX)
def test_each_package_has_one_version(python, system):
    assert {name: found for name, found in pins_for(python, system).items() if len(found) > 1} == {}


@pytest.mark.parametrize(("python", "system"), SIX)
def test_what_the_project_asks_for_is_pinned_within_its_bounds(python, system):
    pinned = pins_for(python, system)
    lacking = []
    for asked in map(Requirement, PROJECT["dependencies"]):
        if asked.marker is None or asked.marker.evaluate(environment(python, system)):
            found = pinned.get(canonicalize_name(asked.name), [])
            if not any(asked.specifier.contains(version, prereleases=True) for version in found):
                lacking.append(f"{asked}: {found}")
    assert lacking == []


def test_the_supported_pythons_are_the_ones_tried_here():
    supported = Requirement(f"x{PROJECT['requires-python']}").specifier
    tried = [f"3.{minor}" for minor in range(20) if supported.contains(f"3.{minor}.5")]
    assert tried == list(PYTHONS)


def test_this_environment_is_as_pinned():
    def installed(package):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"

    found = {package: installed(package) for package in read_pins()}
    assert found == read_pins()


def resolve(python, system, file):
    """Let uv resolve the pinned packages for another machine, from wheels alone."""
    command = [Path(sys.executable).with_name("uv"), "pip", "compile", file, "--quiet"]
    command += ["--no-header", "--no-annotate", "--only-binary", ":all:"]
    command += ["--python-version", PYTHONS[python], "--python-platform", system]
    # PyTorch's wheels are for macOS 14 and later.
    limits = {"MACOSX_DEPLOYMENT_TARGET": "14.0", "UV_HTTP_TIMEOUT": "10", "UV_HTTP_RETRIES": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | limits, timeout=100)


@pytest.mark.network
def test_the_pins_are_a_whole_closure_for_each_of_the_six_machines(tmp_path):
    packages = tmp_path / "packages.in"
    packages.write_text("\n".join(line for line in LINES if line != "-e ."))
    with ThreadPoolExecutor(3) as pool:
        resolved = list(pool.map(lambda machine: resolve(*machine, packages), SIX))
    for (python, system), done in zip(SIX, resolved, strict=True):
        if re.search(r"Failed to fetch|error sending request|Could not connect|timed out", done.stderr):
            pytest.skip("the package index is out of reach, so that nothing can be resolved")
        assert done.returncode == 0, f"Python {python} on {system}: {done.stderr}"
        # A package that the pins lack would stand in the result as an extra line.
        found = {
            pin.name: [next(iter(pin.specifier)).version] for pin in map(Requirement, done.stdout.split("\n")[:-1])
        }
        assert found == pins_for(python, system), f"Python {python} on {system}"
