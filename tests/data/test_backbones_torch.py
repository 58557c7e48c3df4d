"""PyTorch's backbones: torchvision's own loading of files of its own format, stages, features, and what is refused."""

import socket
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from data_scripts import backbones_torch
from data_scripts.backbones_torch import Classifier, as_pictures, load_backbone
from data_scripts.cache import sha256_of
from data_scripts.cifar_resnet import FILES, CifarResNet, load_cifar_resnet
from data_scripts.download import mirror_folder
from data_scripts.errors import BackboneError, CacheError, DownloadError
from data_scripts.pretrained_torch import load_glyphnet
from data_scripts.squeezenet_torch import load_squeezenet
from data_scripts.torch_files import TORCH_FILES, fetch_torch_weights, torch_checkpoints_folder

TORCHVISION = {
    "resnet18": "ResNet18_Weights.IMAGENET1K_V1",
    "resnet50": "ResNet50_Weights.IMAGENET1K_V2",
    "vgg16": "VGG16_Weights.IMAGENET1K_V1",
    "mobilenet_v2": "MobileNet_V2_Weights.IMAGENET1K_V2",
    "mobilenet_v3_large": "MobileNet_V3_Large_Weights.IMAGENET1K_V2",
    "efficientnet_b0": "EfficientNet_B0_Weights.IMAGENET1K_V1",
    "vit_b_16": "ViT_B_16_Weights.IMAGENET1K_V1",
}
WIDTHS = dict(zip(TORCHVISION, (512, 2048, 512, 1280, 960, 1280, 768), strict=True))


@pytest.fixture(scope="module", autouse=True)
def places(tmp_path_factory):
    """A cache, a folder of PyTorch's and no network."""

    def no_network(url, *_, **__):
        raise AssertionError(f"{url} was asked for")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        patch.setenv("WORKBOOK_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(torch.hub, "download_url_to_file", no_network)
        yield


DOWNLOAD = torch.hub.download_url_to_file


def random_network(build):
    """Return a network with every tensor at random, so that none can be mixed up or left out; faster than its own."""
    with torch.device("meta"):
        network = build()
    network.to_empty(device="cpu").eval()
    pool = torch.randn(1_000_003, generator=torch.Generator().manual_seed(0))  # a prime: no two rows are the same
    for name, tensor in network.state_dict().items():
        if tensor.numel() > 10_000_000:  # of VGG's classifier, which is left off; `keep` makes it zero
            continue
        values = pool.repeat(1 + tensor.numel() // len(pool))[: tensor.numel()].view_as(tensor)
        if tensor.ndim > 1 and tensor.is_floating_point():
            tensor.copy_(values * (2 / tensor[0].numel()) ** 0.5)
        elif name.endswith(("running_var", "weight")):
            tensor.copy_(1 + 0.5 * values.tanh())
        else:
            tensor.copy_(0.1 * values)
    return network


def published(path, weights, patch):
    """Name a made file as torchvision's is named, with its own hash, and let torchvision's weights stand for it."""
    name = f"{weights.url.rpartition('/')[2].rpartition('-')[0]}-{sha256_of(path)[:8]}.pth"
    path = path.rename(path.with_name(name))
    patch.setattr(weights.value, "url", f"https://download.pytorch.org/models/{name}")
    listed = TORCH_FILES[str(weights)]
    patch.setitem(
        TORCH_FILES,
        str(weights),
        replace(listed, name=name, urls=(weights.url,), hash=f"sha256:{name[-12:-4]}"),
    )
    return path


def keep(network, folder):
    """Write a network as torchvision's files hold it, but in half precision and with little for VGG's classifier."""
    state = network.state_dict()
    large = {name: t for name, t in state.items() if t.numel() > 10_000_000}
    state = {name: t.half() if t.is_floating_point() and name not in large else t for name, t in state.items()}
    state |= {name: torch.zeros(1, 1).expand_as(t) for name, t in large.items()}
    network.load_state_dict(state)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "made.pth")
    return folder / "made.pth"


def without_head(network):
    """Return torchvision's own network up to its pooled features."""
    if isinstance(network, models.VGG):
        # Its pooling is to 7 × 7, for the classifier: the features are taken before.
        return nn.Sequential(network.features, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head = {models.ResNet: "fc", models.VisionTransformer: "heads"}.get(type(network), "classifier")
    setattr(network, head, nn.Identity())
    return network


@pytest.fixture(scope="module", params=TORCHVISION)
def loaded(request, tmp_path_factory):
    """A backbone loaded from a file in PyTorch's folder, and torchvision's network of the same weights."""
    name = request.param
    network = random_network(lambda: models.get_model(name, weights=None))
    weights = models.get_weight(TORCHVISION[name])
    with pytest.MonkeyPatch.context() as patch:
        path = published(keep(network, torch_checkpoints_folder()), weights, patch)
        # What torchvision draws before it loads takes most of the time.
        for draw in ("kaiming_uniform_", "kaiming_normal_", "trunc_normal_", "normal_", "uniform_"):
            patch.setattr(torch.nn.init, draw, lambda tensor, *_, **__: tensor)
        backbone = load_backbone(name)
        path.unlink()
    return name, backbone, without_head(network), weights


def pictures(side, count=2):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


@torch.inference_mode()
def test_features_are_those_of_torchvision_s_network_without_its_head(loaded):
    name, backbone, network, weights = loaded
    side = 224 if name == "vit_b_16" else 64
    images = pictures(side)
    prepare = weights.transforms(crop_size=side, resize_size=side)  # the preprocessing that comes with the weights
    expected = network(prepare(torch.from_numpy(images).permute(0, 3, 1, 2)))
    features = backbone(as_pictures(images))
    same(features, expected)
    assert features.shape == (2, backbone.width) == (2, WIDTHS[name])
    assert (features[0] - features[1]).abs().max() > 1e-3 * features.abs().max()
    assert not any(module.training for module in backbone.modules())


@torch.inference_mode()
def test_the_two_parts_of_a_split_make_the_whole_and_share_its_weights(loaded):
    name, backbone, *_ = loaded
    images = as_pictures(pictures(224 if name == "vit_b_16" else 64, 1))
    stages = list(dict(backbone.stages.named_children()))
    whole = backbone(images)
    for stage in (stages[1], stages[-1]):
        lower, upper = backbone.split(stage)
        same(upper(lower(images)), whole)
        assert {*map(id, lower.parameters()), *map(id, upper.parameters())} == set(map(id, backbone.parameters()))
        assert not set(map(id, lower.parameters())) & set(map(id, upper.parameters()))
    assert not list(backbone.split(stages[0])[0].parameters())


def test_an_unknown_stage_is_a_clear_error():
    with pytest.raises(ValueError, match=r"glyphnet has no stage 'layer4': expected one of stem, block1, block2, bl"):
        load_backbone("glyphnet").split("layer4")


@pytest.mark.parametrize("name", TORCHVISION)
def test_the_files_are_the_ones_that_torchvision_asks_for(name):
    weights = models.get_weight(TORCHVISION[name])
    file = TORCH_FILES[TORCHVISION[name]]
    assert file.urls == (weights.url,)
    assert file.name == weights.url.rpartition("/")[2]
    assert file.size == pytest.approx(weights.meta["_file_size"] * 2**20, abs=1)
    assert torch.hub.HASH_REGEX.search(file.name).group(1) == file.digits


@pytest.mark.parametrize(("variable", "value"), [("TORCH_HOME", "~/torch"), ("XDG_CACHE_HOME", "/caches"), ("", "")])
def test_the_folder_is_pytorch_s_own(variable, value, monkeypatch):
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, value)
    assert str(torch_checkpoints_folder()) == f"{torch.hub.get_dir()}/checkpoints"


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """Empty folders of this test alone, and hosts out of reach."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("WORKBOOK_MIRROR", raising=False)
    for proxy in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listed = TORCH_FILES[RESNET]
    monkeypatch.setitem(TORCH_FILES, RESNET, replace(listed, urls=(f"http://127.0.0.1:{port}/{listed.name}",)))
    return tmp_path


RESNET = TORCHVISION["resnet18"]


def small(tmp_path, monkeypatch):
    """A small file under a name that carries its hash, not yet where PyTorch looks for it."""
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "made.pth"
    torch.save({"weight": torch.zeros(100)}, path)
    return published(path, models.get_weight(RESNET), monkeypatch)


def test_a_file_that_cannot_be_fetched_is_named_with_its_size_address_and_place(empty):
    start = time.perf_counter()
    with pytest.raises(DownloadError) as caught:
        load_backbone("resnet18")
    assert time.perf_counter() - start < 5
    told = str(caught.value)
    for expected in ("resnet18-f37072fd.pth", "46.8 MB", "no connection", "WORKBOOK_MIRROR", "licence"):
        assert expected in told
    assert f"put it into the folder {empty}/torch/hub/checkpoints" in told
    assert TORCH_FILES[RESNET].urls[0] in told


def test_a_host_that_accepts_and_stays_silent_does_not_hang(empty, monkeypatch):
    monkeypatch.setattr("data_scripts.download.TIMEOUT", (0.2, 0.2))
    monkeypatch.setattr("data_scripts.download.BACK_OFF", 0.01)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/resnet18-f37072fd.pth"
        monkeypatch.setitem(TORCH_FILES, RESNET, replace(TORCH_FILES[RESNET], urls=(url,)))
        with pytest.raises(DownloadError, match="broke off"):
            load_backbone("resnet18")


def test_the_mirror_s_file_is_copied_into_pytorch_s_folder(empty, monkeypatch):
    made = small(empty, monkeypatch)
    monkeypatch.setenv("WORKBOOK_MIRROR", str(made.parent))
    path = fetch_torch_weights(RESNET)
    assert path == torch_checkpoints_folder() / made.name
    assert path.read_bytes() == made.read_bytes()
    assert fetch_torch_weights(RESNET) == path


def test_a_mirror_file_of_another_hash_is_refused(empty, monkeypatch):
    made = small(empty, monkeypatch)
    made.write_bytes(made.read_bytes() + b"!")
    monkeypatch.setenv("WORKBOOK_MIRROR", str(made.parent))
    with pytest.raises(DownloadError, match=r"in the mirror folder is not resnet18-.*expected SHA-256 [0-9a-f]{8}…"):
        fetch_torch_weights(RESNET)
    assert not (torch_checkpoints_folder() / made.name).exists()


@pytest.mark.parametrize("change", [lambda b: b[:-9], lambda b: b[:-1] + b"!", lambda b: b""])
def test_a_damaged_or_truncated_file_in_pytorch_s_folder_is_refused_and_left_alone(change, empty, monkeypatch):
    made = small(empty, monkeypatch)
    torch_checkpoints_folder().mkdir(parents=True)
    damaged = torch_checkpoints_folder() / made.name
    damaged.write_bytes(change(made.read_bytes()))
    before = damaged.read_bytes()
    with pytest.raises(DownloadError, match=r"is not the file of that name, or it is cut off: expected.*Delete it"):
        load_backbone("resnet18")
    assert damaged.read_bytes() == before


def test_a_whole_file_with_other_weights_is_refused(empty, monkeypatch):
    made = small(empty, monkeypatch)
    torch_checkpoints_folder().mkdir(parents=True)
    made.rename(torch_checkpoints_folder() / made.name)
    with pytest.raises(DownloadError, match="does not hold the weights of resnet18"):
        load_backbone("resnet18")


def test_a_file_that_is_there_needs_no_folder_that_can_be_written_to(empty, monkeypatch):
    made = small(empty, monkeypatch)
    torch_checkpoints_folder().mkdir(parents=True)
    made.rename(torch_checkpoints_folder() / made.name)
    fetch_torch_weights(RESNET)
    assert [path.name for path in torch_checkpoints_folder().iterdir()] == [made.name]


def test_a_folder_that_cannot_be_made_names_the_variable_that_moves_it(empty, monkeypatch):
    (empty / "file").touch()
    monkeypatch.setenv("TORCH_HOME", str(empty / "file"))
    with pytest.raises(CacheError, match="TORCH_HOME"):
        load_backbone("resnet18")


@pytest.mark.parametrize("changed", [False, True])
def test_torchvision_s_own_check_agrees_with_ours(changed, empty, monkeypatch, capfd):
    """It checks only what it downloads: here from a file, as if that were its host."""
    made = small(empty, monkeypatch)
    weights = models.get_weight(RESNET)
    monkeypatch.setattr(torch.hub, "download_url_to_file", DOWNLOAD)
    if changed:
        made.write_bytes(made.read_bytes() + b"!")
    monkeypatch.setattr(weights.value, "url", made.as_uri())
    assert bool(TORCH_FILES[RESNET].why_not(made)) == changed
    if changed:
        with pytest.raises(RuntimeError, match="invalid hash value"):
            weights.get_state_dict(progress=False, check_hash=True)
    else:
        assert list(weights.get_state_dict(progress=False, check_hash=True)) == ["weight"]


@torch.inference_mode()
def test_glyphnet_s_backbone_gives_glyphnet_s_features_of_the_grey_picture():
    images = as_pictures(pictures(32, 3))
    same(load_backbone("glyphnet")(images), load_glyphnet().features(images.mean(dim=1, keepdim=True)))


@torch.inference_mode()
@pytest.mark.skipif(mirror_folder() is None, reason="WORKBOOK_MIRROR is not set: this test reads public weights")
def test_squeezenet_s_backbone_gives_squeezenet_s_features():
    images = as_pictures(pictures(224))
    same(load_backbone("squeezenet")(images), load_squeezenet()(images))


@torch.inference_mode()
def test_squeezenet_s_stages_make_the_whole(monkeypatch):
    backbone = load_backbone("squeezenet", pretrained=False)
    images = as_pictures(pictures(64, 1))
    for stage in dict(backbone.stages.named_children()):
        lower, upper = backbone.split(stage)
        same(upper(lower(images)), backbone(images))
    assert sum(p.numel() for p in backbone.parameters()) == 722_496  # all of SqueezeNet 1.1 but its classifier


@torch.inference_mode()
@pytest.mark.parametrize("depth", FILES)
def test_the_backbones_for_cifar_give_the_features_of_their_networks(depth, monkeypatch):
    if mirror_folder():
        network = load_cifar_resnet(depth)
    else:  # random weights stand in for the public ones
        torch.manual_seed(0)
        network = CifarResNet(depth).eval()
        monkeypatch.setattr(backbones_torch, "load_cifar_resnet", lambda _: network)
    images = as_pictures(pictures(32))
    same(load_backbone(f"cifar_resnet{depth}")(images), network.features(images))


def test_a_classifier_has_a_new_head_over_the_backbone_itself():
    backbone = load_backbone("glyphnet")
    classifier = Classifier(backbone, 5)
    assert classifier.backbone is backbone
    assert classifier(as_pictures(pictures(32))).shape == (2, 5)


def test_a_backbone_that_pytorch_lacks_is_a_clear_error():
    with pytest.raises(BackboneError, match="'resnet81' is unknown; PyTorch has glyphnet"):
        load_backbone("resnet81")
