"""``python -m data_scripts``: what a person types to get, check and remove public files."""

import hashlib

import pytest
from click.testing import CliRunner

from data_scripts import __main__ as commands
from data_scripts.registry import PublicFile

CONTENT = b"some bytes"


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "a.bin").write_bytes(CONTENT)
    monkeypatch.setenv("WORKBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WORKBOOK_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setattr(commands, "read_registry", lambda: {file.name: file for file in FILES})
    monkeypatch.setattr(commands, "lookup", lambda name: {file.name: file for file in FILES}[name])
    return tmp_path


def public_file(name, **other):
    digest = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    return PublicFile(name, (), len(CONTENT), "CC0", "A. Nobody, 2020", "a test", **({"hash": digest} | other))


FILES = (public_file("a.bin"), public_file("b.bin", page="https://example.org/b"))


def call(*arguments):
    result = CliRunner().invoke(commands.main, arguments)
    return result.exit_code, result.output


def test_list_says_what_each_file_is_and_where_it_is():
    call("download", "a.bin")
    status, output = call("list")
    assert status == 0
    assert "a.bin · 10 B · cache" in output
    assert "b.bin · 10 B · to get by hand" in output
    assert "licence: CC0" in output


def test_download_shows_the_licence_and_how_to_cite(places):
    status, output = call("download", "a.bin")
    assert status == 0
    assert "licence: CC0" in output
    assert "cite: A. Nobody, 2020" in output
    assert (places / "cache/downloads/a.bin").read_bytes() == CONTENT


def test_download_of_one_that_fails_still_brings_the_others(places):
    status, output = call("download", "b.bin", "a.bin")
    assert status == 1
    assert "b.bin could not be fetched" in output
    assert (places / "cache/downloads/a.bin").is_file()


def test_verify_names_a_damaged_file(places):
    call("download", "a.bin")
    assert call("verify") == (0, "a.bin: as it should be\n")
    (places / "cache/downloads/a.bin").write_bytes(b"other bytes")
    status, output = call("verify")
    assert status == 1
    assert "a.bin: expected SHA-256" in output
    assert "python -m data_scripts download" in output


def test_verify_of_a_named_file_that_is_not_there_fails():
    status, output = call("verify", "a.bin")
    assert (status, "a.bin: not in the cache" in output) == (1, True)


def test_clean_removes_what_was_named_and_nothing_else(places):
    call("download", "a.bin")
    (places / "cache/downloads/mine.txt").write_text("a learner's")
    assert call("clean", "a.bin") == (0, "freed 10 B\n")
    assert [path.name for path in (places / "cache/downloads").iterdir()] == ["mine.txt"]


def test_clean_without_a_name_asks_for_one(places):
    call("download", "a.bin")
    status, output = call("clean")
    assert (status, "or use --all" in output) == (2, True)
    assert (places / "cache/downloads/a.bin").is_file()


def test_an_unknown_name_is_a_clear_error(monkeypatch):
    monkeypatch.undo()
    status, output = call("download", "ants.zip")
    assert status == 2
    assert "'ants.zip' is not in registry.toml" in output
