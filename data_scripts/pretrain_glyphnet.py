"""Pre-trains GlyphNet on letters and writes the weights that ship with the course.

    python -m data_scripts.pretrain_glyphnet                       # the shipped weights
    python -m data_scripts.pretrain_glyphnet --without-lookalikes  # the same without letters that look like digits

Beside the weights (``NAME.safetensors``) stand the settings (``NAME.json``) and the log (``NAME.csv``). Interrupt it
at any time: the next call goes on from the last checkpoint, kept in the cache folder.
"""

import argparse
import csv
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from data_scripts.augment_glyphs import augment
from data_scripts.cache import cache_folder
from data_scripts.glyphnet_torch import GlyphNet
from data_scripts.glyphnet_weights import WEIGHTS
from data_scripts.glyphs import digit_lookalikes, load_glyphs
from data_scripts.photographs import photo_patches
from data_scripts.task import Task

LOG_COLUMNS = ("step", "seconds", "learning_rate", "loss", "validation_accuracy")


@dataclass(frozen=True)
class Settings:
    """Everything that decides the outcome of a pre-training run (besides library versions)."""

    steps: int = 14_000
    batch: int = 256
    peak_learning_rate: float = 3e-3
    warm_up_share: float = 0.05
    weight_decay: float = 0.02
    label_smoothing: float = 0.0
    averaging: float = 0.999
    patches: int = 4000
    seed: int = 0
    without_lookalikes: bool = False

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero (Loshchilov and Hutter 2017)."""
        share = step / self.steps
        return self.peak_learning_rate * min(1.0, share / self.warm_up_share) * 0.5 * (1 + math.cos(math.pi * share))


class Source:
    """The letters as tensors, with only the classes that the settings allow, numbered from 0."""

    def __init__(self, settings: Settings):
        task = load_glyphs(split_seed=settings.seed)
        left_out = set(digit_lookalikes()) if settings.without_lookalikes else set()
        self.letters = tuple(name for name in task.class_names if name not in left_out)
        number = {name: i for i, name in enumerate(self.letters)}
        renumbered = torch.tensor([number.get(name, -1) for name in task.class_names])
        self.images = torch.from_numpy(task.inputs)[:, None]
        self.labels = renumbered[torch.from_numpy(task.labels)]
        self.train = self._kept(task, task.train)
        self.validation = self._kept(task, task.validation)
        patches = photo_patches(settings.patches, half="pretraining", seed=settings.seed)
        self.patches = torch.from_numpy(patches).float()[:, None] / 255

    def _kept(self, task: Task, rows: np.ndarray) -> torch.Tensor:
        rows = torch.from_numpy(rows)
        return rows[self.labels[rows] >= 0]


def validation_accuracy(network: GlyphNet, source: Source) -> float:
    """Return the share of held-out renderings, augmented once with a fixed seed, that the source head names right."""
    network.eval()
    pictures = augment(source.images[source.validation], source.patches, torch.Generator().manual_seed(1))
    with torch.inference_mode():
        guesses = torch.cat([network(batch).argmax(1) for batch in pictures.split(512)])
    network.train()
    return (guesses == source.labels[source.validation]).double().mean().item()


class Pretraining:
    """A run that can be stopped and taken up again: network, its moving average, optimiser, log and random states."""

    def __init__(self, settings: Settings, checkpoint: Path):
        self.settings, self.checkpoint = settings, checkpoint
        self.source = Source(settings)
        torch.manual_seed(settings.seed)
        self.network = GlyphNet(len(self.source.letters)).to(memory_format=torch.channels_last)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.network,
            multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(settings.averaging),
            use_buffers=True,
        )
        self.optimiser = torch.optim.AdamW(self.network.parameters(), weight_decay=settings.weight_decay)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.step, self.seconds, self.log = 0, 0.0, []

    def resume(self) -> bool:
        """Take up the run of the checkpoint, if there is one of the same settings."""
        if not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, weights_only=True)
        if state["settings"] != asdict(self.settings):
            return False
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self.step, self.seconds, self.log = state["step"], state["seconds"], state["log"]
        return True

    def save_checkpoint(self) -> None:
        """Write the state under a temporary name, then move it into place."""
        state = {
            "settings": asdict(self.settings),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "seconds": self.seconds,
            "log": self.log,
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def train_step(self) -> float:
        """Take one step on freshly augmented letters; return its loss."""
        source, settings = self.source, self.settings
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate(self.step)
        rows = source.train[torch.randint(0, len(source.train), (settings.batch,), generator=self.generator)]
        pictures = augment(source.images[rows], source.patches, self.generator)
        # bfloat16 halves the time on processors that compute in it, and is correct, only slower, on others.
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.network(pictures.to(memory_format=torch.channels_last)).float()
        loss = F.cross_entropy(logits, source.labels[rows], label_smoothing=settings.label_smoothing)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return loss.item()

    def run(self, *, every: int = 500) -> GlyphNet:
        """Train to the end, with a log line and a checkpoint every so many steps; return the averaged network."""
        losses: list[float] = []
        began = time.perf_counter() - self.seconds
        while self.step < self.settings.steps:
            losses.append(self.train_step())
            if self.step % every and self.step < self.settings.steps:
                continue
            accuracy = validation_accuracy(self.average.module, self.source)
            self.seconds = time.perf_counter() - began
            rate = self.settings.learning_rate(self.step)
            row = (
                self.step,
                round(self.seconds, 1),
                round(rate, 6),
                round(float(np.mean(losses)), 4),
                round(accuracy, 4),
            )
            self.log.append(row)
            losses.clear()
            self.save_checkpoint()
            print("  ".join(f"{name} {value}" for name, value in zip(LOG_COLUMNS, row, strict=True)), flush=True)
        return self.average.module


def write(run: Pretraining, network: GlyphNet, path: Path) -> None:
    """Write weights with the letters in their metadata, settings and log."""
    tensors = {k: v.contiguous() for k, v in network.state_dict().items() if "num_batches" not in k}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"letters": json.dumps(run.source.letters, ensure_ascii=False)})
    partial.chmod(0o644)  # safetensors writes for its owner alone
    partial.replace(path)
    written = {"torch": torch.__version__, "classes": len(run.source.letters), "minutes": round(run.seconds / 60, 1)}
    path.with_suffix(".json").write_text(json.dumps(asdict(run.settings) | written, indent=2) + "\n")
    with path.with_suffix(".csv").open("w", newline="") as log:
        writer = csv.writer(log, lineterminator="\n")
        writer.writerow(LOG_COLUMNS)
        writer.writerows(run.log)


def main() -> None:
    """Parse the command line, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--without-lookalikes", action="store_true", help="leave out letters that look like digits")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--out", type=Path, help="weights file to write (default: beside the shipped one)")
    arguments = parser.parse_args()
    settings = Settings(steps=arguments.steps, without_lookalikes=arguments.without_lookalikes)
    name = "glyphnet_without_lookalikes" if settings.without_lookalikes else "glyphnet"
    path = arguments.out or WEIGHTS.with_name(f"{name}.safetensors")
    run = Pretraining(settings, cache_folder() / f"{path.stem}.checkpoint.pt")
    if run.resume():
        print(f"taken up at step {run.step} of {settings.steps}")
    write(run, run.run(), path)
    run.checkpoint.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
