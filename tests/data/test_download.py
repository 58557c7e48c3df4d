import hashlib
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data_scripts import download
from data_scripts.download import Packing, PublicFile, bring, fetch, read_registry
from data_scripts.errors import CacheError, DownloadError, RegistryError

CONTENT = b"forty-two bytes of data, whatever they are"
CHANGED = b"Forty-two bytes of data, whatever they are"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WORKBOOK_MIRROR", raising=False)
    monkeypatch.setattr(download, "BACK_OFF", 0.01)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path / "cache" / "downloads"


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("WORKBOOK_MIRROR", str(folder))
    return folder


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(*answers):
    """Serve the answers (status, body) in turn, the last one for ever; gives the URL and the requests seen."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            status, body = answers[min(len(seen), len(answers)) - 1]
            self.send_response(status)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/data.bin", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def file_at(*urls):
    return PublicFile(
        name="data.bin",
        urls=urls,
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        licence="CC0",
        citation="nobody",
        purpose="a test",
    )


def nowhere():
    return f"http://127.0.0.1:{unused_port()}/data.bin"


def data_files(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_a_file_is_downloaded_once_and_then_comes_from_the_cache(cache):
    with serving((200, CONTENT)) as (url, seen):
        path = bring(file_at(url))
        assert path.read_bytes() == CONTENT
        assert bring(file_at(url)) == path
    assert len(seen) == 1
    assert data_files(cache) == ["data.bin"]


def test_a_server_error_is_tried_again():
    with serving((500, b""), (503, b""), (200, CONTENT)) as (url, seen):
        assert bring(file_at(url)).read_bytes() == CONTENT
    assert len(seen) == 3


def test_a_connection_that_breaks_off_is_tried_again():
    with serving((200, CONTENT[:10]), (200, CONTENT)) as (url, seen):
        assert bring(file_at(url)).read_bytes() == CONTENT
    assert len(seen) == 2


def test_a_missing_page_is_asked_for_once_and_the_next_url_is_used():
    with serving((404, b"")) as (missing, seen), serving((200, CONTENT)) as (good, _):
        assert bring(file_at(missing, good)).read_bytes() == CONTENT
    assert len(seen) == 1


def test_an_unreachable_host_is_passed_over():
    with serving((200, CONTENT)) as (url, _):
        assert bring(file_at(nowhere(), url)).read_bytes() == CONTENT


def test_bad_bytes_are_never_kept_and_the_message_names_both_hashes(cache):
    with serving((200, CHANGED)) as (url, seen), pytest.raises(DownloadError) as caught:
        bring(file_at(url))
    message = str(caught.value)
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert hashlib.sha256(CHANGED).hexdigest() in message
    assert len(seen) == 1
    assert data_files(cache) == []


def test_offline_the_message_says_how_to_get_the_file_by_hand(cache):
    urls = nowhere(), nowhere()
    start = time.perf_counter()
    with pytest.raises(DownloadError) as caught:
        bring(file_at(*urls))
    assert time.perf_counter() - start < 2
    for expected in ("data.bin", "42 B", "CC0", *urls, "no connection", str(cache), "WORKBOOK_MIRROR"):
        assert expected in str(caught.value)


def test_a_server_that_accepts_and_stays_silent_does_not_hang(monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", (0.2, 0.2))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(DownloadError, match="broke off"):
            bring(file_at(f"http://127.0.0.1:{silent.getsockname()[1]}/data.bin"))


def test_waiting_for_a_connection_is_limited_to_five_seconds():
    assert download.TIMEOUT[0] <= 5


def test_a_file_put_into_the_folder_by_hand_is_used(cache):
    cache.mkdir(parents=True)
    (cache / "data.bin").write_bytes(CONTENT)
    assert bring(file_at(nowhere())).read_bytes() == CONTENT


@pytest.mark.parametrize("damaged", [CHANGED, CONTENT[:-1], b""])
def test_a_damaged_cached_file_is_fetched_again(damaged, cache):
    with serving((200, CONTENT)) as (url, seen):
        bring(file_at(url)).write_bytes(damaged)
        assert bring(file_at(url)).read_bytes() == CONTENT
    assert len(seen) == 2


def test_a_damaged_cached_file_is_not_used_offline_either(cache):
    cache.mkdir(parents=True)
    (cache / "data.bin").write_bytes(CHANGED)
    with pytest.raises(DownloadError, match="was damaged and is deleted"):
        bring(file_at(nowhere()))
    assert data_files(cache) == []


def test_the_mirror_stands_in_for_the_hosts(mirror, cache):
    (mirror / "data.bin").write_bytes(CONTENT)
    path = bring(file_at(nowhere()))
    assert path == cache / "data.bin"
    assert path.read_bytes() == CONTENT


def test_a_mirror_file_with_one_changed_byte_is_refused(mirror, cache):
    (mirror / "data.bin").write_bytes(CHANGED)
    expected, got = (hashlib.sha256(content).hexdigest() for content in (CONTENT, CHANGED))
    with serving((200, CONTENT)) as (url, seen), pytest.raises(DownloadError) as caught:
        bring(file_at(url))
    assert f"expected SHA-256 {expected}, got {got}" in str(caught.value)
    assert seen == []
    assert data_files(cache) == []


def test_a_file_that_the_mirror_lacks_is_downloaded(mirror):
    with serving((200, CONTENT)) as (url, _):
        assert bring(file_at(url)).read_bytes() == CONTENT


def test_a_mirror_folder_that_does_not_exist_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBOOK_MIRROR", str(tmp_path / "mistyped"))
    with pytest.raises(DownloadError, match=r"mistyped: data\.bin: No such file"):
        bring(file_at(nowhere()))


def test_another_packing_may_come_from_the_mirror_but_not_from_a_host(mirror):
    other = Packing(hashlib.sha256(CHANGED).hexdigest(), len(CHANGED), "re-zipped")
    with serving((200, CHANGED)) as (url, _):
        file = replace(file_at(url), other_packings=(other,))
        with pytest.raises(DownloadError):
            bring(file)
        (mirror / "data.bin").write_bytes(CHANGED)
        assert bring(file).read_bytes() == CHANGED
        assert bring(file).read_bytes() == CHANGED


def test_disk_full_while_copying_is_told_and_leaves_nothing(mirror, cache, monkeypatch):
    def full(incoming, outgoing):
        outgoing.write(b"half")
        raise OSError(28, "No space left on device")

    (mirror / "data.bin").write_bytes(CONTENT)
    monkeypatch.setattr(download.shutil, "copyfileobj", full)
    with pytest.raises(CacheError, match=r"disk is full: data\.bin needs 42 B"):
        bring(file_at(nowhere()))
    assert data_files(cache) == []


def test_disk_full_while_downloading_is_told_and_leaves_nothing(cache, monkeypatch):
    def full(url, path, progress):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "_get", full)
    with pytest.raises(CacheError, match="disk is full"):
        bring(file_at(nowhere()))
    assert data_files(cache) == []


def test_an_unlisted_name_is_refused():
    with pytest.raises(RegistryError, match=r"'t10k.gz' is not in registry.toml, which lists: .*t10k-images"):
        fetch("t10k.gz")


def test_the_registry_is_complete():
    for name, file in read_registry().items():
        assert name == file.name
        assert file.urls
        assert all((file.licence, file.citation, file.purpose))


ENTRY = f'urls = ["https://host/x"]\nsize = 3\nsha256 = "{"0" * 64}"\nlicence = "a"\ncitation = "b"\npurpose = "c"\n'


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (ENTRY + 'license = "a"', "unknown field 'license'"),
        (ENTRY.replace('citation = "b"\n', ""), "no 'citation'"),
        (ENTRY.replace("000", "xyz"), "expected 64 hexadecimal digits"),
        (ENTRY.replace("size = 3", 'size = "3"'), "size '3', expected a number of bytes"),
        (ENTRY.replace("https:", "ftp:"), "URL 'ftp://host/x'"),
        (ENTRY + "citation", "not valid TOML"),
    ],
)
def test_a_mistake_in_the_registry_is_named(entry, told, tmp_path):
    (tmp_path / "registry.toml").write_text(f"[files.x]\n{entry}")
    with pytest.raises(RegistryError, match=told):
        read_registry(tmp_path / "registry.toml")
