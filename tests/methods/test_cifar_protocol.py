"""The published protocol's networks, crops and loop, at token sizes."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from workbook.methods.torch.cifar_protocol import (
    FULL_STEPS,
    accuracy_on_test,
    cifar_resnet,
    crop_and_flip,
    random_pictures,
    read_pictures,
    train,
)


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.28), (56, 0.86)])
def test_networks_have_the_published_number_of_parameters(depth, millions):
    assert sum(p.numel() for p in cifar_resnet(depth).parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


def test_logits_have_one_column_a_class():
    assert cifar_resnet(8, classes=7)(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_a_depth_without_whole_blocks_is_refused():
    with pytest.raises(ValueError, match="depth=18"):
        cifar_resnet(18)


def test_full_steps_are_240_epochs_of_whole_batches():
    assert FULL_STEPS == 240 * 781


def test_crops_are_windows_of_the_padded_picture_or_of_its_mirror_image():
    torch.manual_seed(0)
    images = torch.randint(1, 256, (6, 32, 32, 3), dtype=torch.uint8)
    padded = F.pad(images, (0, 0, 4, 4, 4, 4))
    for cut, whole in zip(crop_and_flip(images), padded, strict=True):
        windows = [whole[i : i + 32, j : j + 32] for i in range(9) for j in range(9)]
        assert any(torch.equal(cut, w) or torch.equal(cut.flip(1), w) for w in windows)


def test_inputs_are_standardised_by_channel():
    pictures = random_pictures(200, "cpu", seed=0)
    inputs = pictures.as_inputs(pictures.train_images)
    torch.testing.assert_close(inputs.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(inputs.std((0, 2, 3)), torch.ones(3), atol=1e-4, rtol=0)


def test_training_changes_the_network_and_times_it():
    pictures, network = random_pictures(32, "cpu", seed=0), cifar_resnet(8)
    before = network[0].weight.clone()
    seen = []

    def loss_of(logits, views, labels):
        seen.append((views.shape, labels.shape))
        return F.cross_entropy(logits, labels)

    rate = train(network, pictures, loss_of, steps=5, seed=0, batch=4)
    assert rate > 0
    assert seen == [((4, 3, 32, 32), (4,))] * 5
    assert not torch.equal(before, network[0].weight)
    assert not network.training
    assert 0 <= accuracy_on_test(network, pictures) <= 1


def test_a_file_of_pictures_is_read_and_a_wrong_one_refused(tmp_path):
    images, labels = np.zeros((4, 32, 32, 3), np.uint8), np.arange(4, dtype=np.int32)
    parts = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    np.savez(tmp_path / "good.npz", **parts)
    pictures = read_pictures(tmp_path / "good.npz", "cpu")
    assert pictures.train_labels.dtype == torch.int64
    np.savez(tmp_path / "no_test.npz", train_images=images, train_labels=labels)
    with pytest.raises(ValueError, match="lacks test_images, test_labels"):
        read_pictures(tmp_path / "no_test.npz", "cpu")
    np.savez(tmp_path / "turned.npz", **parts | {"test_images": images.transpose(0, 3, 1, 2)})
    with pytest.raises(ValueError, match=r"test_images are uint8 \(4, 3, 32, 32\)"):
        read_pictures(tmp_path / "turned.npz", "cpu")
