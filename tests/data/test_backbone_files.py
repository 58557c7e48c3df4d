"""Every name that a lesson may ask for leads to a file of known size, hash, licence and citation."""

import hashlib
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner

from data_scripts import __main__ as commands
from data_scripts.backbone_files import fetch_weights, weights_of
from data_scripts.backbones import BACKBONES
from data_scripts.cifar_resnet import FILES
from data_scripts.errors import BackboneError
from data_scripts.hub_files import HUB_MODELS
from data_scripts.keras_files import KERAS_FILES
from data_scripts.registry import read_registry
from data_scripts.squeezenet_weights import FILE
from data_scripts.torch_files import TORCH_FILES
from workbook.paths import ROOT

CONTENT = b"weights of a test"


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Empty folders for the course, the libraries and the mirror."""
    for variable in ("WORKBOOK_CACHE", "WORKBOOK_MIRROR", "TORCH_HOME", "KERAS_HOME", "HF_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
        (tmp_path / variable).mkdir()
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    return tmp_path


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_weights_with_size_licence_and_citation(name):
    offered = weights_of(name)
    assert [one.framework for one in offered] == [key for key in ("torch", "keras") if getattr(BACKBONES[name], key)]
    for one in offered:
        assert one.name
        assert 500_000 < one.size < 10**9
        assert all((one.origin, one.licence, one.citation))


def test_every_library_file_is_recognised_by_its_hash():
    for file in (*TORCH_FILES.values(), *KERAS_FILES.values()):
        if file.name.startswith("mobilenet_v2_weights"):
            continue  # Keras publishes none for this one: its size has to do
        assert re.fullmatch(r"sha256:[0-9a-f]{8}|md5:[0-9a-f]{32}", file.hash), file.name
        assert file.urls[0].startswith("https://")
        assert file.urls[0].endswith(f"/{file.name}")


def test_the_table_and_the_lists_of_files_name_the_same_networks():
    listed = [one for one in BACKBONES.values() if one.torch not in ("", "shipped", "registry", "hub")]
    assert {one.torch for one in listed} == set(TORCH_FILES)
    assert {one.keras for one in BACKBONES.values()} - {"", "shipped", "registry"} == set(KERAS_FILES)
    assert {name for name, one in BACKBONES.items() if one.torch == "hub"} == set(HUB_MODELS)
    assert {f"cifar_resnet{depth}": file for depth, file in FILES.items()} == {
        name: one.file for name, one in BACKBONES.items() if name.startswith("cifar_")
    }
    assert BACKBONES["squeezenet"].file == FILE


def test_every_public_file_that_the_code_names_is_in_the_registry():
    named = set()
    ending = r"(?:zip|gz|npz|h5|th|pt|bz2)"
    for path in [*ROOT.glob("data_scripts/*.py"), *ROOT.glob("*/source/*.py"), *ROOT.glob("workbook/methods/**/*.py")]:
        text = path.read_text("utf-8")
        named |= set(re.findall(r"\bfetch(?:_folder)?\(\s*\"([^\"]+)\"", text))
        if path.name not in ("keras_files.py", "torch_files.py") and path.parent.name == "data_scripts":
            named |= set(re.findall(rf"\"([\w.-]+\.{ending})\"", text))
    assert len(named) > 10
    assert named - set(read_registry()) == set()


def call(*arguments):
    result = CliRunner().invoke(commands.main, arguments)
    return result.exit_code, result.output


def test_the_command_shows_who_has_which_and_whether_it_is_here(places, monkeypatch):
    monkeypatch.delenv("WORKBOOK_MIRROR")
    (places / "TORCH_HOME/hub/checkpoints").mkdir(parents=True)
    (places / "TORCH_HOME/hub/checkpoints/resnet18-f37072fd.pth").touch()
    status, output = call("backbones")
    assert status == 0
    blocks = {block.split(" · ")[0]: block for block in re.split(r"\n(?=\S)", output)}
    assert set(BACKBONES) < set(blocks)
    assert "PyTorch: resnet18-f37072fd.pth · 46.8 MB · torchvision · here" in blocks["resnet18"]
    assert "Keras: –" in blocks["resnet18"]
    assert "pictures of 224 × 224 · no batch norm" in blocks["vgg16"]
    assert "keras.applications · to download" in blocks["vgg16"]
    assert "glyphnet.safetensors" in blocks["glyphnet"]
    assert "Hugging Face hub, through timm · to download" in blocks["dinov2_small"]
    for folder in ("TORCH_HOME/hub/checkpoints", "KERAS_HOME/models", "HF_HOME/hub", "WORKBOOK_CACHE/downloads"):
        assert str(places / folder) in output.partition("Kept in")[2]


def test_what_the_mirror_has_is_said(places):
    for name in ("resnet50-11ad3fa6.pth", "efficientnetb0_notop.h5", "resnet20-12fca82f.th"):
        (places / "WORKBOOK_MIRROR" / name).touch()
    (places / "WORKBOOK_MIRROR/clip-vit-base-patch32").mkdir()
    there = [one.name for name in BACKBONES for one in weights_of(name) if one.status == "in the mirror folder"]
    assert there == [
        "resnet50-11ad3fa6.pth",
        "efficientnetb0_notop.h5",
        "openai/clip-vit-base-patch32",
        "resnet20-12fca82f.th",
    ]


@pytest.fixture
def small(places, monkeypatch):
    """A file in the mirror that passes for ResNet-18's."""
    key = BACKBONES["resnet18"].torch
    digits = hashlib.sha256(CONTENT).hexdigest()[:8]
    file = replace(TORCH_FILES[key], name=f"resnet18-{digits}.pth", hash=f"sha256:{digits}")
    monkeypatch.setitem(TORCH_FILES, key, file)
    (places / "WORKBOOK_MIRROR" / file.name).write_bytes(CONTENT)
    return places / "TORCH_HOME/hub/checkpoints" / file.name


def test_a_backbone_is_fetched_by_its_name(small):
    status, output = call("download", "resnet18")
    assert (status, small.read_bytes()) == (0, CONTENT)
    assert f"resnet18, PyTorch: {small}" in output
    assert "cite: K. He" in output


def test_a_backbone_and_a_file_go_together(small):
    status, output = call("download", "resnet18", "glyphnet", "--framework", "torch")
    assert status == 0
    assert "glyphnet, PyTorch: " in output
    assert "Keras" not in output


def test_a_framework_that_lacks_it_is_a_clear_error():
    status, output = call("download", "resnet18", "--framework", "keras")
    assert status == 1
    assert "'resnet18' is there for PyTorch only; Keras has" in output
    with pytest.raises(BackboneError):
        fetch_weights("resnet18", "keras")


def test_a_damaged_file_is_told(small):
    small.parent.mkdir(parents=True)
    small.write_bytes(CONTENT[:-1])
    status, output = call("download", "resnet18")
    assert status == 1
    assert "it is cut off: expected SHA-256" in output
