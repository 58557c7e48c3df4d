"""Where the weights of each backbone come from, where they are kept, and whether they are here; no framework needed."""

from dataclasses import dataclass
from pathlib import Path

from data_scripts import hub_files
from data_scripts.backbones import BACKBONES, FRAMEWORKS, find_backbone
from data_scripts.cache import cache_location, readable_size
from data_scripts.download import fetch, mirror_folder
from data_scripts.glyphnet_weights import WEIGHTS as GLYPHNET
from data_scripts.hub_files import HUB_MODELS
from data_scripts.keras_files import KERAS_FILES, keras_models_folder
from data_scripts.library_files import bring_to_library
from data_scripts.registry import PublicFile, lookup
from data_scripts.torch_files import TORCH_FILES, torch_checkpoints_folder


@dataclass(frozen=True)
class Weights:
    """The weights of a backbone for one framework.

    Attributes:
        framework: ``"torch"`` or ``"keras"``.
        origin: who offers them.
        name: of the file, or of the hub's repository.
        size: in bytes, about.
        licence: as its publisher states it.
        citation: how to cite them.
        folder: where they are kept.
        status: ``"here"``, ``"in the mirror folder"`` or ``"to download"``.
    """

    framework: str
    origin: str
    name: str
    size: int
    licence: str
    citation: str
    folder: Path
    status: str

    def __str__(self) -> str:
        spelt = FRAMEWORKS[self.framework]
        return f"{spelt}: {self.name} · {readable_size(self.size)} · {self.origin} · {self.status}"


def weights_of(name: str) -> list[Weights]:
    """Return the weights of a backbone, one entry for each framework that has it.

    Args:
        name: one of `data_scripts.backbones.BACKBONES`.
    """
    found = BACKBONES[name]
    return [_weights(name, framework, origin) for framework in FRAMEWORKS if (origin := getattr(found, framework))]


def _weights(name: str, framework: str, origin: str) -> Weights:
    if origin == "shipped":
        # Its licence and citation are the course's own.
        own = ("as the course", "trained by data_scripts/pretrain_glyphnet.py")
        return Weights(
            framework, "with the course", GLYPHNET.name, GLYPHNET.stat().st_size, *own, GLYPHNET.parent, "here"
        )
    if origin == "hub":
        model = HUB_MODELS[name]
        status = "here" if hub_files.cached(model) else "in the mirror folder" if hub_files.in_mirror(model) else ""
        where = f"Hugging Face hub, through {model.package}"
        folder = hub_files.hub_folder()
        return Weights(
            framework,
            where,
            model.repository,
            model.size,
            model.licence,
            model.citation,
            folder,
            status or "to download",
        )
    if origin == "registry":
        file, folder, who = lookup(BACKBONES[name].file), cache_location() / "downloads", "registry.toml"
    else:
        file, folder, _ = _library_file(framework, origin)
        who = "torchvision" if framework == "torch" else "keras.applications"
    return Weights(framework, who, file.name, file.size, file.licence, file.citation, folder, _status(file, folder))


def _library_file(framework: str, origin: str) -> tuple[PublicFile, Path, str]:
    """Return the file, its folder, and the variable that moves the folder."""
    if framework == "torch":
        return TORCH_FILES[origin], torch_checkpoints_folder(), "TORCH_HOME"
    return KERAS_FILES[origin], keras_models_folder(), "KERAS_HOME"


def _status(file: PublicFile, folder: Path) -> str:
    mirror = mirror_folder()
    if (folder / file.name).is_file():
        return "here"
    return "in the mirror folder" if mirror and (mirror / file.name).is_file() else "to download"


def fetch_weights(name: str, framework: str, *, progress: bool = False) -> Path:
    """Bring the weights of a backbone to where its loader looks for them; return the path of the file or folder.

    Args:
        name: one of `data_scripts.backbones.BACKBONES`.
        framework: ``"torch"`` or ``"keras"``.
        progress: draw a bar while downloading.

    Raises:
        BackboneError: no such backbone, not in this framework, or the package that it needs is not installed.
        DownloadError: the weights are not here and cannot be fetched, or something else stands in their place.
        CacheError: the folder cannot be written to, or the disk is full.
    """
    found = find_backbone(name, framework)
    origin = getattr(found, framework)
    if origin == "shipped":
        return GLYPHNET
    if origin == "registry":
        return fetch(found.file, progress=progress)
    if origin == "hub":
        return hub_files.fetch_hub_model(name, progress=progress)
    return bring_to_library(*_library_file(framework, origin), progress=progress)
