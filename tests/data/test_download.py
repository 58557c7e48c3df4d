import hashlib
import socket
import threading
import time
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data_scripts import download
from data_scripts.archives import content_hash
from data_scripts.download import bring, bring_folder, fetch
from data_scripts.errors import ArchiveError, CacheError, DownloadError, RegistryError
from data_scripts.registry import Packing, PublicFile, read_registry

CONTENT = b"forty-two bytes of data, whatever they are"
CHANGED = b"Forty-two bytes of data, whatever they are"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WORKBOOK_MIRROR", raising=False)
    monkeypatch.setattr(download, "BACK_OFF", 0.01)
    monkeypatch.setattr(download, "CHUNK", 5)
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
def serving(*answers, edition=None, length=42):
    """Serve the answers (status, body) in turn, the last one for ever; gives the URL and the headers asked with.

    With an ``edition`` (an ETag) the server answers requests for the rest of a file as HTTP says; an answer may then
    hold an edition of its own as its third part.
    """
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(dict(self.headers))
            status, body, *other_edition = answers[min(len(seen), len(answers)) - 1]
            tag = other_edition[0] if other_edition else edition
            start = 0
            if tag and self.headers.get("If-Range") == tag:
                start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                status, body = 206, body[start:]
            self.send_response(status)
            if tag:
                self.send_header("ETag", tag)
            self.send_header("Content-Length", str(length - start))
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
        licence="CC0",
        citation="nobody",
        purpose="a test",
        hash=f"sha256:{hashlib.sha256(CONTENT).hexdigest()}",
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


def test_a_broken_download_goes_on_where_it_stopped():
    with serving((200, CONTENT[:10]), (200, CONTENT), edition='"first"') as (url, seen):
        assert bring(file_at(url)).read_bytes() == CONTENT
    assert [asked.get("Range") for asked in seen] == [None, "bytes=10-"]


def test_it_goes_on_in_a_later_run(cache, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with serving((200, CONTENT[:10]), (200, CONTENT), edition='"first"') as (url, seen):
        with pytest.raises(DownloadError, match="broke off"):
            bring(file_at(url))
        assert (cache / "data.bin.partial").stat().st_size == 10
        assert bring(file_at(url)).read_bytes() == CONTENT
    assert seen[1]["Range"] == "bytes=10-"
    assert data_files(cache) == ["data.bin"]


def test_it_starts_anew_when_the_file_at_the_host_has_changed():
    with serving((200, CHANGED[:10], '"old"'), (200, CONTENT, '"new"')) as (url, seen):
        assert bring(file_at(url)).read_bytes() == CONTENT
    assert len(seen) == 2


def test_without_an_edition_it_starts_anew():
    with serving((200, CONTENT[:10]), (200, CONTENT)) as (url, seen):
        assert bring(file_at(url)).read_bytes() == CONTENT
    assert "Range" not in seen[1]


def test_a_resumed_download_that_does_not_fit_together_is_fetched_whole():
    with serving((200, CHANGED[:10]), (200, CONTENT), edition='"same"') as (url, seen):
        assert bring(file_at(url)).read_bytes() == CONTENT
    assert [asked.get("Range") for asked in seen] == [None, "bytes=10-", None]


def test_another_host_is_not_asked_for_the_rest_of_the_first_ones_file(monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with (
        serving((200, CHANGED[:10]), edition='"same"') as (first, _),
        serving((200, CONTENT), edition='"same"') as (second, seen),
    ):
        assert bring(file_at(first, second)).read_bytes() == CONTENT
    assert "Range" not in seen[0]


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
    other = Packing(f"sha256:{hashlib.sha256(CHANGED).hexdigest()}", len(CHANGED), "re-zipped")
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


def test_a_proxy_that_refuses_is_named(monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port()}")
    with pytest.raises(DownloadError, match=r"http://host\.invalid/data\.bin: the proxy refused or did not answer"):
        bring(file_at("http://host.invalid/data.bin"))


def test_a_file_that_only_a_person_can_get_is_said_to_be_one():
    by_hand = replace(file_at(), page="https://example.org/ask-for-it")
    with pytest.raises(DownloadError) as caught:
        bring(by_hand)
    for expected in ("No host offers it", "https://example.org/ask-for-it", "42 B", "put it into the folder"):
        assert expected in str(caught.value)


PICTURES = {"train/ants/1.jpg": b"an ant", "val/bees/2.jpg": b"a bee"}


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def archive_at(tmp_path, *urls):
    packed = zipped(tmp_path / "as_published.zip", PICTURES)
    size = sum(map(len, PICTURES.values()))
    return replace(file_at(*urls), name="insects.zip", hash="", content_hash=content_hash(packed), content_size=size)


def pictures_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpg")}


def test_an_archive_packed_by_somebody_else_is_the_same_archive(mirror, tmp_path):
    zipped(mirror / "insects.zip", {f"my_insects/{name}": content for name, content in reversed(PICTURES.items())})
    assert pictures_in(bring_folder(archive_at(tmp_path, nowhere()))) == PICTURES


def test_an_archive_with_one_changed_byte_is_refused(mirror, tmp_path):
    zipped(mirror / "insects.zip", PICTURES | {"train/ants/1.jpg": b"An ant"})
    with pytest.raises(
        DownloadError, match=r"insects\.zip in the mirror folder is not insects\.zip: expected contents"
    ):
        bring_folder(archive_at(tmp_path, nowhere()))


@pytest.fixture
def insects(mirror):
    for name, content in PICTURES.items():
        (mirror / "insects" / name).parent.mkdir(parents=True)
        (mirror / "insects" / name).write_bytes(content)
    return mirror / "insects"


def test_a_folder_in_the_mirror_does_for_the_archive(insects, tmp_path):
    assert pictures_in(bring_folder(archive_at(tmp_path, nowhere()))) == PICTURES


def test_a_folder_in_the_mirror_with_one_changed_byte_is_refused(insects, tmp_path):
    (insects / "train/ants/1.jpg").write_bytes(b"An ant")
    with pytest.raises(DownloadError, match="expected contents"):
        bring_folder(archive_at(tmp_path, nowhere()))


def test_an_archive_is_downloaded_and_unpacked_once(tmp_path):
    archive = archive_at(tmp_path)
    body = (tmp_path / "as_published.zip").read_bytes()
    with serving((200, body), length=len(body)) as (url, seen):
        archive = replace(archive, urls=(url,))
        folder = bring_folder(archive)
        assert bring_folder(archive) == folder
    assert pictures_in(folder) == PICTURES
    assert len(seen) == 1


def test_a_page_in_place_of_an_archive_is_told(tmp_path):
    page = b"<html>log in first</html>"
    with (
        serving((200, page), length=len(page)) as (url, _),
        pytest.raises(DownloadError, match="expected a zip, a tar"),
    ):
        bring_folder(archive_at(tmp_path, url))


def test_only_an_archive_has_a_folder():
    with pytest.raises(ArchiveError, match="is not an archive"):
        bring_folder(file_at(nowhere()))


def test_an_unlisted_name_is_refused():
    with pytest.raises(RegistryError, match=r"'t10k.gz' is not in registry.toml, which lists: .*t10k-images"):
        fetch("t10k.gz")


def test_the_registry_is_complete():
    for name, file in read_registry().items():
        assert name == file.name
        assert file.urls or file.page
        assert all((file.licence, file.citation, file.purpose))


ENTRY = (
    f'urls = ["https://host/x"]\nsize = 3\nhash = "sha256:{"0" * 64}"\nlicence = "a"\ncitation = "b"\npurpose = "c"\n'
)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (ENTRY + 'license = "a"', "unknown field 'license'"),
        (ENTRY.replace('citation = "b"\n', ""), "no 'citation'"),
        (ENTRY.replace("000", "xyz"), "expected 'sha256:' or 'md5:' and hexadecimal digits"),
        (ENTRY.replace("sha256:", "crc32:"), "expected 'sha256:' or 'md5:'"),
        (ENTRY.replace("hash = ", "# "), "expected either 'hash'"),
        (ENTRY + f'content_hash = "{"0" * 64}"', "expected either 'hash'"),
        (ENTRY.replace("hash = ", "content_hash = "), "belong together"),
        (ENTRY.replace('"https://host/x"', ""), "expected 'urls', or a 'page'"),
        (ENTRY.replace("size = 3", 'size = "3"'), "size '3', expected a number of bytes"),
        (ENTRY.replace("https:", "ftp:"), "URL 'ftp://host/x'"),
        (ENTRY + "citation", "not valid TOML"),
    ],
)
def test_a_mistake_in_the_registry_is_named(entry, told, tmp_path):
    (tmp_path / "registry.toml").write_text(f"[files.x]\n{entry}")
    with pytest.raises(RegistryError, match=told):
        read_registry(tmp_path / "registry.toml")
