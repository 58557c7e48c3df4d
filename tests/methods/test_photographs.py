import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from data_scripts.backbones_torch import Classifier, load_backbone
from workbook.methods.torch.photographs import floats, load_classifier, save_classifier, through

NAMES = ("ants", "蚂蚁", "<b>")


@pytest.fixture
def network():
    torch.manual_seed(3)
    return Classifier(load_backbone("glyphnet"), 3).eval()


@pytest.fixture
def pictures():
    return torch.randint(0, 256, (70, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_pictures_become_floats_and_maps_stay():
    assert floats(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    assert floats(torch.tensor([0.0, 300.0])).tolist() == [0, 300]


def test_batches_are_put_together_in_order(network, pictures):
    network.train()
    logits = through(network, pictures, batch=32)
    assert not network.training
    with torch.no_grad():
        assert torch.allclose(logits, network(pictures.float() / 255), atol=1e-5)
    assert logits.shape == (70, 3)


def test_a_layer_can_be_trained_on_the_result(network, pictures):
    maps = through(network.backbone, pictures[:4])
    layer = nn.Linear(maps.shape[1], 1)
    layer(maps).sum().backward()
    assert layer.weight.grad.abs().sum() > 0


def test_a_kept_classifier_gives_the_same_answers(network, pictures, tmp_path):
    save_classifier(tmp_path / "model.safetensors", network, NAMES)
    torch.manual_seed(0)
    reloaded, about = load_classifier(tmp_path / "model.safetensors")
    after = torch.rand(1)
    torch.manual_seed(0)
    assert after == torch.rand(1)  # loading drew no random number
    assert torch.allclose(through(reloaded, pictures), through(network, pictures), atol=1e-6)
    assert (tuple(about["class_names"]), about["backbone"], about["size"]) == (NAMES, "glyphnet", 32)
    assert not reloaded.training


def test_names_and_outputs_must_fit(network, tmp_path):
    with pytest.raises(ValueError, match="3 outputs and 2 class names"):
        save_classifier(tmp_path / "model.safetensors", network, NAMES[:2])


def test_what_is_no_classifier_is_named(network, tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError, match="there is no model"):
        load_classifier(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="expected format 'workbook classifier of pictures 1', got None"):
        load_classifier(path)
    save_classifier(path, network, NAMES)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="no whole classifier"):
        load_classifier(path)
