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
# # 04d · Heads that fit the task, and a search that knows its price
#
# **A question.** Somebody hands you GlyphNet, a small convolutional network that was pre-trained on letters, and three tasks. Which digit is this? Which digits are on this strip, on which there are two? By how many degrees is this digit turned? The backbone (all below the last layer) stays; what must change in the head, in the loss and in the *shapes*? And then: of the dozen settings that you could
# try, which does a machine find with sixteen trials, and how much of its best score is luck?
#
# By the end of this lesson you can
#
# - give a network a linear, an MLP or a cosine head (任务头), and say which is worth it on few labels;
# - build a multi-label head (多标签) and a regression head (回归), with the loss, the shapes and the threshold that belong to each;
# - let Optuna search a few hyper-parameters (超参数) on validation rows, with a fixed budget;
# - measure the winner's curse, and what the search costs in labels.
#
# *About 30 minutes of reading; about a minute of computing. It stands alone; [04](04_fine_tuning_pytorch.ipynb) writes the training loop, [04c](04c_lora_and_policies.ipynb) the freezing policies.*

# %% tags=["parameters"]
profile = "quick"  # type: str
seed = 0  # type: int
draws = 4  # type: int
steps = 25  # type: int
batch = 10  # type: int
trials = 16  # type: int

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from workbook.lesson import begin, claim, record_table
from workbook.plotting import COLOURS
from workbook.statistics import paired_difference

defaults = (draws, steps, batch, trials) == (4, 25, 10, 16)
begin("torch", profile=profile, seed=seed, scope=profile == "quick" and defaults)
if profile != "quick":
    raise NotImplementedError("this lesson runs at profile = 'quick'; its chapter's photographs are in 04g")

# %% [markdown]
# ## One class: how much head does a frozen network need?
#
# The task: handwritten digits laid over pieces of photographs, $32 \times 32$ pixels. GlyphNet is frozen. Its 128 features (特征) are computed once and brought to one length, so that a head trains in a tenth of a second. Three heads, $h$ being the features:
#
# - **linear**: $z = W h + b$;
# - **MLP**: one hidden layer of 64 rectified units, nine thousand parameters;
# - **cosine** (余弦任务头): $z_c = s \cos(w_c, h)$, with one learned scale $s$. Lengths no longer count, so no class can win by a long weight vector. Without $s$ the logits lie in $[-1, 1]$, and ten classes could never get beyond a probability of $e / (e + 9 e^{-1}) \approx 0.45$.
#
# **Predict:** which head wins with one example a class, and which with twenty?

# %%
from functools import cache as remember

from data_scripts.photo_digits import load_photo_digits
from data_scripts.pretrained_torch import load_glyphnet
from data_scripts.task import sample_k_shot
from workbook.methods.torch.heads import CosineHead, fit_head, mlp_head
from workbook.methods.torch.training import accuracy, as_images, extract_features, fit

task = load_photo_digits()
images, labels = as_images(task.inputs), torch.from_numpy(task.labels)


def cache(pictures):
    return 128**0.5 * F.normalize(extract_features(load_glyphnet(), pictures))


features = cache(images)
HEADS = {"linear": lambda: nn.Linear(128, 10), "MLP": lambda: mlp_head(128, 10), "cosine": lambda: CosineHead(128, 10)}


# %%
class CosineByHand(nn.Module):
    def __init__(self, weight, scale):
        super().__init__()
        self.weight, self.scale = weight, scale

    def forward(self, h):
        lengths = h.norm(dim=1, keepdim=True) * self.weight.norm(dim=1)
        return self.scale * (h @ self.weight.T) / lengths


kept = CosineHead(128, 10)
gap = kept(features[:9]) - CosineByHand(kept.weight, kept.log_scale.exp())(features[:9])
claim("04d.cosine-agrees", "the kept cosine head agrees with the formula, to 1e-4", bool(gap.abs().max() < 1e-4))

# %%
SEARCH = (1000, 1001)  # draws on which settings are chosen, by validation rows; none of them is reported
HEAD_RATES = (3e-3, 1e-2, 3e-2)
RATES = (3e-3, 1e-2, 3e-2)


def frozen(name, k, draw, rate, rows):
    torch.manual_seed(draw)
    few = sample_k_shot(task, k, seed=draw)
    head = fit_head(HEADS[name](), features[few], labels[few], criterion=F.cross_entropy, learning_rate=rate)
    with torch.inference_mode():
        return (head(features[rows]).argmax(1) == labels[rows]).double().mean().item()


def best(score, candidates):
    return max(candidates, key=lambda c: np.mean([score(draw, c) for draw in SEARCH]))


table = {}
for name in HEADS:
    for k in (1, 20):
        rate = best(lambda draw, r, name=name, k=k: frozen(name, k, draw, r, task.validation), HEAD_RATES)
        found = [frozen(name, k, draw, rate, task.test) for draw in range(6)]
        table.setdefault(name, {}).update({f"k={k}": found})
record_table("04d.frozen-heads", table, corner="head on frozen features")

# %%
gaps = {
    f"{name} − linear": {k: np.subtract(table[name][k], table["linear"][k]) for k in table[name]}
    for name in ("MLP", "cosine")
}
record_table("04d.frozen-differences", gaps, corner="paired difference")
means = [np.mean(table[name]["k=20"]) for name in HEADS]
claim(
    "04d.heads-tie",
    "with twenty examples a class, the three heads on frozen features lie within two points of one another",
    bool(np.ptp(means) < 0.02),
)

# %% [markdown]
# With twenty examples a class the three cannot be told apart, and even with one the hidden layer neither over-fits nor helps by more than a point or two: **on these good features the head hardly matters**, and the linear one has the fewest settings to get wrong. (As all features had been brought to one length, the cosine head differed only in its weights' lengths, its scale and the missing bias.) A cosine head earns its place where classes have very unequal numbers of examples, or are
# added later (a new row of $W$ on the same scale); neither is the case here. (We compared heads on frozen features only; fine-tuned, the start of the head matters more than its kind: lesson [04b](04b_rates_and_priors.ipynb).)
#
# ## Several labels at once
#
# Now a strip with two digits, $32 \times 64$ pixels. GlyphNet is convolutional up to its average over all places, so it takes the wider picture as it is. The answer is no longer one class of ten but a *set*. So: ten outputs, each a yes-or-no question of its own, $p_c = \sigma(z_c)$; targets of zeros and ones in the same shape; and the loss
#
# $$\ell = -\frac{1}{K} \sum_{c} \bigl[ y_c \ln \sigma(z_c) + (1 - y_c) \ln (1 - \sigma(z_c)) \bigr], \qquad K = 10.$$
#
# Softmax would be wrong: its probabilities share one unit among the classes, so two digits that are both surely there would get a half each.

# %%
from data_scripts.handwriting import load_handwriting
from workbook.methods.torch.heads import f1_score, multi_hot, multi_label_loss, predict_labels

clean = load_handwriting()


def strips(rows, count, seed):
    left, right = np.random.default_rng(seed).choice(rows, (2, count))
    pictures = as_images(np.concatenate([clean.inputs[left], clean.inputs[right]], axis=2))
    return pictures, multi_hot(list(zip(clean.labels[left], clean.labels[right])), 10)


strip_images, strip_targets = strips(sample_k_shot(clean, 10, seed=0), 100, seed=0)
print("images", tuple(strip_images.shape), "features", tuple(cache(strip_images[:2]).shape))
print("targets", tuple(strip_targets.shape), strip_targets.dtype)
figure, axes = plt.subplots(1, 5, figsize=(10, 1.5))
for axis, picture, target in zip(axes, strip_images, strip_targets):
    axis.imshow(picture[0])
    axis.set(title=", ".join(str(d) for d in target.nonzero()[:, 0].tolist()), xticks=[], yticks=[])

# %% [markdown]
# *Five strips with two handwritten digits each; above each the set of its digits.*
#
# The loss by hand and as PyTorch has it, which never forms $\ln \sigma(z)$ and so cannot overflow. `multi_label_loss` is the same, and refuses other shapes and whole numbers:

# %%
logits = torch.randn(100, 10)
p = torch.sigmoid(logits)
by_hand = -(strip_targets * p.log() + (1 - strip_targets) * (1 - p).log()).mean()
kept = multi_label_loss(logits, strip_targets)
claim("04d.multi-label-loss", "the loss by hand agrees with the kept one, to 1e-5", bool(abs(by_hand - kept) < 1e-5))
try:
    multi_label_loss(logits, strip_targets.argmax(1))
except ValueError as refusal:
    print(refusal)

# %% [markdown]
# A hundred training strips, made of ten examples a class. Frozen features with a linear head; everything fine-tuned; the nearest training strip in pixels; and the empty answer, 'no digit at all'. The *exact match* asks for the whole set; F1 is $2\,TP / (2\,TP + FP + FN)$, from the counts of true positives, false positives and false negatives over all labels.

# %%
held = {"validation": strips(clean.validation, 150, seed=1), "test": strips(clean.test, 300, seed=2)}
held_features = {name: cache(pictures) for name, (pictures, _) in held.items()}


@remember
def training_strips(draw):
    pictures, targets = strips(sample_k_shot(clean, 10, seed=draw), 100, seed=draw)
    return pictures, targets, cache(pictures)


def strip_logits(arm, draw, rate, part):
    torch.manual_seed(draw)
    pictures, targets, seen = training_strips(draw)
    if arm == "nearest strip in pixels":
        near = torch.cdist(held[part][0].flatten(1), pictures.flatten(1)).argmin(1)
        return 2 * targets[near] - 1
    if arm == "frozen, linear head":
        head = fit_head(nn.Linear(128, 10), seen, targets, criterion=multi_label_loss, learning_rate=rate)
        with torch.inference_mode():
            return head(held_features[part])
    network = load_glyphnet()
    network.head = nn.Linear(128, 10)
    settings = {"steps": steps, "batch": batch, "learning_rate": rate, "seed": draw}
    fit(network, pictures, targets, criterion=multi_label_loss, **settings)
    with torch.inference_mode():
        return torch.cat([network(some) for some in held[part][0].split(100)])


# %%
CANDIDATES = {"nearest strip in pixels": (0.0,), "frozen, linear head": HEAD_RATES, "fine-tuned": RATES}
truth, table, found = held["test"][1], {}, {}
for arm, rates in CANDIDATES.items():
    rate = best(
        lambda d, r, arm=arm: f1_score(strip_logits(arm, d, r, "validation") >= 0, held["validation"][1]), rates
    )
    found[arm] = [strip_logits(arm, draw, rate, "test") for draw in range(draws)]
    guesses = [predict_labels(logits) for logits in found[arm]]
    table[arm] = {"chosen rate": [rate]} if rate else {}
    table[arm] |= {
        "labels right": [(g == truth.bool()).double().mean().item() for g in guesses],
        "F1": [f1_score(g, truth) for g in guesses],
        "exact match": [(g == truth.bool()).all(1).double().mean().item() for g in guesses],
    }
nothing = torch.zeros_like(truth)
table["the empty answer"] = {
    "labels right": [(nothing == truth).double().mean().item()],
    "F1": [0.0],
    "exact match": [0.0],
}
record_table("04d.strips", table, corner="two digits on a strip")
frozen_f1, pixel_f1, tuned_f1 = (
    table[arm]["F1"] for arm in ("frozen, linear head", "nearest strip in pixels", "fine-tuned")
)
claim(
    "04d.frozen-reads-strips",
    "on strips the frozen features beat pixels in every draw, and twenty-five steps of fine-tuning on the mean",
    bool(np.min(np.subtract(frozen_f1, pixel_f1)) > 0 and np.mean(frozen_f1) > np.mean(tuned_f1) + 0.03),
)

# %% [markdown]
# *Labels right* is the number to distrust: the empty answer gets four labels in five right, because most of ten labels are absent from any strip. F1 gives it nothing. The frozen features do well, although they are averages over *both* digits. Fine-tuning everything from a random head, twenty-five steps of ten strips, does worse than leaving the
# features alone, whose head gets 150 cheap steps of a hundred; more steps or a head fitted first (04b) would be the next thing to try.
#
# ### The threshold belongs to the loss
#
# The network gives logits. A probability of one half is $z = \ln (0.5 / 0.5) = 0$; who cuts *logits* at 0.5 asks for a probability of $\sigma(0.5) \approx 0.62$. Keras's `BinaryAccuracy()` does just that with logits unless told `threshold=0`. **Predict** what it costs.

# %%
thresholds = np.linspace(-4, 4, 33)
figure, axis = plt.subplots(figsize=(6.5, 3.6))
for arm, colour in {"frozen, linear head": COLOURS["blue"], "fine-tuned": COLOURS["green"]}.items():
    curve = [np.mean([f1_score(z >= t, truth) for z in found[arm]]) for t in thresholds]
    axis.plot(thresholds, curve, color=colour, label=arm)
axis.axvline(0, color=COLOURS["black"], lw=1, label="logit 0 (probability 0.5)")
axis.axvline(0.5, color=COLOURS["vermilion"], ls="--", lw=1, label="logit 0.5 (the mistake)")
axis.set(title="F1 against the threshold on the logits", xlabel="threshold", ylabel="F1 on test strips")
_ = axis.legend(fontsize=9)

# %% [markdown]
# *F1 against the threshold: two hills with their tops a little to the left of zero; the mistaken line at one half stands on the right slope of both.*

# %%
rows, falls = {}, []
for arm in ("frozen, linear head", "fine-tuned"):
    recall = {t: np.array([(truth[z >= t].sum() / truth.sum()).item() for z in found[arm]]) for t in (0.0, 0.5)}
    exact = {t: [((z >= t) == truth.bool()).all(1).double().mean().item() for z in found[arm]] for t in (0.0, 0.5)}
    falls.append(recall[0.0] - recall[0.5])
    rows[arm] = {"recall lost": falls[-1], "exact match lost": np.subtract(exact[0.0], exact[0.5])}
record_table("04d.threshold", rows, corner="logits cut at 0.5 instead of 0")
claim(
    "04d.threshold-mistake",
    "cutting logits at a half in place of zero loses recall in every draw, for both heads",
    bool(np.min(falls) > 0),
)

# %% [markdown]
# Recall falls by more than precision gains, and the exact matches fall on the mean. For F1 the best cut lies *below* zero, and not by chance: with true probabilities it is at half the best F1, so never above a probability of one half (Lipton et al. 2014). The mistake errs on the wrong side. (A cut other than zero is one more setting, to be chosen on validation rows. The figure shows test rows, and nothing was chosen on it.)
#
# ## A number
#
# Third task: every digit is turned by an angle between −45° and 45°; say which. One output, and a loss that knows distances. The baselines that hurt: 0°, the middle of the range, and the mean angle of the nearest training pictures in pixels. We report the mean absolute error in degrees (MAE) and $R^2 = 1 - \sum (y - \hat y)^2 / \sum (y - \bar y)^2$ ($\hat y$ predicted, $\bar y$ the mean):
# the share of the variance that is explained.

# %%
from workbook.methods.torch.heads import Standardised, r_squared, regression_loss


def turned(rows, seed):
    degrees = torch.from_numpy(np.random.default_rng(seed).uniform(-45, 45, len(rows))).float()[:, None]
    c, s = torch.deg2rad(degrees[:, 0]).cos(), torch.deg2rad(degrees[:, 0]).sin()
    matrices = torch.stack([c, -s, 0 * c, s, c, 0 * c], 1).reshape(-1, 2, 3)
    upright = as_images(clean.inputs[rows])
    grid = F.affine_grid(matrices, upright.shape, align_corners=False)
    return F.grid_sample(upright, grid, align_corners=False).contiguous(memory_format=torch.channels_last), degrees


rotated = {"validation": turned(clean.validation, 1), "test": turned(clean.test, 2)}
rotated_features = {name: cache(pictures) for name, (pictures, _) in rotated.items()}
figure, axes = plt.subplots(1, 8, figsize=(10, 1.6))
for axis, picture, angle in zip(axes, rotated["test"][0], rotated["test"][1]):
    axis.imshow(picture[0])
    axis.set(title=f"{angle.item():.0f}°", xticks=[], yticks=[])

# %% [markdown]
# *Eight digits, each turned by the angle above it.*
#
# Two ways to get it wrong, and both run without a murmur or nearly so. **Shapes**: outputs $(N, 1)$ against targets $(N,)$ are *broadcast* to $N \times N$; every output is compared with every target, and the best answer is the same mean for all. **Units**: targets in degrees, of deviation 26, from a head that starts near zero and moves by the learning
# rate a step. The cure: standardise the targets by the *training* rows' mean and deviation, and turn predictions back.


# %%
def broadcast_loss(outputs, targets):
    return (outputs - targets[:, 0]).square().mean()  # (N, 1) − (N,): N × N differences


@remember
def training_angles(draw):
    pictures, angles = turned(sample_k_shot(clean, 10, seed=draw), draw)
    return pictures, angles, cache(pictures)


def regress(arm, draw, setting, part, spoil=0.0, huber=None):
    torch.manual_seed(draw)
    pictures, angles, seen = training_angles(draw)
    wrong = torch.rand(len(angles), 1) < spoil
    angles = torch.where(wrong, -3 * angles, angles)
    if arm == "nearest in pixels":
        near = torch.cdist(rotated[part][0].flatten(1), pictures.flatten(1)).topk(setting, largest=False).indices
        return angles[near, 0].mean(1, keepdim=True)
    units = Standardised(0.0, 1.0) if "degrees" in arm else Standardised.of(angles)
    loss = broadcast_loss if "broadcast" in arm else regression_loss(huber)
    targets, settings = units.encode(angles), {"criterion": loss, "learning_rate": setting}
    if arm == "fine-tuned":
        network = load_glyphnet()
        network.head = nn.Linear(128, 1)
        fit(network, pictures, targets, steps=steps, batch=batch, seed=draw, **settings)
        with torch.inference_mode():
            return units.decode(torch.cat([network(some) for some in rotated[part][0].split(256)]))
    head = fit_head(nn.Linear(128, 1), seen, targets, **settings)
    with torch.inference_mode():
        return units.decode(head(rotated_features[part]))


# %%
ARMS = {"nearest in pixels": (1, 3, 10), "frozen, linear head": HEAD_RATES, "fine-tuned": RATES}
ARMS |= {"frozen, in degrees": HEAD_RATES, "frozen, broadcast": HEAD_RATES}
truth, known, table, chosen = rotated["test"][1], rotated["validation"][1], {}, {}
for arm, settings in ARMS.items():
    chosen[arm] = best(lambda d, s, arm=arm: r_squared(regress(arm, d, s, "validation"), known), settings)
    guesses = [regress(arm, draw, chosen[arm], "test") for draw in range(draws)]
    errors = [(guess - truth).abs().mean().item() for guess in guesses]
    table[arm] = {"R²": [r_squared(guess, truth) for guess in guesses], "MAE, degrees": errors}
table["always 0°"] = {"R²": [r_squared(0 * truth, truth)], "MAE, degrees": [truth.abs().mean().item()]}
record_table("04d.angle", table, corner="turned digits", digits=2)

# %% [markdown]
# Read the table from its first row. **The nearest pictures in pixels win**, clearly, against frozen features and against fine-tuning. That is what a baseline is for. And one can see why it is so here: two digits that are turned alike overlap in pixels (and the turned frame cuts strokes along its edges, which gives the angle away), while GlyphNet was trained to give a letter the same name *however it is bent*, and averages
# over all places in the end. The source had no need to keep the angle; chapter 01 calls that the question to ask before any transfer. (How far more steps, or a rate below the list, would take the fine-tuned network we do not know.)
#
# The two mistakes are there too: broadcasting learns the mean and nothing else; degrees cost several points of $R^2$ at the same rates. (They took the largest on offer; a larger one might win back a part.)

# %%
claim(
    "04d.broadcast-learns-the-mean",
    "with broadcast shapes the frozen head explains less than a tenth of the variance in every draw",
    bool(max(table["frozen, broadcast"]["R²"]) < 0.1),
)
claim(
    "04d.standardise",
    "standardised targets explain more than targets in degrees, at the same candidate rates, in every draw",
    bool(np.min(np.subtract(table["frozen, linear head"]["R²"], table["frozen, in degrees"]["R²"])) > 0),
)
ours = max(np.mean(table[arm]["R²"]) for arm in ("frozen, linear head", "fine-tuned"))
claim(
    "04d.pixels-read-angles",
    "the nearest pictures in pixels read the angle better than frozen features and fine-tuning, on the mean",
    bool(np.mean(table["nearest in pixels"]["R²"]) > ours + 0.02),
)

# %% [markdown]
# **Huber's loss** is half the square up to $\delta$ and linear beyond, so one wrong target pulls with bounded force. Let one training angle in ten be mistyped (wrong sign, three times too large):

# %%
arm, rows = "frozen, linear head", {}
for name, huber in {"squared error": None, "Huber, δ = 0.3": 0.3}.items():
    for share in (0.0, 0.1):
        guesses = [regress(arm, draw, chosen[arm], "test", spoil=share, huber=huber) for draw in range(8)]
        rows.setdefault(name, {})[f"{share:.0%} mistyped"] = [(g - truth).abs().mean().item() for g in guesses]
squared, robust = rows.values()
rows["squared error − Huber"] = {share: np.subtract(squared[share], robust[share]) for share in squared}
record_table("04d.huber", rows, corner="MAE in degrees", digits=2)
gain = paired_difference(squared["10% mistyped"], robust["10% mistyped"])
claim(
    "04d.huber-bounds-the-harm",
    "with mistyped angles Huber's loss errs less, interval clear of zero",
    bool(gain.low > 0),
)

# %% [markdown]
# With clean targets the two losses cannot be told apart; with one in ten mistyped, the squared error nearly doubles its error and Huber's loses much less. It is cheap insurance where targets are typed by hand. $\delta$ counts in *standardised* units, another reason to standardise.
#
# ## A search with a budget
#
# Back to digits over photographs, five a class. Four hyper-parameters might matter (rate, weight decay, what is frozen, steps). Steps are fixed by our budget (remember this one), so three are searched: four rates, two decays, four policies of lesson 04c: train the `head` alone, or also batch norm's scales and offsets (`norm`), or also the `last-block`, or all (`full`). **Optuna** proposes settings one after the other. Its `TPESampler` (tree-structured Parzen estimator, a kind of
# Bayesian optimisation, 贝叶斯优化) tries some at random, then models which values the better trials had, and proposes such values. Rules: one search draw, validation rows only, `trials` trials, a seed.

# %%
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it looks for a progress bar that no cell here needs
    import optuna

from workbook.methods.torch.policies import apply_policy

optuna.logging.set_verbosity(optuna.logging.ERROR)
GRID = {"rate": (3e-3, 1e-2, 3e-2, 1e-1), "decay": (0.01, 1.0), "policy": ("head", "norm", "last-block", "full")}


def learn(draw, rate, decay, policy, rows=None, longer=1):
    torch.manual_seed(draw)
    few = sample_k_shot(task, 5, seed=draw) if rows is None else rows
    network = load_glyphnet()
    network.head = nn.Linear(128, 10)
    apply_policy(network, policy)
    settings = {"steps": longer * steps, "batch": batch, "learning_rate": rate, "weight_decay": decay, "seed": draw}
    return fit(network, images[few], labels[few], **settings)


@remember
def answers(rate, decay, policy):
    network, rows = learn(SEARCH[0], rate, decay, policy), task.validation
    with torch.inference_mode():
        return (torch.cat([network(some) for some in images[rows].split(256)]).argmax(1) == labels[rows]).numpy()


# %%
def objective(trial):
    places = {name: trial.suggest_int(name, 0, len(values) - 1) for name, values in GRID.items() if name != "policy"}
    setting = {name: GRID[name][place] for name, place in places.items()}
    return answers(**setting, policy=trial.suggest_categorical("policy", GRID["policy"])).mean()


study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=6))
study.optimize(objective, n_trials=trials)
best_trial = {"validation accuracy": [study.best_value], "found at trial": [study.best_trial.number + 1]}
record_table("04d.study", {"one search": best_trial | {"rate": [GRID["rate"][study.best_params["rate"]]]}})

# %% [markdown]
# The search settled on the largest rate on offer, which suits a head trained alone. (Places on the grid in place of a continuous range let the lesson remember repeated trials; `suggest_float(..., log=True)` is what you would write for a rate.) Each of the thirty-two settings takes half a second. So for once we can afford what a search is there to avoid, and train *all of them*. Then we know the best, and can
# run many searches for nothing.

# %%
from itertools import product

settings = list(product(*GRID.values()))
right = np.stack([answers(*setting) for setting in settings])  # (settings, validation rows)
scores = right.mean(axis=1)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.2))
for axis, decay in zip(axes, GRID["decay"]):
    grid = np.array([[answers(r, decay, p).mean() for r in GRID["rate"]] for p in GRID["policy"]])
    picture = axis.imshow(grid, cmap="viridis", vmin=0.5, vmax=1, aspect="auto")
    axis.set(
        title=f"weight decay {decay:g}", xlabel="peak rate", xticks=range(len(GRID["rate"])), xticklabels=GRID["rate"]
    )
    axis.set(yticks=range(4), yticklabels=GRID["policy"])
    axis.grid(False)
_ = figure.colorbar(picture, ax=axes, label="validation accuracy")

# %% [markdown]
# *Two heat maps of validation accuracy, policies against rates, one for each weight decay. They look alike, but that high rates do more harm with strong decay. A band of good settings runs from `head` at all but the lowest rate to `full` at the second; dark are `head` and `norm` at the lowest rate, and `full` at the two highest (colours end at 0.5).*
#
# The picture is worth a search by itself: **the right rate depends on what is trained.** A head alone likes rates that wreck a whole network. Whoever compares policies at one rate compares rates as well.


# %%
def search_with(sampler):
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=trials)
    return study


ways = {
    "random": lambda s: optuna.samplers.RandomSampler(seed=s),
    "TPE": lambda s: optuna.samplers.TPESampler(seed=s, n_startup_trials=6),
}
studies = {name: [search_with(sampler(s)) for s in range(10)] for name, sampler in ways.items()}
values_of = {name: [[trial.value for trial in study.trials] for study in found] for name, found in studies.items()}
runs = {name: np.maximum.accumulate(values, axis=1) for name, values in values_of.items()}
figure, axis = plt.subplots(figsize=(6.5, 3.6))
for (name, values), colour in zip(runs.items(), (COLOURS["orange"], COLOURS["blue"])):
    axis.plot(range(1, trials + 1), values.mean(0), color=colour, label=name)
    axis.fill_between(range(1, trials + 1), *np.quantile(values, (0.1, 0.9), axis=0), color=colour, alpha=0.15)
axis.axhline(scores.max(), color=COLOURS["black"], lw=1, label="best of all thirty-two")
axis.set(title="Ten searches of each kind", xlabel="trial", ylabel="best validation accuracy so far")
_ = axis.legend(loc="lower right")

# %%
ends = {name: values[:, -1] for name, values in runs.items()}
rows = {name: {"best found": values, "short of the best": scores.max() - values} for name, values in ends.items()}
record_table("04d.searches", rows, corner=f"after {trials} trials")
record_table("04d.tpe-gain", {"TPE − random": {"best found": ends["TPE"] - ends["random"]}}, corner="ten seeds")
claim(
    "04d.tpe-ties-with-random",
    "on this space TPE and random search end within two points of each other, on the mean of ten searches",
    bool(abs(ends["TPE"].mean() - ends["random"].mean()) < 0.02),
)
claim(
    "04d.sixteen-trials-suffice",
    "sixteen trials of either kind end within three points of the best of all thirty-two, on the mean of ten searches",
    bool(max(scores.max() - values.mean() for values in ends.values()) < 0.03),
)

# %% [markdown]
# *Best score so far against the trial, mean and the middle eight tenths of ten searches: both curves rise steeply over the first few trials and then creep, close together, to just below the best.*
#
# Half a dozen trials were nearly enough, and the model behind TPE had little left to find: its first six trials are random draws (the same as random search's), and a broad plateau is hit by chance. Nor is this a hard space: sixteen random trials visit two fifths of its thirty-two settings. Model-based search earns its keep with more dimensions, more trials and sharper optima. Random search (Bergstra and Bengio 2012) is the baseline
# that every clever search should be shown beside.
#
# ### Which hyper-parameter mattered?
#
# With the full table this needs no estimate: the variance of the thirty-two scores that each hyper-parameter explains alone, by the means over all others.

# %%
cube = scores.reshape([len(values) for values in GRID.values()])
alone = {
    name: cube.mean(axis=tuple(a for a in range(3) if a != axis)).var() / cube.var() for axis, name in enumerate(GRID)
}
alone["together only"] = 1 - sum(alone.values())
record_table("04d.importance", {"share of variance": {name: [share] for name, share in alone.items()}}, digits=2)

# %% [markdown]
# Weight decay alone explains next to nothing. Rate and policy explain a part each, and the largest share belongs to *combinations*: of rate and policy above all, as the heat maps show; the rest involve decay. `optuna.importance` estimates such shares from the trials of one study; from sixteen trials, read it as a hint.
#
# ### The winner's curse
#
# The best of sixteen noisy scores is best partly because its noise was kind (赢家诅咒). How much? Pretend that we have only $v$ validation rows: draw them from the 269, pick the best of sixteen random settings on them, and score the winner on the *other* validation rows, two thousand times. No test row is touched.

# %%
chance = np.random.default_rng(seed)


def curse(v):
    rows = chance.permutation(right.shape[1])
    some = chance.choice(len(settings), trials, replace=False)
    seen, unseen = right[some][:, rows[:v]].mean(1), right[some][:, rows[v:]].mean(1)
    return seen.max() - unseen[seen.argmax()]


optimism = {v: np.mean([curse(v) for _ in range(2000)]) for v in (20, 50, 100)}
rows = {"the winner's score, minus its score on other rows": {f"{v} rows": [o] for v, o in optimism.items()}}
record_table("04d.curse", rows, corner="chosen on")
claim(
    "04d.winners-curse",
    "chosen on twenty validation rows the winner is more than two points worse than it looked; on a hundred, less so",
    bool(optimism[20] > 0.02 and optimism[100] < optimism[20] - 0.01),
)

# %% [markdown]
# The fewer rows, the kinder the noise of the winner. The flattery is there even with a hundred rows, so **the best validation score of a search is never the result**; it has to be scored again, on rows that chose nothing.
#
# ### Was it worth it?
#
# Fresh draws, test rows, once: the settings that the first three searches of each kind found, and a plain default (`full`, rate 0.003, decay 0.01). Beside them three baselines: the linear probe; the default with three times the steps (a fifth of the search's); and what the search's *269 validation labels* buy when they are trained on
# too, at the same setting and length.


# %%
def setting_of(study):
    places = study.best_params
    return GRID["rate"][places["rate"]], GRID["decay"][places["decay"]], places["policy"]


@remember
def on_test(draw, *setting):
    return accuracy(learn(draw, *setting), images[task.test], labels[task.test])


picks = {f"{name}, seed {s}": studies[name][s] for name in ("TPE", "random") for s in range(3)}
default, final = (3e-3, 0.01, "full"), {}
for name, pick in picks.items():
    rate, decay, policy = setting_of(pick)
    final[name] = {"validation, search draw": [pick.best_value], "test, fresh draws": []}
    final[name]["test, fresh draws"] = [on_test(draw, rate, decay, policy) for draw in range(draws)]
    final[name] |= {"rate": [rate], "decay": [decay], "policy (0 head … 3 full)": [GRID["policy"].index(policy)]}
final["the default"] = {"test, fresh draws": [on_test(draw, *default) for draw in range(draws)]}

# %%
from workbook.methods.torch.learning_curve import CANDIDATES as PROBES
from workbook.methods.torch.learning_curve import Bench

bench = Bench(task, load_glyphnet, steps)
probe = [bench.run("probe", 5, draw, PROBES["probe"][0]) for draw in range(draws)]
longer = [accuracy(learn(draw, *default, longer=3), images[task.test], labels[task.test]) for draw in range(draws)]
every = [np.concatenate([sample_k_shot(task, 5, seed=draw), task.validation]) for draw in range(draws)]
networks = [learn(draw, *default, rows=rows, longer=3) for draw, rows in enumerate(every)]
more = [accuracy(network, images[task.test], labels[task.test]) for network in networks]
baselines = {"linear probe": probe, "default, 3 × steps": longer, "default, 3 × steps + validation rows": more}
final |= {name: {"test, fresh draws": found} for name, found in baselines.items()}
record_table("04d.final", final, corner="photo_digits, k = 5")

# %%
searched = np.mean(
    [final[name]["test, fresh draws"] for name in picks], axis=0
)  # over the six searches, a number a draw
rivals = {"the default": final["the default"]["test, fresh draws"], **baselines}
differences = {f"{name} − searched": {"paired": np.subtract(rival, searched)} for name, rival in rivals.items()}
differences["validation rows trained on − not, 3 × steps"] = {"paired": np.subtract(more, longer)}
record_table("04d.final-differences", differences, corner="mean of six searches")
claim(
    "04d.labels-are-worth-more",
    "training on the validation labels too beats what was searched, and the default as long without them, on the mean",
    bool(np.mean(more) - searched.mean() > 0.02 and np.mean(more) - np.mean(longer) > 0.01),
)
claim(
    "04d.search-does-not-beat-the-probe",
    "what was searched does not beat the linear probe by more than one point on the mean",
    bool(searched.mean() - np.mean(probe) < 0.01),
)

# %% [markdown]
# Five readings. *Searches that scored alike on their one draw are worth different things on fresh draws* (the six found three settings between them): the draw of fifty images is a source of luck that no number of validation rows removes. A search that has to hold for other draws must be scored on several. *Whether searching beat the default*, these draws hardly say. *The default, trained three times as long, did better* than what was searched at the fixed length: the setting that we left out of the search was the one to change. *No search beat the
# probe*, which has no policy, no schedule and next to no settings. And *the labels that chose are worth more as training rows*: at the same setting and length they add several points more, as they may, outnumbering the fifty training rows five to one.
#
# That last door is not always open: without held-out rows nobody knows how well one does. But a search is not free. Count its labels and its trainings, and give the baseline as many.
#
# ## What to take away
#
# - The head follows the task: class numbers and cross-entropy; a row of zeros and ones with one sigmoid a label; a standardised number with a squared or Huber loss. Assert that outputs and targets have *one* shape.
# - On GlyphNet's frozen features linear, MLP and cosine heads tie. Spend the effort elsewhere.
# - Logits are cut at 0, unless validation rows say otherwise. 'Labels right' flatters when labels are rare.
# - A source that was trained to ignore what you need helps little: nearest pixels read angles better.
# - A search: few hyper-parameters that interact (rate and policy), a fixed budget, validation rows, a seed, random search beside it, and a fresh score for its winner. What the search leaves out may matter most.
#
# > **Mistakes box.** *Thresholding logits at 0.5. Softmax for labels that may occur together. Sigmoid in the network and a loss that applies it again. `(N, 1)` against `(N,)`. Targets standardised with test rows. Reporting the best trial's validation score. A searched arm against an unsearched baseline. Searching on test rows.*
#
# **A question left open.** Could the validation labels do both, choose and train? (Cross-validation inside the training rows: lesson [05](05_feature_extraction.ipynb).) The lab of chapter 04 hands you a task and a budget of trials.
#
# **Sources.** S. Gidaris and N. Komodakis, *Dynamic Few-Shot Visual Learning without Forgetting*, CVPR 2018 (cosine heads) · Z. C. Lipton, C. Elkan and B. Narayanaswamy, *Optimal Thresholding of Classifiers to Maximize F1 Measure*, ECML PKDD 2014 · P. J. Huber, *Robust Estimation of a Location Parameter*, 1964 · J. Bergstra and Y. Bengio, *Random Search for Hyper-Parameter Optimization*, JMLR 2012 · J. Bergstra et al., *Algorithms for Hyper-Parameter
# Optimization*, NeurIPS 2011 (TPE) · T. Akiba et al., *Optuna*, KDD 2019.
