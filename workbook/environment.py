"""Makes the virtual environment ``.venv`` that the Makefile uses, or brings it up to date with the pins.

    python3 workbook/environment.py

It runs before anything is installed, on whatever Python it is given: standard library only, and no syntax that an
older Python could not read, so that the message about the version can be printed. What makes it more than two calls:

* an installation that was cut short is made again. ``.installing`` marks one that has begun; it becomes
  ``.installed`` in one step when all is well. A mark that is found at the start, with packages that were touched
  after it, means an environment that cannot be trusted;
* a failure before any package was touched (no network, say) leaves a working environment as it was;
* of two calls at once, one installs and the other waits for it.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST, NEWEST = (3, 11), (3, 13)
SHOW_EVERY = 15.0
"""Seconds between two lines of progress where the output is no terminal."""
TAIL = 15
"""Lines of pip's output shown when it fails."""


class SetupError(Exception):
    """The environment cannot be made; the message says what to do."""


def check_python(version=sys.version_info[:2], executable=sys.executable):
    """Raise `SetupError` unless ``version`` (major, minor) is supported; name one that is, if it is installed."""
    if OLDEST <= tuple(version) <= NEWEST:
        return
    names = [f"python3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    found = [name for name in names if shutil.which(name)]
    way_out = "One seems to be installed" if found else "Install one"
    raise SetupError(
        f"the workbook needs Python {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}, and {executable} is "
        f"{version[0]}.{version[1]}. {way_out}; then: make run PYTHON={(found or names)[0]}"
    )


def make_environment(root=ROOT):
    """Make or update ``root/.venv`` from ``root/requirements.txt``, unless it is up to date.

    Args:
        root: folder with ``requirements.txt`` and ``pyproject.toml``.

    Raises:
        SetupError: this Python is not supported, or the environment cannot be made or filled.
    """
    check_python()
    venv = root / ".venv"
    with _one_at_a_time(root / "requirements.txt"):
        if is_current(root):
            return
        started = time.monotonic()
        if not can_be_trusted(venv):
            print("The environment in .venv was left half made, or its Python is gone: making it again.", flush=True)
            shutil.rmtree(venv)
        venv.mkdir(exist_ok=True)
        installing = venv / ".installing"
        installing.touch()
        (venv / ".installed").unlink(missing_ok=True)
        python = venv / "bin" / "python"
        if not python.exists():
            print(f"Making .venv with Python {sys.version.split()[0]} ({sys.executable}).", flush=True)
            _make_venv(venv)
        _check_version_of(python)
        print("Installing the pinned packages; the first time takes minutes, and several GB on Linux.", flush=True)
        _install(python, root)
        os.replace(installing, venv / ".installed")
        print(f"Installed in {time.monotonic() - started:.0f} s.", flush=True)


def is_current(root):
    """Return whether the environment was completed after the last change to what is to be installed."""
    stamp = root / ".venv" / ".installed"
    asked = (root / "requirements.txt", root / "pyproject.toml")
    return stamp.exists() and all(path.stat().st_mtime <= stamp.stat().st_mtime for path in asked)


def can_be_trusted(venv):
    """Return whether what is in ``venv`` is whole: nothing yet, or no package touched by an unfinished installation."""
    installing = venv / ".installing"
    if not venv.exists():
        return True
    if not (venv / "bin" / "python").exists():  # also a link to a Python that was uninstalled
        return False
    packages = list(venv.glob("lib/python3*/site-packages"))
    if not packages:
        return False
    # Installing or removing a package changes an entry of this folder.
    return not installing.exists() or all(p.stat().st_mtime < installing.stat().st_mtime for p in packages)


@contextmanager
def _one_at_a_time(path):
    """Hold a lock on ``path``; a killed process holds none."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("Another process is setting up .venv: waiting for it.", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_venv(venv):
    done = subprocess.run(
        [sys.executable, "-m", "venv", str(venv)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        # On Debian and Ubuntu this text names the package that brings the module.
        raise SetupError(f"the virtual environment cannot be made:\n{done.stdout.strip()}")


def _check_version_of(python):
    code = "import sys; print(*sys.version_info[:2])"
    done = subprocess.run([str(python), "-c", code], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SetupError(f"{python} does not start: delete .venv and try again")
    version = tuple(map(int, done.stdout.split()))
    if not OLDEST <= version <= NEWEST:
        raise SetupError(
            f".venv holds Python {version[0]}.{version[1]}, and the workbook needs {OLDEST[0]}.{OLDEST[1]} to "
            f"{NEWEST[0]}.{NEWEST[1]}: delete .venv and try again"
        )


def _install(python, root):
    """Run pip with its hundreds of lines reduced to one that says how far it is; all of them stand in a log."""
    wanted = sum("==" in line for line in (root / "requirements.txt").read_text("utf-8").splitlines())
    command = [str(python), "-m", "pip", "install", "--progress-bar=off", "--disable-pip-version-check"]
    command += ["-r", "requirements.txt"]
    # PIP_USER in a person's settings would install outside the environment, or fail.
    surroundings = dict(os.environ, PYTHONNOUSERSITE="1", PIP_USER="0", PYTHONUNBUFFERED="1")
    surroundings.pop("PYTHONPATH", None)
    pip = subprocess.Popen(
        command, cwd=str(root), env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(pip.stdout), daemon=True)
    reader.start()
    try:
        _show_progress(reader, lines, wanted)
        status = pip.wait()
    except BaseException:  # Ctrl-C: nothing may go on writing to .venv once the lock is released
        pip.terminate()
        pip.wait()
        raise
    (python.parents[1] / "install.log").write_text("".join(lines), "utf-8")
    if status:
        errors = [line.rstrip() for line in lines if not line.startswith(("Requirement already", "  "))]
        raise SetupError(
            "pip could not install the packages; the end of what it said (all of it is in .venv/install.log):\n"
            + "\n".join(errors[-TAIL:])
            + "\nIf the network is at fault, the same command goes on from what pip has already downloaded."
        )


def _show_progress(reader, lines, wanted):
    """Show one line that is rewritten (terminal) or one now and then (file), until pip's output ends."""
    terminal = sys.stdout.isatty()
    started = shown = time.monotonic()
    while reader.is_alive():
        reader.join(0.5)
        now = time.monotonic()
        if terminal or now - shown >= SHOW_EVERY:
            shown = now
            text = f"  {now - started:4.0f} s  {describe(lines, wanted)}"
            print("\r\033[K" + text[: shutil.get_terminal_size().columns - 1] if terminal else text, end="")
            print("" if terminal else "\n", end="", flush=True)
    if terminal:
        print("\r\033[K", end="", flush=True)


def describe(lines, wanted):
    """Say how far pip is, from the lines that it has printed so far.

    Args:
        lines: pip's output.
        wanted: how many packages are pinned, for all machines together; this one needs fewer.
    """
    seen = sum(line.startswith(("Collecting ", "Requirement already satisfied")) for line in lines)
    for line in reversed(lines):
        if line.startswith("Installing collected packages"):
            return f"unpacking {line.count(',') + 1} packages"
        download = re.match(r"\s+Downloading (\S+?)-\d\S* (\(.+\))", line)
        if download:
            return f"package {min(seen, wanted)} of at most {wanted}: {download.group(1)} {download.group(2)}"
    return f"package {min(seen, wanted)} of at most {wanted}"


def main():
    """Make the environment; return the exit status."""
    try:
        make_environment()
    except SetupError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder that may not be written to
        print(f"Error: the environment cannot be made: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted: the next call makes the environment again where it has to.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
