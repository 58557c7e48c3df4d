"""DINOv2 and CLIP, on files of the hub's format made here; mostly where timm and transformers are installed."""

import hashlib
import importlib.util
import os
import time

import numpy as np
import pytest
import torch

from data_scripts import hub_files
from data_scripts.backbones_torch import as_pictures, load_backbone
from data_scripts.clip import TEMPLATES, zero_shot
from data_scripts.errors import BackboneError, DownloadError
from data_scripts.hub_files import HUB_MODELS, fetch_hub_model


def needs(package):
    lacking = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(lacking, reason=f"{package} is not installed: the course does without it")


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Folders of this test alone; a host that does not answer."""
    monkeypatch.setenv("WORKBOOK_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    (tmp_path / "mirror").mkdir()
    if importlib.util.find_spec("huggingface_hub"):
        # The client reads its environment once.
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path


@pytest.mark.parametrize(("name", "command"), [("dinov2_small", "'timm'"), ("clip_vit_b_32", "'transformers>=5'")])
def test_a_missing_package_is_a_clear_error_with_the_command(name, command, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BackboneError, match=rf"{name}' needs a package .*: python -m pip install {command}"):
        load_backbone(name)
    with pytest.raises(BackboneError, match="needs a package"):
        fetch_hub_model(name)


def test_zero_shot_without_transformers_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BackboneError, match="pip install 'transformers>=5'"):
        zero_shot(np.zeros((1, 224, 224, 3), np.uint8), ["ants", "bees"])


@pytest.mark.parametrize(("names", "templates", "told"), [
    (["ants"], ["a {}"], "1 class names: expected two or more"),
    (["ants", "bees"], ["an insect"], "template 'an insect': expected '{}'"),
    (["ants", "bees"], [], "no template"),
])  # fmt: skip
def test_zero_shot_wants_classes_and_templates(names, templates, told):
    with pytest.raises(ValueError, match=told):
        zero_shot(np.zeros((1, 224, 224, 3), np.uint8), names, templates=templates)


def test_a_mirror_folder_that_lacks_a_file_is_told(places):
    (places / "mirror/clip-vit-base-patch32").mkdir()
    (places / "mirror/clip-vit-base-patch32/config.json").write_text("{}")
    with pytest.raises(DownloadError, match=r"lacks model\.safetensors, tokenizer_config\.json, tokenizer\.json of op"):
        fetch_hub_model("clip_vit_b_32")


@needs("huggingface_hub")
@pytest.mark.parametrize("name", HUB_MODELS)
def test_offline_the_message_says_how_to_get_the_files_by_hand(name, places, capfd):
    start = time.perf_counter()
    with pytest.raises(DownloadError) as caught:
        fetch_hub_model(name)
    assert time.perf_counter() - start < 5
    model = HUB_MODELS[name]
    for expected in (model.repository, model.page, "model.safetensors", "WORKBOOK_MIRROR", str(places / "hf"), " MB"):
        assert expected in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.fixture
def in_hub_folder(places):
    """A file as the hub's client keeps it: named by its SHA-256, with a link to it."""
    model = HUB_MODELS["dinov2_small"]
    repository = places / "hf/hub" / f"models--{model.repository.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    for folder in (repository / "blobs", snapshot, repository / "refs"):
        folder.mkdir(parents=True)
    (repository / "refs/main").write_text("0" * 40)
    whole = repository / "blobs" / hashlib.sha256(b"weights").hexdigest()
    whole.write_bytes(b"weights")
    os.symlink(whole, snapshot / model.weights)
    return whole


def test_a_file_in_the_hub_s_folder_is_seen(in_hub_folder):
    assert hub_files.cached(HUB_MODELS["dinov2_small"])
    assert not hub_files.cached(HUB_MODELS["clip_vit_b_32"])


@needs("timm")
def test_a_file_in_the_hub_s_folder_is_used_without_a_network_unless_it_is_damaged(in_hub_folder):
    assert (fetch_hub_model("dinov2_small") / "model.safetensors").resolve() == in_hub_folder
    in_hub_folder.write_bytes(b"weight")
    with pytest.raises(DownloadError, match=r"is damaged or cut off: expected SHA-256 \w{64}, got \w{64}"):
        fetch_hub_model("dinov2_small")


def pictures(side, count=2):
    """Each brighter than the one before."""
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3))
    return (images * np.linspace(0.4, 1, count)[:, None, None, None]).astype(np.uint8)


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def check_stages(backbone, images):
    for stage in ("block0", "block2"):
        lower, upper = backbone.split(stage)
        same(upper(lower(images)), backbone(images))


@needs("timm")
@torch.inference_mode()
def test_dinov2_gives_the_features_of_timm_s_network(places):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    published = timm.create_model("vit_small_patch14_dinov2.lvd142m", pretrained=False)  # 518 pixels, as on the hub
    for tensor in published.state_dict().values():
        if tensor.unique().numel() == 1:
            tensor.add_(0.1 * torch.randn(tensor.shape))
    folder = places / "mirror/vit_small_patch14_dinov2.lvd142m"
    folder.mkdir()
    save_file(published.state_dict(), folder / "model.safetensors")
    backbone = load_backbone("dinov2_small")
    published.set_input_size((224, 224))
    settings = timm.data.resolve_model_data_config(published)
    mean, std = (torch.tensor(settings[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    images = as_pictures(pictures(224))
    same(backbone(images), published.eval()((images - mean) / std))
    assert (backbone.width, backbone.size) == (384, 224)
    check_stages(backbone, images[:1])
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(DownloadError, match="does not hold timm/vit_small_patch14_dinov2"):
        load_backbone("dinov2_small")


@pytest.fixture
def tiny_clip(places):
    """A CLIP of the published format with few weights, and a tokeniser of single letters."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    names = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={name: n for n, name in enumerate(names)}, merges=[], model_max_length=77)
    half = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    ids = {"bos_token_id": len(names) - 2, "eos_token_id": len(names) - 1, "pad_token_id": len(names) - 1}
    config = CLIPConfig(
        text_config=half | {"vocab_size": len(names)} | ids,
        vision_config=half | {"patch_size": 32, "image_size": 64},
        projection_dim=16,
    )
    torch.manual_seed(0)
    model = CLIPModel(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    folder = places / "mirror/clip-vit-base-patch32"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer, folder


def prepared(images):
    """Return what CLIP's own processor makes of pictures."""
    from transformers import CLIPImageProcessor

    processor = CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    return processor(list(images), return_tensors="pt")["pixel_values"]


@needs("transformers")
@torch.inference_mode()
def test_clip_gives_the_image_features_of_transformers_network(tiny_clip, capfd):
    model, _, _ = tiny_clip
    capfd.readouterr()
    backbone = load_backbone("clip_vit_b_32")
    assert capfd.readouterr().err == ""
    images = pictures(64)
    same(backbone(as_pictures(images)), model.get_image_features(prepared(images)).pooler_output)
    assert (backbone.width, backbone.size) == (16, 64)
    check_stages(backbone, as_pictures(images))


@needs("transformers")
@torch.inference_mode()
def test_zero_shot_gives_the_probabilities_of_transformers_network(tiny_clip):
    model, tokenizer, _ = tiny_clip
    images, names = pictures(64, 5), ["ant", "honey_bee", "wasp"]
    ours = zero_shot(images, names, templates=["a photo of a {}."], batch=2)
    sentences = ["a photo of a ant.", "a photo of a honey bee.", "a photo of a wasp."]
    texts = tokenizer(sentences, return_tensors="pt", padding=True)
    theirs = model(pixel_values=prepared(images), **texts).logits_per_image.softmax(dim=1).numpy()
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert ours.shape == (5, 3)
    assert zero_shot(images[:0], names).shape == (0, 3)
    averaged = zero_shot(images, names)
    assert averaged == pytest.approx(zero_shot(images, names, templates=TEMPLATES * 2), abs=1e-4)
    assert np.abs(averaged - ours).max() > 1e-4
    with pytest.raises(ValueError, match=r"pictures uint8 \(5, 32, 32, 3\): expected uint8 \(N, 64, 64, 3\)"):
        zero_shot(pictures(32, 5), names)


@needs("transformers")
def test_a_damaged_file_and_one_that_lacks_weights_are_refused(tiny_clip):
    from safetensors.torch import load_file, save_file

    path = tiny_clip[2] / "model.safetensors"
    state = load_file(path)
    save_file({name: t for name, t in state.items() if "visual" not in name}, path, metadata={"format": "pt"})
    with pytest.raises(DownloadError, match="does not hold openai/clip-vit-base-patch32: no weights for visual_proj"):
        load_backbone("clip_vit_b_32")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DownloadError, match="does not hold openai/clip-vit-base-patch32"):
        zero_shot(pictures(64), ["ant", "bee"])
