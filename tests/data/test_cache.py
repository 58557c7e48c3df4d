import errno
import multiprocessing
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from data_scripts import cache
from data_scripts.cache import cache_folder, cached_arrays
from data_scripts.errors import CacheError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBOOK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Maker:
    """Makes small arrays and counts how often it was asked to."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"images": np.arange(12, dtype=np.float32).reshape(3, 2, 2), "names": np.array(["a", "β"])}


def data_files(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_arrays_are_made_once_and_come_back_the_same():
    make = Maker()
    made, read = cached_arrays("toy", "1", make), cached_arrays("toy", "1", make)
    assert make.calls == 1
    for key, array in made.items():
        assert array.dtype == read[key].dtype
        np.testing.assert_array_equal(array, read[key])


def test_another_version_is_another_file(folder):
    cached_arrays("toy", "1", lambda: {"x": np.zeros(2)})
    second = cached_arrays("toy", "2", lambda: {"x": np.ones(2)})
    assert second["x"].sum() == 2
    assert {"toy-1.npz", "toy-2.npz"} <= set(data_files(folder))


def change_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def empty(path):
    path.write_bytes(b"")


def lose_digest(path):
    path.with_name(path.name + ".sha256").unlink()


@pytest.mark.parametrize("damage", [change_a_byte, truncate, empty, lose_digest])
def test_a_damaged_file_is_made_again_with_one_line_in_the_log(damage, folder, caplog):
    make = Maker()
    cached_arrays("toy", "1", make)
    damage(folder / "toy-1.npz")
    arrays = cached_arrays("toy", "1", make)
    assert make.calls == 2
    np.testing.assert_array_equal(arrays["images"], make()["images"])
    assert [record.message for record in caplog.records if "damaged" in record.message] == [
        f"{folder / 'toy-1.npz'} is damaged (its SHA-256 is missing or does not match): making it again"
    ]
    cached_arrays("toy", "1", lambda: pytest.fail("the repaired file was not used"))


def test_a_damaged_file_prints_nothing_into_a_notebook(folder, tmp_path):
    cached_arrays("toy", "1", Maker())
    truncate(folder / "toy-1.npz")
    script = (
        "import numpy as np; from data_scripts.cache import cached_arrays;"
        "print(cached_arrays('toy', '1', lambda: {'x': np.ones(3)})['x'].sum())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=cache._ROOT)
    assert (done.stdout, done.stderr) == ("3.0\n", "")


def test_disk_full_names_the_space_needed_and_free_and_leaves_nothing(folder, monkeypatch):
    def write_some_then_fail(file, **arrays):
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def free_beside_what_is_there(place):
        return SimpleNamespace(free=5000 - sum(path.stat().st_size for path in place.iterdir()))

    monkeypatch.setattr(np, "savez", write_some_then_fail)
    monkeypatch.setattr(cache.shutil, "disk_usage", free_beside_what_is_there)
    with pytest.raises(CacheError, match=r"toy-1.npz needs 2\.0 MB in .*, where 5\.0 kB are free.*WORKBOOK_CACHE"):
        cached_arrays("toy", "1", lambda: {"x": np.zeros(250_000)})
    assert data_files(folder) == []


def test_an_interrupted_make_leaves_nothing_and_the_next_one_works(folder):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_arrays("toy", "1", interrupted)
    assert data_files(folder) == []
    assert cached_arrays("toy", "1", Maker())["images"].shape == (3, 2, 2)


def test_an_interrupted_write_leaves_nothing(folder, monkeypatch):
    def interrupted(file, **arrays):
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cached_arrays("toy", "1", Maker())
    assert data_files(folder) == []


def test_what_a_killed_process_left_is_overwritten(folder):
    cache_folder()
    (folder / "toy-1.npz.part").write_bytes(b"left by a process that was killed")
    assert cached_arrays("toy", "1", Maker())["images"].shape == (3, 2, 2)
    assert data_files(folder) == ["toy-1.npz", "toy-1.npz.sha256"]


def _ask(start, makes, sums):
    def slow():
        with open(makes, "a") as file:
            file.write("made\n")
        time.sleep(0.4)
        return {"x": np.full(1000, 7.0)}

    start.wait()
    sums.put(cached_arrays("shared", "1", slow)["x"].sum())


def test_of_two_processes_one_makes_and_the_other_waits_and_reads(tmp_path):
    context = multiprocessing.get_context("spawn")
    start, sums = context.Event(), context.Queue()
    workers = [context.Process(target=_ask, args=(start, tmp_path / "makes", sums)) for _ in range(2)]
    for worker in workers:
        worker.start()
    start.set()
    assert [sums.get(timeout=30) for _ in workers] == [7000.0, 7000.0]
    for worker in workers:
        worker.join(timeout=30)
    assert (tmp_path / "makes").read_text() == "made\n"


def test_an_unusable_folder_is_named_with_the_reason_and_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("WORKBOOK_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CacheError, match=r"cache folder .*file/cache .*Not a directory.*set WORKBOOK_CACHE"):
        cached_arrays("toy", "1", lambda: pytest.fail("computed although it could not be kept"))


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EROFS])
def test_a_folder_that_refuses_writing_is_an_error(reason, monkeypatch):
    # Permission bits do not stop root, so the refusal itself is played.
    def refuse(**_):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(cache.tempfile, "TemporaryFile", refuse)
    with pytest.raises(CacheError, match=os.strerror(reason)):
        cache_folder()


def test_without_the_variable_the_platform_chooses_the_folder(monkeypatch):
    monkeypatch.delenv("WORKBOOK_CACHE")
    assert cache.cache_location().name == "transfer-learning-workbook"


def test_a_relative_folder_counts_from_the_repository_and_not_from_the_notebook(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBOOK_CACHE", "my_cache")
    monkeypatch.chdir(tmp_path)
    assert cache.cache_location() == cache._ROOT / "my_cache"


@pytest.mark.parametrize("name", ["../escape", "a/b", "with space", ""])
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(ValueError, match="letters, digits"):
        cached_arrays(name, "1/2" if name == "" else "1", Maker())


def test_python_objects_are_refused(folder):
    with pytest.raises(TypeError, match=r"array 'x' has dtype object"):
        cached_arrays("toy", "1", lambda: {"x": np.array([{}, []], dtype=object)})
    assert data_files(folder) == []


def test_twenty_megabytes_come_back_in_half_a_second():
    cached_arrays("large", "1", lambda: {"images": np.ones((5000, 32, 32), dtype=np.float32)})
    start = time.perf_counter()
    cached_arrays("large", "1", lambda: pytest.fail("not cached"))
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize(
    ("size", "words"), [(12, "12 B"), (4542, "4.5 kB"), (1_648_877, "1.6 MB"), (139e9, "139.0 GB")]
)
def test_sizes_are_said_as_a_person_would(size, words):
    assert cache.readable_size(size) == words
