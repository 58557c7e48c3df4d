import gzip

import numpy as np
import pytest

from data_scripts.download import mirror_folder
from data_scripts.errors import DataError, DownloadError
from data_scripts.mnist import load_mnist_test, read_idx


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBOOK_CACHE", str(tmp_path))


@pytest.fixture
def mirrored(cache):
    if mirror_folder() is None:
        pytest.skip("WORKBOOK_MIRROR is not set: this test reads MNIST's test files from a mirror folder")


@pytest.mark.usefixtures("mirrored")
def test_ten_thousand_padded_digits():
    task = load_mnist_test()
    assert (task.inputs.shape, task.inputs.dtype) == ((10_000, 32, 32), np.float32)
    assert (task.inputs.min(), task.inputs.max()) == (0, 1)
    assert task.labels.dtype == np.int64
    assert task.class_names == tuple("0123456789")
    # Published class counts of the test set.
    assert np.bincount(task.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert task.labels[:5].tolist() == [7, 2, 1, 0, 4]
    frame = task.inputs.copy()
    frame[:, 2:-2, 2:-2] = 0
    assert not frame.any()
    rows = np.concatenate([task.train, task.validation, task.test])
    np.testing.assert_array_equal(np.sort(rows), np.arange(10_000))


@pytest.mark.usefixtures("mirrored")
def test_the_split_follows_its_seed():
    first, again, other = (load_mnist_test(split_seed=seed).test for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.usefixtures("cache")
def test_a_mirror_without_the_files_and_no_network_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBOOK_MIRROR", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"t10k-images-idx3-ubyte\.gz could not be fetched \(1\.6 MB"):
        load_mnist_test()


def idx(*header, values):
    return gzip.compress(
        b"\0\0\x08" + bytes([len(header)]) + np.array(header, ">i4").tobytes() + bytes(values), mtime=0
    )


def test_an_idx_file_is_read_in_its_shape(tmp_path):
    (tmp_path / "x.gz").write_bytes(idx(2, 3, values=range(6)))
    np.testing.assert_array_equal(read_idx(tmp_path / "x.gz"), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    ("content", "told"),
    [(idx(2, 3, values=range(5)), "holds 5"), (gzip.compress(b"<html>", mtime=0), "expected an IDX file")],
)
def test_another_format_is_refused(content, told, tmp_path):
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(DataError, match=told):
        read_idx(tmp_path / "x.gz")
