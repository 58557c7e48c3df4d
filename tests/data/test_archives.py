import io
import stat
import tarfile
import zipfile

import pytest

from data_scripts.archives import content_hash, unpack
from data_scripts.errors import ArchiveError

FILES = {"train/ants/1.jpg": b"an ant", "train/bees/é.jpg": b"a bee", "val/ants/2.jpg": b"another ant"}


def write_zip(path, files, *, compression=zipfile.ZIP_STORED, top=""):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(f"{top}{name}", content)
    return path


def write_tar(path, files, *, top=""):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{top}{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_folder(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_hash_is_the_same_however_the_files_are_packed(tmp_path):
    expected = content_hash(write_zip(tmp_path / "a.zip", FILES))
    turned = dict(reversed(FILES.items()))
    litter = FILES | {".DS_Store": b"x", "__MACOSX/train/._1.jpg": b"y", "train/Thumbs.db": b"z"}
    others = [
        write_zip(tmp_path / "b.zip", FILES, compression=zipfile.ZIP_DEFLATED),
        write_zip(tmp_path / "c.zip", turned, top="insects/"),
        write_zip(tmp_path / "d.zip", litter),
        write_tar(tmp_path / "e.tgz", FILES, top="other_name/"),
        write_folder(tmp_path / "f", FILES),
    ]
    assert {content_hash(path) for path in others} == {expected}


@pytest.mark.parametrize(
    "changed",
    [
        FILES | {"val/ants/2.jpg": b"Another ant"},
        FILES | {"val/ants/3.jpg": b""},
        {name.replace("1.jpg", "7.jpg"): content for name, content in FILES.items()},
        {name: content for name, content in FILES.items() if "bees" not in name},
    ],
    ids=["a byte", "one more", "renamed", "one fewer"],
)
def test_the_hash_changes_with_the_contents(changed, tmp_path):
    one, other = write_zip(tmp_path / "a.zip", FILES), write_zip(tmp_path / "b.zip", changed)
    assert content_hash(one) != content_hash(other)


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_an_archive_is_unpacked_without_the_folder_around_it(write, tmp_path):
    archive = write(tmp_path / "archive", FILES, top="insects/")
    assert unpack(archive, tmp_path / "out", most_bytes=1000) == len(FILES)
    assert contents(tmp_path / "out") == FILES


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/tmp/evil.txt", "..\\evil.txt", "C:/evil.txt"])
@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_a_member_that_leads_out_of_the_folder_is_refused(name, write, tmp_path):
    archive = write(tmp_path / "archive", FILES | {name: b"evil"})
    with pytest.raises(ArchiveError, match="leads out of the folder"):
        unpack(archive, tmp_path / "deep" / "out", most_bytes=1000)
    assert not list(tmp_path.rglob("evil.txt"))


def test_links_in_a_tar_and_in_a_zip_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    for name in ("a.tar", "b.zip"):
        with pytest.raises(ArchiveError, match="'link' is a link or a device"):
            unpack(tmp_path / name, tmp_path / "out", most_bytes=1000)


def test_a_bomb_is_stopped_while_it_is_written_and_leaves_nothing(tmp_path):
    bomb = write_zip(tmp_path / "bomb.zip", {"zeros": bytes(10**6)}, compression=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 2000
    with pytest.raises(ArchiveError, match=r"more than 100,000 bytes"):
        unpack(bomb, tmp_path / "out", most_bytes=10**5)
    assert not (tmp_path / "out").exists()


def test_an_archive_of_exactly_the_bound_is_unpacked(tmp_path):
    archive = write_zip(tmp_path / "a.zip", FILES)
    assert unpack(archive, tmp_path / "out", most_bytes=sum(map(len, FILES.values()))) == len(FILES)


def test_too_many_files_are_refused(tmp_path):
    with pytest.raises(ArchiveError, match="holds 3 files, more than 2"):
        unpack(write_zip(tmp_path / "a.zip", FILES), tmp_path / "out", most_bytes=1000, most_files=2)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("twice", ["a/x", "a/x/y"], ids=["same file", "file and folder"])
def test_two_members_of_one_path_are_refused(twice, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a/x", twice, "b"):
            archive.writestr(name, "content")
    with pytest.raises(ArchiveError, match="two members are called 'a/x'"):
        unpack(tmp_path / "a.zip", tmp_path / "out", most_bytes=1000)


def flip_a_byte(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


def cut_in_half(content):
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("write", "damage"), [(write_zip, flip_a_byte), (write_zip, cut_in_half), (write_tar, cut_in_half)]
)
def test_a_damaged_archive_is_named(write, damage, tmp_path):
    path = write(tmp_path / "broken.archive", {"noise": bytes(range(256)) * 40})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArchiveError, match=r"broken\.archive"):
        content_hash(path)


def test_a_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "page.html").write_text("<html>not found</html>")
    with pytest.raises(ArchiveError, match=r"page\.html: expected a zip, a tar or a folder"):
        content_hash(tmp_path / "page.html")


def test_nothing_is_unpacked_over_other_files(tmp_path):
    write_folder(tmp_path / "out", {"mine.txt": b"a learner's"})
    with pytest.raises(ArchiveError, match="not empty"):
        unpack(write_zip(tmp_path / "a.zip", FILES), tmp_path / "out", most_bytes=1000)
    assert contents(tmp_path / "out") == {"mine.txt": b"a learner's"}
