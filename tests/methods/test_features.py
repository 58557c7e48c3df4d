"""Pooling with checked shapes, prototypes, classifiers tuned inside the training rows, and order-safe extraction."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from torch.utils.data import DataLoader

from data_scripts.backbones_torch import Backbone, ClassToken, as_pictures, load_backbone
from data_scripts.glyphnet_torch import GlyphNet
from workbook.methods.features import (
    CLASSIFIERS,
    GRIDS,
    ONE_SHOT,
    SCALINGS,
    NearestPrototype,
    classifier,
    contrast,
    neighbour_accuracy,
    pool,
    prototypes,
)
from workbook.methods.torch.features import extract_layers, numbered, stage_features
from workbook.methods.torch.training import extract_features


def blobs(rows: int = 60, classes: int = 3):
    generator = np.random.default_rng(0)
    labels = np.arange(rows) % classes
    return 12 * np.eye(5)[labels] + generator.normal(size=(rows, 5)) + 2, labels


def test_pooling_keeps_one_row_an_image():
    maps = np.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2).astype(float)
    assert pool(maps, "average", images=2).tolist() == [[1.5, 5.5, 9.5], [13.5, 17.5, 21.5]]
    assert pool(maps, "max", images=2).tolist() == [[3, 7, 11], [15, 19, 23]]
    assert pool(maps, "flat", images=2).shape == (2, 12)


@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 1, 1), (3, 2, 2)])
def test_pooling_refuses_rows_that_are_not_images(shape):
    with pytest.raises(ValueError, match=r"expected \(2, channels, height, width\)"):
        pool(np.zeros(shape), "average", images=2)


def test_pooling_names_its_choices():
    with pytest.raises(ValueError, match="average"):
        pool(np.zeros((2, 3, 2, 2)), "mean", images=2)


def test_prototypes_are_class_means():
    found = prototypes(np.array([[0.0, 0], [2, 2], [5, 1]]), np.array([1, 1, 0]), 2)
    assert found.tolist() == [[5, 1], [1, 1]]


@pytest.mark.parametrize(("labels", "classes"), [([0, 0, 2], 3), ([0, 1, 2], 2), ([0, 1], 2)])
def test_prototypes_refuse_missing_and_surplus_classes(labels, classes):
    with pytest.raises(ValueError, match="rows"):
        prototypes(np.zeros((3, 2)), np.array(labels), classes)


def test_shrinkage_finds_the_direction_that_tells():
    generator = np.random.default_rng(1)
    labels = np.arange(200) % 2
    features = np.stack([30 * generator.normal(size=200), labels + 0.1 * generator.normal(size=200)], axis=1)
    euclid, shrunk = (NearestPrototype(s).fit(features, labels).score(features, labels) for s in (1.0, 0.001))
    assert euclid < 0.8 < 0.99 < shrunk


def test_one_row_a_class_makes_every_shrinkage_the_nearest_mean():
    features, labels = blobs(3)
    assert (NearestPrototype(0.1).fit(features, labels).means_ == features).all()
    assert NearestPrototype(0.1).fit(features, labels).score(features, labels) == 1


def test_every_classifier_has_the_same_number_of_candidates():
    assert set(GRIDS) == set(ONE_SHOT) == set(CLASSIFIERS)
    assert {len(grid) for grid in GRIDS.values()} == {4}


@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_an_easy_task_is_learned_at_every_k(name, k):
    features, labels = blobs()
    rows = slice(None, 3 * k)
    model = classifier(name, k).fit(features[rows], labels[rows])
    assert isinstance(model, GridSearchCV) == (k > 1)
    assert model.score(features, labels) > 0.8


@pytest.mark.parametrize("scaling", SCALINGS)
def test_scaling_is_inside_the_cross_validation(scaling):
    features, labels = blobs()
    model = classifier("prototypes", 20, scaling=scaling)
    assert model.estimator.steps[0][0] == "scale"
    assert model.fit(features, labels).predict(features).shape == (60,)


def test_unknown_names_are_listed():
    with pytest.raises(ValueError, match="nearest neighbours"):
        classifier("svm", 5)


def test_contrast_takes_off_brightness_and_contrast():
    rows = np.random.default_rng(0).normal(size=(4, 6))
    assert np.allclose(contrast(3 * rows + 5), contrast(rows))


def test_no_row_is_its_own_neighbour():
    features, labels = np.array([[0.0], [0.1], [1.0], [1.1], [0.05]]), np.array([0, 0, 1, 1, 1])
    assert neighbour_accuracy(features, labels) == pytest.approx(2 / 5)
    with pytest.raises(ValueError, match="more than 5"):
        neighbour_accuracy(features, labels, 5)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return GlyphNet(5, widths=(4, 8, 8)).eval()


@pytest.mark.parametrize("shuffle", [False, True])
def test_extraction_returns_rows_in_order_with_their_labels(network, shuffle):
    images, labels = torch.rand(20, 1, 32, 32), torch.arange(20) * 3
    loader = DataLoader(numbered(images, labels), 7, shuffle=shuffle, generator=torch.Generator().manual_seed(5))
    got = extract_layers(network, ["relu", "block3"], loader)
    assert got.rows.tolist() == list(range(20))
    assert got.labels.tolist() == labels.tolist()
    assert got.layers["relu"].shape == (20, 4)
    assert np.allclose(got.layers["block3"], extract_features(network, images).numpy(), atol=1e-5)


def test_extraction_does_not_move_batch_norm(network):
    before = network.stem_bn.running_mean.clone()
    network.train()
    extract_layers(network, ["block1"], DataLoader(numbered(torch.rand(4, 1, 32, 32), torch.zeros(4)), 2))
    assert torch.equal(network.stem_bn.running_mean, before)
    assert not network.training


def test_a_row_that_comes_twice_is_refused(network):
    batch = (torch.rand(2, 1, 32, 32), torch.tensor([0, 1]), torch.tensor([3, 3]))
    with pytest.raises(ValueError, match="twice"):
        extract_layers(network, ["block3"], [batch])


def test_a_layer_without_maps_is_refused(network):
    with pytest.raises(ValueError, match="feature maps"):
        extract_layers(network, ["head"], DataLoader(numbered(torch.rand(2, 1, 32, 32), torch.zeros(2)), 2))


def test_stage_features_are_those_of_every_stage_whatever_the_batch():
    pictures = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    backbone = load_backbone("glyphnet")
    backbone.train()
    features = stage_features(backbone, pictures, batch=3)
    assert len(features) == 8
    assert list(features)[:2] == [("stem", "average"), ("stem", "max")]
    with torch.inference_mode():
        whole = backbone(as_pictures(pictures)).numpy()
        first = backbone.split("block1")[0](as_pictures(pictures)).amax(dim=(2, 3)).numpy()
    np.testing.assert_allclose(features["block3", "average"], whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features["stem", "max"], first, rtol=1e-4, atol=1e-5)


class Halves(torch.nn.Module):
    """Stands for a transformer: pictures to tokens, one for the upper and one for the lower half."""

    def forward(self, images):
        return torch.stack([half.mean(dim=(2, 3)) for half in images.chunk(2, dim=2)], dim=1)


def test_stage_features_of_a_transformer_pool_its_tokens():
    pictures = np.zeros((2, 8, 8, 3), np.uint8)
    pictures[:, :4] = 255
    backbone = Backbone("halves", 8, torch.nn.Identity(), {"tokens": Halves()}, ClassToken(torch.nn.Identity()))
    features = stage_features(backbone, pictures)
    assert np.array_equal(features["tokens", "average"], np.full((2, 3), 0.5))
    assert np.array_equal(features["tokens", "max"], np.ones((2, 3)))


def test_stage_features_scale_pictures_of_another_size():
    slope = np.linspace(0, 255, 32)
    pictures = np.stack([np.add.outer(slope, slope) / 2, np.add.outer(slope, slope[::-1]) / 2])
    pictures = np.repeat(pictures[..., None], 3, axis=-1).astype(np.uint8)
    larger = pictures.repeat(4, axis=1).repeat(4, axis=2)
    backbone = load_backbone("glyphnet")
    small, large = (stage_features(backbone, one)["block3", "average"] for one in (pictures, larger))
    np.testing.assert_allclose(large, small, atol=0.05 * np.abs(small).max())  # antialiasing blurs a little


def test_stage_features_refuse_what_is_no_decoded_picture():
    with pytest.raises(ValueError, match="float64 and shape"):
        stage_features(load_backbone("glyphnet"), np.zeros((2, 32, 32, 3)))
