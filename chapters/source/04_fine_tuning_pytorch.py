# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 · Fine-tuning in PyTorch: the loop, and what to freeze
#
# **A question.** You freeze every weight of a pre-trained network except its new last layer, train for a few seconds, and save only that layer: the rest has not changed, after all. A colleague puts your layer on a fresh copy of the same network and gets other answers. Nobody made an error that
# Python would report. What changed?
#
# By the end of this lesson you can
#
# - write fine-tuning (微调) out in PyTorch: data, head, settings, loop with early stopping, test;
# - freeze (冻结) a network by five policies, unfreeze it gradually, and say what each costs and gains;
# - keep what is frozen *really* frozen;
# - save a network so that a stranger can use it, and a training so that it survives a power cut *bit for bit*.
#
# *About 45 minutes of reading; under a minute of computing on one core. The experiment is that of chapter [03](03_fine_tuning_keras.ipynb), which you need not have read. Learning rates are the subject of [04b](04b_rates_and_priors.ipynb), LoRA and the full grid of policies of [04c](04c_lora_and_policies.ipynb).*

# %% tags=["parameters"]
profile = "quick"  # type: str
seed = 0  # type: int
k = 10  # type: int
draws = 3  # type: int
steps = 60  # type: int
epochs = 30  # type: int
search = False  # type: bool
gpu_on_cpu = False  # type: bool

# %%
import copy

import matplotlib.pyplot as plt
import numpy as np

from workbook.lesson import begin, claim, gpu, record, record_table
from workbook.plotting import COLOURS

defaults = (k, steps, epochs) == (10, 60, 30) and draws >= 3 and not search
begin("torch", profile=profile, seed=seed, scope=profile == "quick" and defaults)
if profile != "quick":
    raise NotImplementedError("this lesson runs at profile = 'quick'; its chapter's photographs are in 04g")

# %% [markdown]
# ## The number to beat
#
# The task: read handwritten digits drawn over patches of photographs, from ten labelled examples a class. The network: GlyphNet, a small convolutional network that was trained on printed letters and has never seen a digit. Its last layer, the *head*, turns 128 features into one score a class.
#
# The images are split into training, validation and test *rows*. A *draw* picks ten examples a class from the training rows; results are given for three draws. `record` keeps a number and shows it, `claim` checks a sentence by the code beside it.
#
# The simplest rival labels an image like the training image whose pixels are nearest (最近邻). Its setting is chosen among four on validation rows, on draws that are not reported, and it is then scored on test rows. Chance is 0.10.

# %%
import torch
from torch import nn

from data_scripts.photo_digits import load_photo_digits
from data_scripts.pretrained_torch import load_glyphnet
from data_scripts.task import sample_k_shot
from workbook.methods.torch.learning_curve import CANDIDATES, Bench
from workbook.methods.torch.training import accuracy, as_images, fit

task = load_photo_digits()
images, labels = as_images(task.inputs), torch.from_numpy(task.labels)
bench = Bench(task, load_glyphnet, steps)
best_pixels = CANDIDATES["pixels"][bench.search("pixels", k)]
pixels = [bench.run("pixels", k, draw, best_pixels) for draw in range(draws)]
record("04.pixels", pixels)

# %% [markdown]
# ## Step 1: data
#
# PyTorch splits the work in two. A `Dataset` answers 'how many?' and 'number *i*, please'; a `DataLoader` shuffles, collects the images of one step into a batch (批量), and may fetch in other processes. Augmentation (数据增强), small random changes that leave the label true, belongs in the data set: there it meets one image at a time. Ours shifts by up to two pixels: pad by repeating the edge, then
# cut 32 × 32 at a random place.

# %%
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

shift = v2.RandomCrop(32, padding=2, padding_mode="edge")


class Pictures(Dataset):
    def __init__(self, rows, transform=None):
        self.rows, self.transform = rows, transform

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        image = images[self.rows[i]]
        return (self.transform(image) if self.transform else image), labels[self.rows[i]]


rows = sample_k_shot(task, k, seed=seed)
loader = DataLoader(Pictures(rows, shift), batch_size=20, shuffle=True, generator=torch.Generator().manual_seed(seed))
batch, answers = next(iter(loader))
print("a batch:", tuple(batch.shape), "labels:", tuple(answers.shape))

# %% [markdown]
# Would it not be faster to shift the whole batch at once? It would. But a transform of `torchvision.transforms.v2` draws its random numbers **once a call**. *Look at the two rows and say which one is augmentation.*

# %%
torch.manual_seed(seed)
same = images[rows[:1]].expand(8, -1, -1, -1)
versions = {"one call an image": torch.stack([shift(x) for x in same]), "one call for the batch": shift(same)}
figure, axes = plt.subplots(2, 1, figsize=(9, 3.2))
for axis, (title, shown) in zip(axes, versions.items()):
    axis.imshow(np.hstack(shown[:, 0].numpy()))
    axis.set(title=title, xticks=[], yticks=[])
kinds = {name: len({x.numpy().tobytes() for x in shown}) for name, shown in versions.items()}
claim(
    "04.one-draw-a-call",
    "eight calls give several different shifts, one call on a batch of eight gives a single one",
    kinds["one call an image"] >= 3 and kinds["one call for the batch"] == 1,
)

# %% [markdown]
# *Two rows of eight pictures of one digit over a photograph. Above, they are shifted differently; below, all eight are alike.*
#
# (Where speed matters, `random_shift` in `workbook.methods.torch.training` takes a whole batch in one call and still draws a shift *for each image*.)
#
# ## Steps 2 and 3: head, loss, settings
#
# The backbone (主干网络), all layers before the head, starts from its pre-trained weights; a new head with ten outputs and random weights replaces the one for letters. The outputs are *logits* (对数几率), scores of any size: `F.cross_entropy` applies the softmax that makes probabilities of them.
#
# The optimiser (优化器) is AdamW: gradient descent that scales the step of every parameter by the recent size of its gradients, and shrinks all weights a little (weight decay). Rate and patience of steps 3 and 4 are common values, set by hand; only later, where policies are compared, are rates searched.


# %%
def with_head(draw):
    torch.manual_seed(draw)
    network = load_glyphnet()
    network.head = nn.Linear(network.head.in_features, len(task.class_names))
    return network


network = with_head(seed)
validation = images[task.validation], labels[task.validation]
print("features", tuple(network.features(batch).shape), "→ logits", tuple(network(batch).shape))
record("04.untrained", accuracy(network, *validation))

# %% [markdown]
# Untrained, the head guesses, as it should. A number far above chance would be a reason to look for labels that leak in, or for a head that is not new.
#
# ## Step 4: the loop
#
# Everything that Keras does in one call of `fit`, written out. Each line of the inner loop has one job: forward, forget old gradients, backward, step. After every epoch (周期), one pass over the training images, the *validation* rows are scored and the best network so far is kept; after eight epochs without a better one (the *patience*) we stop. That is early stopping (早停).

# %%
from torch.nn import functional as F


def fine_tune(network, loader, *, rate, patience):
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    losses, scores, best = [], [], None
    for _ in range(epochs):
        network.train()
        for pictures, answers in loader:
            loss = F.cross_entropy(network(pictures), answers)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        scores.append(accuracy(network, *validation))  # switches to evaluation mode
        if scores[-1] > max(scores[:-1], default=-1.0):
            best = copy.deepcopy(network.state_dict())
        if len(scores) - 1 - int(np.argmax(scores)) >= patience:
            break
    network.load_state_dict(best)
    return losses, scores


losses, scores = fine_tune(network, loader, rate=1e-3, patience=8)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
left.plot(losses, color=COLOURS["blue"])
left.set(title="Loss of every batch", xlabel="step", ylabel="cross-entropy", yscale="log")
right.plot(range(1, len(scores) + 1), scores, color=COLOURS["vermilion"], marker="o")
right.axvline(1 + int(np.argmax(scores)), color="black", lw=1, ls="--")
_ = right.set(title="Validation accuracy; dashed: the network kept", xlabel="epoch", ylabel="accuracy")

# %% [markdown]
# *Left: the loss of every batch falls by powers of ten on a logarithmic axis, in zigzag. Right: accuracy on validation rows climbs steeply for the first epochs, then wavers on a plateau; a dashed line marks the best epoch, whose network is kept.*
#
# The loss on the training images goes on falling after the score on others has stopped rising, so the loss cannot tell when to stop.
#
# Why `deepcopy`? The state dict, PyTorch's dictionary of all weights by name, holds no copy of them: it *points* to them.

# %%
probe = with_head(seed)
pointed, copied = probe.state_dict(), copy.deepcopy(probe.state_dict())
with torch.no_grad():
    probe.head.weight.add_(1.0)  # stands for a step of training
claim(
    "04.state-dict-is-no-copy",
    "after a change of the weights the state dict taken before shows the new ones, its deep copy the old ones",
    torch.equal(pointed["head.weight"], probe.head.weight)
    and not torch.equal(copied["head.weight"], probe.head.weight),
)

# %% [markdown]
# Without the copy, 'the best network' is the last one, whatever the curve says.
#
# ## Step 5: test, once
#
# The best of many validation scores tends to flatter (lesson [01b](01b_evaluation.ipynb)), so the result is the accuracy on test rows. Nothing in this lesson is chosen by them.

# %%
test = images[task.test], labels[task.test]
result = accuracy(network, *test)
record_table("04.recipe", {"fine-tuned, one draw": {"best validation": [max(scores)], "test": [result]}})
claim(
    "04.beats-pixels",
    "trained on the same examples, the fine-tuned network beats the nearest neighbour on pixels by more than ten points",
    result > bench.run("pixels", k, seed, best_pixels) + 0.1,
)

# %% [markdown]
# Here the best validation score flattered little. One draw is one example of the recipe, not a measurement of it: the comparison below has three.
#
# ## What to freeze
#
# Nothing says that all parameters must move. `requires_grad_(False)` freezes one: it gets no gradient, and an optimiser that is handed only the rest never touches it.
#
# GlyphNet has parameters of two kinds before the head: the kernels of its convolutions, and those of batch normalisation (批量归一化), which follows every convolution. There every channel is brought to mean 0 and variance 1, then multiplied by a learned *scale*, and a learned *offset* is added. Five policies train the head and, beside it: nothing more (`head`); the biases (`bias`); scales and offsets of batch
# normalisation (`norm`); the last of three blocks of layers (`last-block`); everything (`full`).


# %%
def freeze(network, trains):
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith("head.") or trains(name))
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


is_norm = {name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
RULES = {
    "head": lambda name: False,
    "bias": lambda name: name.endswith(".bias"),
    "norm": lambda name: name.rpartition(".")[0] in is_norm,
    "last-block": lambda name: name.startswith("block3."),
    "full": lambda name: True,
}
trainable = {policy: freeze(with_head(0), rule) for policy, rule in RULES.items()}
record_table("04.trainable", {p: {"parameters": [n]} for p, n in trainable.items()}, corner="policy", digits=0)

# %% [markdown]
# GlyphNet's convolutions have no biases; the only ones before the head are the offsets. So 'bias' frees half of what 'norm' frees there. The kept version is `apply_policy` in `workbook.methods.torch.policies`; it should free the same parameters.

# %%
from workbook.methods.torch.policies import GROUPS, apply_policy, gradual, train_mode


def freed(network):
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


ours, kept = {}, {}
for policy, rule in RULES.items():
    freeze(written := with_head(0), rule)
    ours[policy], kept[policy] = freed(written), apply_policy(with_head(0), policy)
claim(
    "04.few-parameters",
    "the kept policies free what the rules above free; "
    "scales and offsets of batch norm with the head are under one per cent of all parameters",
    ours == kept and trainable["norm"] < 0.01 * trainable["full"],
)

# %% [markdown]
# The sixth lets layers join one after the other, from the head down: **gradual unfreezing** (逐层解冻; Howard and Ruder 2018). The idea is that a random head should not send its first gradients into good features. Written out: of $n$ groups of layers, counted from $i = 0$ (the head) to $i = n - 1$ (the first convolution), group $i$ joins at step $\frac{i}{n-1} \cdot \frac{\text{steps}}{2}$. So everything trains from half-way on.

# %%
starts = {names: steps / 2 * i / (len(GROUPS) - 1) for i, names in enumerate(GROUPS)}
before_step, agrees = gradual(step_by_step := with_head(0), steps), []
for step in range(steps):
    before_step(step)
    joined = tuple(name for names, start in starts.items() if step >= start for name in names)
    agrees.append(freed(step_by_step) == [n for n in freed(with_head(0)) if n.split(".")[0] in joined])
claim("04.gradual", "the kept version frees the same layers as the formula at every step", all(agrees))

# %% [markdown]
# ## Frozen is not frozen
#
# Back to the opening question. A head is trained, everything else is frozen, and `network.train()` is called, as every loop does. *Which tensors will differ afterwards?*


# %%
def train_head(draw, switch):
    network = with_head(draw)
    apply_policy(network, "head")
    switch(network)
    optimiser = torch.optim.AdamW(network.head.parameters(), lr=1e-2)
    generator, rows = torch.Generator().manual_seed(draw), sample_k_shot(task, k, seed=draw)
    for _ in range(steps):
        batch = rows[torch.randperm(len(rows), generator=generator)[:32]]
        loss = F.cross_entropy(network(images[batch]), labels[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


# %%
before = load_glyphnet().state_dict()
naive = [train_head(draw, lambda network: network.train()) for draw in range(draws)]
after = naive[0].state_dict()
moved = [name for name in before if "head" not in name and not torch.equal(before[name], after[name])]
print(f"{len(moved)} tensors outside the head differ; their last names:", sorted({n.rpartition(".")[2] for n in moved}))

drift = (after["block3.bn2.running_mean"] - before["block3.bn2.running_mean"]).abs().mean()
record("04.running-mean-moved", (drift / before["block3.bn2.running_mean"].abs().mean()).item())
claim(
    "04.frozen-is-not-frozen",
    "no frozen parameter changed, and every running mean and variance of the frozen layers did",
    len([name for name in moved if "running" in name]) == 2 * len(is_norm)
    and not {name for name, _ in naive[0].named_parameters()} & set(moved),
)

# %% [markdown]
# The record is the mean change of one layer's running means, as a share of their mean size. In training mode batch normalisation uses the mean and variance of the *batch*, feeds them into running averages, and counts the batches, with or without gradients. In evaluation mode it uses the running averages and leaves them alone. These are *buffers*, not parameters: `requires_grad` does not concern
# them. The repair: batch normalisation with nothing to train goes to evaluation mode, which is what `train_mode` does.
#
# Now the colleague: each head is put on a fresh backbone, and we compare accuracies and logits.

# %%
repaired = [train_head(draw, train_mode) for draw in range(draws)]
table, apart = {}, {}


@torch.inference_mode()
def on_fresh_backbone(network):
    colleague = load_glyphnet()
    colleague.head = network.head
    return accuracy(colleague, *test), (colleague(test[0]) - network(test[0])).abs().mean().item()


for name, networks in {"network.train()": naive, "train_mode(network)": repaired}.items():
    moved_heads = [on_fresh_backbone(network) for network in networks]
    as_trained = [accuracy(network, *test) for network in networks]
    table[name] = {"as trained": as_trained, "head on a fresh backbone": [share for share, _ in moved_heads]}
    apart[name] = [difference for _, difference in moved_heads]
record_table("04.frozen", table, corner="head only, accuracy")
record_table("04.frozen-logits", {name: {"mean change": values} for name, values in apart.items()}, corner="logits")
claim(
    "04.train-mode-keeps-frozen",
    "with train_mode the head gives the same logits on a fresh backbone in every draw; "
    "with train() they change by over a tenth on the mean",
    max(apart["train_mode(network)"]) < 1e-5 and min(apart["network.train()"]) > 0.1,
)

# %% [markdown]
# That is what changed. On this task it costs little accuracy, and statistics of the target may sometimes even suit it better, which chapter 07 uses on purpose. But nobody asked for it, and it depends on the batch size. Whoever computes the features of all images once and stores them, because the backbone is frozen, stores those of another network. And if two heads are trained
# in turn on one 'frozen' backbone, the second training moves the features under the first head.
#
# ## The policies compared
#
# Every policy gets the same 60 steps of 32 shifted images and the same search: four rates, scored on validation rows for two draws that are not reported. (A rate is the peak of a one-cycle schedule: it rises from a small value and falls to nearly zero.) So does training from scratch (从头训练), the same network from random weights. The search took two minutes as a job and ships as a reference (21 November 2026, one x86-64 core); this run reads it.

# %%
from data_scripts.glyphnet_torch import GlyphNet
from workbook.reference import read_reference, record_values

if not search and k != 10:
    raise ValueError(f"the shipped rates were searched at k = 10, not {k}: set search = True to search again")
ARMS, RATES = (*RULES, "gradual", "scratch"), (1e-3, 3e-3, 1e-2, 3e-2)


def learn(arm, rate, draw, scored):
    network, extra = with_head(draw), {}
    if arm == "scratch":
        network = GlyphNet(len(task.class_names)).to(memory_format=torch.channels_last)
    elif arm == "gradual":
        extra = {"before_step": gradual(network, steps), "parameters": network.parameters()}
    else:
        apply_policy(network, arm)
    chosen = sample_k_shot(task, k, seed=draw)
    fit(network, images[chosen], labels[chosen], steps=steps, learning_rate=rate, seed=draw, **extra)
    return accuracy(network, images[scored], labels[scored])


# %%
if search:
    found = {a: {f"{r:g}": [learn(a, r, d, task.validation) for d in (1000, 1001)] for r in RATES} for a in ARMS}
    found = {arm: {f"rate {rate:.0e}": found[arm][f"{rate:g}"] for rate in RATES} for arm in ARMS}
else:
    known = record_values(read_reference("04_fine_tuning_pytorch"), "search", "04.search")
    found = {arm: {f"rate {rate:.0e}": [known[arm, f"rate {rate:.0e}"][0]] for rate in RATES} for arm in ARMS}
record_table("04.search", found, corner="validation rows, mean of two search draws")
means = {arm: [np.mean(values) for values in found[arm].values()] for arm in ARMS}
chosen_rate = {arm: RATES[int(np.argmax(means[arm]))] for arm in ARMS}
claim(
    "04.rates-belong-to-policies",
    "reference: at the highest rate full fine-tuning loses over five points against its own best rate, "
    "the head alone under two",
    max(means["full"]) - means["full"][-1] > 0.05 and max(means["head"]) - means["head"][-1] < 0.02,
)

# %% [markdown]
# Read it by row. At the highest rate the head alone, the biases and the norms are at or near their best, and the whole network is well below its own. At the lowest rate the three are far below theirs, and the whole network only a little below its own. In the middle the policies lie near each other; a comparison at one common rate from either end would have measured the rate. (Where the best rate is the last of the list,
# a wider search might help a little. At a tie the lower rate is taken.)

# %%
scored = {arm: [learn(arm, chosen_rate[arm], draw, task.test) for draw in range(draws)] for arm in ARMS}
record_table(
    "04.policies",
    {arm: {"accuracy": scored[arm]} for arm in ARMS} | {"pixels": {"accuracy": pixels}},
    corner=f"test rows, k = {k}",
)

figure, axis = plt.subplots(figsize=(7.5, 4.2))
for arm, colour in zip(ARMS, COLOURS.values()):
    count = trainable.get(arm, trainable["full"])
    axis.plot([count] * draws, scored[arm], "o", color=colour, alpha=0.4)
    axis.plot(count, np.mean(scored[arm]), "D", color=colour, ms=9, label=arm)
axis.axhline(np.mean(pixels), color=COLOURS["grey"], ls="--", label="pixels")
axis.set(xscale="log", xlabel="parameters that train (at the end)", ylabel="accuracy on test rows")
axis.set_title(f"Policies by what they train, photo_digits, k = {k}")
_ = axis.legend(loc="lower center")

# %% [markdown]
# *Accuracy against the number of trained parameters on a logarithmic axis, diamonds for means and dots for draws. The transfer policies lie close together near the top, from about a thousand to three hundred thousand parameters; training from scratch lies far below, and also below the dashed line of the nearest neighbour on pixels.*
#
# The intervals of the policies overlap: three draws do not rank them. An interval from three values is itself rough; the head's came out as zero only because three draws happened to get the same number of test rows right.

# %%
transfer = [arm for arm in ARMS if arm != "scratch"]
claim(
    "04.every-policy-beats-scratch",
    "every policy beats training from scratch at the same budget by more than ten points in every draw",
    min(np.min(np.subtract(scored[arm], scored["scratch"])) for arm in transfer) > 0.1,
)

claim(
    "04.more-is-not-better",
    "with ten examples a class, head and batch norm come within two points of full fine-tuning, or above it, on the mean",
    float(np.mean(np.subtract(scored["norm"], scored["full"]))) > -0.02,
)

# %% [markdown]
# So with ten examples a class, under one per cent of the parameters was enough, which suggests that what the new task needs is mostly there already. And 60 steps were too few for a network without pre-training; whether more would save it is not measured here. This is one task at one $k$, the number of examples a class. Lesson 04c has the grid: more examples, another task, shifted inputs, calibration.
#
# ## Channels-last
#
# A batch has shape $(N, C, H, W)$ in PyTorch, whatever its order in memory. In *channels-last* order all channels of one pixel lie side by side, which is what fast convolution kernels want. The shape stays. What changes is the *strides*: how many numbers one moves on in memory to get to the next image, channel, row, column.

# %%
import time

LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
print({name: torch.empty(32, 24, 16, 16, memory_format=layout).stride() for name, layout in LAYOUTS.items()})


# %%
def in_layout(layout, repeats=12):
    network = with_head(seed).to(memory_format=layout)
    pictures, spent = images[:32].contiguous(memory_format=layout), []
    with torch.inference_mode():
        logits = network(pictures)
    for _ in range(repeats):
        begun = time.perf_counter()
        F.cross_entropy(network.train()(pictures), labels[:32]).backward()
        spent.append(1000 * (time.perf_counter() - begun))
    return logits, np.median(spent)


by_layout = {name: in_layout(layout) for name, layout in LAYOUTS.items()}
record_table(
    "04.layout",
    {n: {"median": [x]} for n, (_, x) in by_layout.items()},
    corner="forward and backward of 32 images",
    unit="ms",
    digits=1,
)
first, second = (logits for logits, _ in by_layout.values())
claim(
    "04.layout-changes-nothing",
    "logits agree to a ten-thousandth in both layouts",
    torch.allclose(first, second, atol=1e-4),
)

# %% [markdown]
# How much it saves depends on the processor; the course uses it because on those it was made on it pays. The claim is only that it leaves the result alone.
#
# ## Saving a network for a stranger
#
# A file of weights is not enough to use a network: which class is output 3, and what was done to the pixels? `safetensors` stores tensors (and cannot run code on loading, as a pickle can), and beside them strings. So the class names and the preprocessing (预处理) travel along.

# %%
import json
import tempfile
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

folder = tempfile.TemporaryDirectory()
saved = Path(folder.name) / "digits.safetensors"
about = {"class_names": task.class_names, "preprocessing": {"mode": "L", "size": [32, 32], "divide_by": 255}}
tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
save_file(tensors, saved, metadata={name: json.dumps(value) for name, value in about.items()})


# %%
def read_network(path):
    with safe_open(path, framework="pt") as file:
        about = {name: json.loads(text) for name, text in file.metadata().items()}
    network = GlyphNet(len(about["class_names"]))
    network.load_state_dict(load_file(path))
    return network.to(memory_format=torch.channels_last).eval(), about


reloaded, about = read_network(saved)
with torch.inference_mode():
    claim(
        "04.reload",
        "reloaded, the network gives identical logits for all test images",
        torch.equal(reloaded(test[0]), network(test[0])),
    )

# %% [markdown]
# Now the stranger's side: picture files of another size, test digits over patches cut anew from the same photographs. The stranger has the code of GlyphNet; all else comes from the file. (A stricter file would also name the filter by which pictures are resized.)

# %%
from PIL import Image

from data_scripts.handwriting import load_handwriting
from data_scripts.photo_digits import blend
from data_scripts.photographs import photo_patches

shown = task.test[:10]
patches = photo_patches(10, half="task", seed=5).astype(np.float32) / 255
files = []
for i, picture in enumerate(blend(load_handwriting().inputs[shown], patches, seed=9)):
    files.append(Path(folder.name) / f"new{i}.png")
    Image.fromarray((255 * picture).round().astype(np.uint8)).resize((96, 96)).save(files[-1])


# %%
@torch.inference_mode()
def predict(path, files):
    network, about = read_network(path)
    rule = about["preprocessing"]
    pictures = [np.asarray(Image.open(f).convert(rule["mode"]).resize(rule["size"]), np.float32) for f in files]
    chances = network(as_images(np.stack(pictures) / rule["divide_by"])).softmax(1)
    return [about["class_names"][i] for i in chances.argmax(1)], chances.max(1).values.tolist()


names, chances = predict(saved, files)
record("04.new-pictures", np.mean([int(n) for n in names] == task.labels[shown]))

figure, axes = plt.subplots(1, 10, figsize=(10, 1.7))
for axis, file, name, chance in zip(axes, files, names, chances):
    axis.imshow(Image.open(file))
    axis.set(xticks=[], yticks=[])
    axis.set_title(f"{name}\n{chance:.2f}")
_ = figure.suptitle("New pictures: predicted digit and its probability")

# %% [markdown]
# *Ten pictures of digits over newly cut patches of photographs, each under the predicted digit and the probability that the network gives it.*
#
# The digits are those of ten test rows; size, file format and the cut of the background are new. Ten pictures show that the file can be used, not how accurate the network is: one error more or less is ten points. A wrong answer should come with a low probability. (Look for the lowest ones above: are those the errors?) That is good manners, not a law, and calibration (校准) comes in 04c.
#
# ## Surviving an interruption
#
# A checkpoint (检查点) for *resuming* needs more than weights: everything that the next step depends on. Here is all of it, in one dictionary:

# %%
from workbook.methods.torch.checkpoint import TrainingState, load_checkpoint, save_checkpoint, train_from


def fresh():
    network = with_head(seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=24)
    return TrainingState(network, optimiser, schedule, torch.Generator().manual_seed(seed))


state = fresh()
parts = {name: getattr(state, name).state_dict() for name in ("network", "optimiser", "schedule")}
parts |= {"generator": state.generator.get_state(), "order": state.order, "step": state.step}
torch.save(parts, Path(folder.name) / "parts.pt")
print("in the file:", ", ".join(torch.load(Path(folder.name) / "parts.pt", weights_only=True)))

# %% [markdown]
# The *optimiser*'s running moments, the place in the *schedule*, the state of the random *generator* that draws order and shifts, the rows left in this pass (*order*), the *step*. With one of the first four left out the training goes on, without complaint, as another training. The kept version is `workbook.methods.torch.checkpoint`; it writes
# under another name and moves the file into place when it is whole, so that an interruption *while saving* leaves the old checkpoint. Three trainings of 24 steps: one without a break, one that dies at step 15, its last checkpoint at step 12, and resumes; one that resumes from the weights alone.

# %%
threads = torch.get_num_threads()
torch.set_num_threads(1)  # sums in one fixed order, so that equal can mean equal to the last bit
path, data = Path(folder.name) / "run.ckpt", (images[rows], labels[rows])


def power_cut(state):
    if state.step % 6 == 0:
        save_checkpoint(path, state)
    if state.step == 15:
        raise InterruptedError("the power is gone")


whole = train_from(fresh(), *data, steps=24)
try:
    train_from(fresh(), *data, steps=24, after_step=power_cut)
except InterruptedError as error:
    print("interrupted:", error)

# %%
resumed = load_checkpoint(path, fresh())
weights_only = fresh()
weights_only.network.load_state_dict(copy.deepcopy(resumed.network.state_dict()))
print("resuming at step", resumed.step)
train_from(resumed, *data, steps=24)
train_from(weights_only, *data, steps=12)


def identical(one, other):
    return all(
        torch.equal(a, b) for a, b in zip(one.network.state_dict().values(), other.network.state_dict().values())
    )


claim("04.resume", "the resumed training ends at the identical network, to the last bit", identical(resumed, whole))
claim("04.weights-are-not-enough", "resumed from the weights alone, it does not", not identical(weights_only, whole))
torch.set_num_threads(threads)
folder.cleanup()

# %% [markdown]
# ## On a GPU: ResNet-50 at full size
#
# The loop is the same on a device; four things make it fast there: a batch that fills it, channels-last, `bfloat16` arithmetic, with numbers of 16 bits in place of 32, under `torch.autocast` (mixed precision, 混合精度: the weights stay in float32), and `torch.compile`, which joins small operations into larger ones. We measure a ResNet-50 at 224 px, with random weights, because speed does not depend on their values.
# To judge images per second one needs the work in an image: a forward pass is about 4.1 billion multiply-adds, each of them two operations, so 8.2 GFLOP (billions of floating-point operations). Training costs about three times that: the backward pass computes two gradients a layer, for its input and for its weights, each about as dear as the forward pass. PyTorch counts it for us. The yardstick is measured on the spot: one large matrix product in `bfloat16`.

# %% tags=["gpu", "nbval-ignore-output"]
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet18, resnet50

section = gpu(on_cpu=gpu_on_cpu)
make = section.size(resnet50, resnet18)
pixels_wide, batch_size, repeats = section.size(224, 64), section.size(256, 2), section.size(20, 1)


def wait():
    if section.device == "cuda":
        torch.cuda.synchronize()


def seconds(work):
    for _ in range(section.size(5, 1)):
        work()  # warms up: kernels are chosen, graphs compiled
    wait()
    begun = time.perf_counter()
    for _ in range(repeats):
        work()
    wait()
    return (time.perf_counter() - begun) / repeats


# %% tags=["gpu", "nbval-ignore-output"]
def large_product():
    side = section.size(8192, 256)
    a, b = torch.randn(2, side, side, device=section.device, dtype=torch.bfloat16)
    return 2 * side**3 / seconds(lambda: a @ b)


def flops(train):
    network, picture = make(weights=None), torch.randn(2, 3, pixels_wide, pixels_wide)
    with FlopCounterMode(display=False) as counter:
        loss = network.train(train)(picture).sum()
        if train:
            loss.backward()
    return counter.get_total_flops() / 2


if section:
    peak, work = large_product(), {"forward": flops(False), "train": flops(True)}
    record_table("04.gpu.work", {name: {"GFLOP an image": [n / 1e9]} for name, n in work.items()}, digits=2)
    record("04.gpu.matrix-peak", peak / 1e12, unit="TFLOP/s", digits=2)


# %% tags=["gpu", "nbval-ignore-output"]
def measure(kind, half, compiled):
    network = make(weights=None).to(section.device, memory_format=torch.channels_last).train(kind == "train")
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    model = torch.compile(network) if compiled else network
    pictures = torch.randn(batch_size, 3, pixels_wide, pixels_wide, device=section.device)
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    answers = torch.randint(1000, (batch_size,), device=section.device)

    def step():
        with torch.autocast(section.device, torch.bfloat16, enabled=half), torch.set_grad_enabled(kind == "train"):
            logits = model(pictures)
            loss = F.cross_entropy(logits, answers)
        if kind == "train":
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    if section.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    rate = batch_size / seconds(step)
    return rate, torch.cuda.max_memory_allocated() / 2**30 if section.device == "cuda" else float("nan")


# %% tags=["gpu", "nbval-ignore-output"]
if section:
    settings = {"float32": (False, False), "bf16": (True, False)}
    settings |= section.size({"bf16, compiled": (True, True)}, {})
    found = {kind: {name: measure(kind, *how) for name, how in settings.items()} for kind in work}
    speed = {kind: {name: [found[kind][name][0]] for name in settings} for kind in work}
    share = {kind: {name: [found[kind][name][0] * work[kind] / peak] for name in settings} for kind in work}
    record_table("04.gpu.throughput", speed, corner=make.__name__, unit="images/s", digits=0)
    record_table("04.gpu.share-of-peak", share, corner="share of the bf16 matrix peak")
    if section.device == "cuda":
        memory = {kind: {name: [found[kind][name][1]] for name in settings} for kind in work}
        record_table("04.gpu.peak-memory", memory, corner="peak memory", unit="GiB", digits=1)

# %% [markdown]
# On a CPU the cells run at a token size, a ResNet-18 at 64 px and two images, without `torch.compile`, which would take over half a minute there and gain nothing. No figure from a real device is recorded beside this lesson yet.
#
# ## What to take away
#
# - The loop is short; what makes it right is around it: validation for choices, a *copy* of the best weights, modes, one test.
# - With ten examples a class, which parameters train mattered little here once each policy had its own rate; training from scratch was far behind in the same number of steps.
# - `requires_grad=False` freezes parameters. Batch norm's statistics need `eval()` as well.
# - A file for use holds weights, class names and preprocessing; a file to resume from holds everything that the next step depends on.
#
# > **Mistakes box.** *Calling `network.train()` on a frozen backbone.* *Keeping `state_dict()` as the best network.* *Giving a random `v2` transform a whole batch.* *Comparing policies at one learning rate.* *Resuming from weights alone and calling it the same run.*
# > *Forgetting `network.eval()` before predicting.* *Softmax before `F.cross_entropy`.*
#
# **A question left open.** The head still learns at the highest rate of the table; the whole network does not bear it. Could each part have its own rate, in one training? (Lesson 04b; the lab of chapter 04 lets you try.)
#
# **Sources.** J. Howard and S. Ruder, *Universal Language Model Fine-tuning for Text Classification*, ACL 2018 (gradual unfreezing) · I. Loshchilov and F. Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019 (AdamW) · E. Ben Zaken et al., *BitFit*, ACL 2022 (biases only) · J. Frankle et al., *Training BatchNorm and Only BatchNorm*, ICLR 2021 · S. Ioffe
# and C. Szegedy, *Batch Normalization*, ICML 2015 · K. He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016 (ResNet-50) · PyTorch issue 86590 (frozen layers and batch norm).
