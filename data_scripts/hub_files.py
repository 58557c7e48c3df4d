"""Networks of the Hugging Face hub: two that are loaded through packages which the course does not install itself.

The hub's own client brings the files (and keeps them in ``HF_HOME``), so that what other programs fetched is found. A
folder of the mirror with the repository's last name stands in for it. The hub names a file of weights by its SHA-256;
that is what a file is held against, as no hash is published elsewhere.
"""

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_scripts.cache import readable_size, sha256_of
from data_scripts.download import mirror_folder
from data_scripts.errors import BackboneError, DownloadError

TIMEOUT = 5
"""Seconds that the hub may take to answer."""


@dataclass(frozen=True)
class HubModel:
    """A repository of the hub.

    Attributes:
        repository: owner and name.
        package: that builds the network, as pip is asked for it.
        weights: the file with the weights.
        others: files that are needed beside it.
        size: bytes of the weights, about.
        licence: as its publisher states it.
        citation: how to cite it.
    """

    repository: str
    package: str
    weights: str
    others: tuple[str, ...]
    size: int
    licence: str
    citation: str

    @property
    def page(self) -> str:
        """Where a person gets the files."""
        return f"https://huggingface.co/{self.repository}/tree/main"

    @property
    def folder(self) -> str:
        """The name of its folder in a mirror folder."""
        return self.repository.rpartition("/")[2]


HUB_MODELS: Mapping[str, HubModel] = {
    "dinov2_small": HubModel(
        "timm/vit_small_patch14_dinov2.lvd142m",
        "timm",
        "model.safetensors",
        (),
        88_250_000,
        "Apache 2.0",
        "M. Oquab et al. DINOv2: learning robust visual features without supervision. TMLR 2024.",
    ),
    "clip_vit_b_32": HubModel(
        "openai/clip-vit-base-patch32",
        "transformers>=5",
        "model.safetensors",
        ("config.json", "tokenizer_config.json", "tokenizer.json"),
        605_200_000,
        "MIT (its publishers' code; none is stated for the weights)",
        "A. Radford et al. Learning transferable visual models from natural language supervision. ICML 2021.",
    ),
}
"""Backbone → its repository."""


def hub_folder() -> Path:
    """Return the folder in which the hub's client keeps files, as the environment says."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def cached(model: HubModel) -> bool:
    """Whether the hub's folder has the weights."""
    snapshots = hub_folder() / f"models--{model.repository.replace('/', '--')}" / "snapshots"
    return any(snapshots.glob(f"*/{model.weights}"))


def in_mirror(model: HubModel) -> Path | None:
    """Return the folder of the mirror that stands in for the hub, None when there is none."""
    mirror = mirror_folder()
    return mirror / model.folder if mirror and (mirror / model.folder).is_dir() else None


def require_package(name: str) -> None:
    """Check that the package that builds a network is installed.

    Raises:
        BackboneError: it is not; the message says how to install it.
    """
    package = HUB_MODELS[name].package
    if importlib.util.find_spec(re.match(r"\w+", package).group()) is None:
        raise BackboneError(
            f"backbone {name!r} needs a package that the course does not install: python -m pip install '{package}'"
        )


def fetch_hub_model(name: str, *, progress: bool = False) -> Path:
    """Return a folder with a network's files, bringing them there when they are missing.

    Args:
        name: one of `HUB_MODELS`.
        progress: draw bars while downloading.

    Raises:
        BackboneError: the package that builds it, which brings the hub's client too, is not installed.
        DownloadError: the files are not here and could not be fetched, or are damaged; the message says where to get
            them by hand and where to put them.
    """
    model = HUB_MODELS[name]
    folder = in_mirror(model)
    if folder:
        lacking = [file for file in (model.weights, *model.others) if not (folder / file).is_file()]
        if lacking:
            raise DownloadError(f"{folder} in the mirror folder lacks {', '.join(lacking)} of {model.repository}")
        return folder
    require_package(name)
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        path = _ask_client(model, local_files_only=True)
    except LocalEntryNotFoundError:
        path = _download(model, progress)
    digest = path.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", digest) and (got := sha256_of(path)) != digest:
        raise DownloadError(
            f"{path} is damaged or cut off: expected SHA-256 {digest}, got {got}. It was not used. Delete "
            f"{path.resolve()} and run this again"
        )
    return path.parent


def _ask_client(model: HubModel, **options: object) -> Path:
    from huggingface_hub import hf_hub_download

    files = (*model.others, model.weights)
    return [Path(hf_hub_download(model.repository, file, **options)) for file in files][-1]


def _download(model: HubModel, progress: bool) -> Path:
    import requests
    from huggingface_hub import constants
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    silent = are_progress_bars_disabled()
    (enable_progress_bars if progress else disable_progress_bars)()
    try:
        # Where there is no network, the client by itself would try for half a minute and say so on stderr.
        requests.head(constants.ENDPOINT, timeout=TIMEOUT)
        return _ask_client(model, etag_timeout=TIMEOUT)
    except requests.RequestException as error:
        told = f"no connection to {constants.ENDPOINT} within {TIMEOUT} s, or the proxy refused (HTTPS_PROXY)"
        raise DownloadError(_how_to_get(model, told)) from error
    except (OSError, ValueError) as error:  # the client's own are both
        raise DownloadError(_how_to_get(model, " ".join(str(error).split())[:200])) from error
    finally:
        (disable_progress_bars if silent else enable_progress_bars)()


def _how_to_get(model: HubModel, tried: str) -> str:
    files = (model.weights, *model.others)
    return "\n".join(
        [
            f"{model.repository} could not be fetched ({readable_size(model.size)}, licence {model.licence}).",
            f"Tried: {tried}.",
            f"Connect to the network and run this again, or get {', '.join(files)} by hand from",
            f"  {model.page}",
            f"and put {'them' if model.others else 'it'} into a folder {model.folder} inside a folder of your own that "
            "the environment variable WORKBOOK_MIRROR names.",
            f"(The hub's own folder is {hub_folder()}; HF_HOME moves it.)",
        ]
    )
