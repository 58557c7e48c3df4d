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
# # 08 · Distillation: what a large network's answers teach a small one
#
# **A question.** A camera reads numbers off photographs of signs. Its microcontroller has room for twenty thousand weights, a byte each. The network that reads well has fifteen times as many. You own ten labelled pictures a class, and a pile without labels. What can the large
# network tell the small one that the labels cannot, and how much accuracy comes along?
#
# By the end of this lesson you can
#
# - measure what *soft targets* hold beyond the labels;
# - derive the gradient of the distillation loss, its limit and its factor $T^2$, and write it without the usual mistakes;
# - compare a student fairly, and say where its gain came from.
#
# *About 45 minutes of reading, one of computing. Lesson [02](02_mathematics.ipynb) derives the gradient of cross-entropy, [05d](05d_imbalance_and_noise.ipynb) uses label smoothing. Notation and glossary: [reference page](README.md).*

# %% tags=["parameters"]
profile = "quick"  # type: str
seed = 0  # type: int
task = "photo_digits"  # type: str
k = 10  # type: int
draws = 3  # type: int
first_draw = 0  # type: int
steps = 160  # type: int
teacher_steps = 60  # type: int
arms = ["alone", "kd", "unlabelled"]  # type: list
search = False  # type: bool
gpu_steps = 500  # type: int
gpu_data = ""  # type: str
gpu_on_cpu = False  # type: bool

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn import functional as F

from workbook.lesson import begin, claim, gpu, record, record_table
from workbook.plotting import COLOURS

usual = task == "photo_digits" and (k, steps, teacher_steps, search) == (10, 160, 60, False) and draws >= 3
begin("torch", profile=profile, seed=seed, scope=profile == "quick" and usual)
if profile != "quick":
    raise NotImplementedError("this lesson runs at profile = 'quick'; its chapter's photographs are in 08e")


# %% [markdown]
# ## Two networks
#
# The task is photo_digits: digits over pieces of photographs. The **teacher** (教师模型) is GlyphNet, pre-trained on letters and fine-tuned on the ten labelled pictures a class. The **student** (学生模型) is the same kind of network with 8, 16 and 32 channels in place of 24, 64 and 128, and random
# weights: it has seen no letters. **Knowledge distillation** (知识蒸馏; Hinton, Vinyals and Dean 2015) trains the student on the teacher's answers. (`StudentBench` makes one for each draw of labelled rows; its steps were not tuned.)

# %%
from data_scripts.handwriting import load_handwriting
from data_scripts.photo_digits import load_photo_digits
from workbook.methods.torch.distillation import small_student
from workbook.methods.torch.distillation_table import LABELS, StudentBench

data = {"photo_digits": load_photo_digits, "handwriting": load_handwriting}[task]()
bench = StudentBench(data, k, steps=steps, teacher_steps=teacher_steps)
teacher, student = bench.teacher(first_draw), small_student(first_draw)
sizes = {"teacher": teacher, "student": student}
sizes = {name: sum(p.numel() for p in network.parameters()) for name, network in sizes.items()}
record_table("08.parameters", {"parameters": {name: [n] for name, n in sizes.items()}}, digits=0)
claim(
    "08.a-tenth",
    "the student has less than a tenth of the teacher's parameters",
    sizes["student"] * 10 < sizes["teacher"],
)

# %% [markdown]
# The student lacks the letters and the width. An opponent without training is the nearest neighbour on pixels, tuned as in chapter 01:

# %%
from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.torch.learning_curve import Bench

draw_seeds = range(first_draw, first_draw + draws)
pixel_setting = {"centred": True, "copies": 8}  # what chapter 01's search chose on photo_digits
pixels = Bench(data, load_glyphnet, steps).run_all([("pixels", k, draw, pixel_setting) for draw in draw_seeds])
first = {"nearest neighbour on pixels": pixels[:1], "teacher": [bench.run("teacher", first_draw, {}).accuracy]}
record_table("08.first", {"one draw": first}, corner="accuracy on test rows")

# %% [markdown]
# ## What a soft answer says
#
# A **hard label** (硬标签) says 'nine'. The teacher's **soft target** (软标签) says 'nine; if not, then five; surely not zero'. Hinton called what the small probabilities hold **dark knowledge** (暗知识). From the unlabelled pile, for every first choice, the picture whose second choice got most (logits divided by $T = 4$; the next section explains why):

# %%
from workbook.methods.torch.distillation import predict_logits

others = np.setdiff1d(data.train, bench.labelled(first_draw))
logits = predict_logits(teacher, bench.images[others])
soft, ranked = F.softmax(logits / 4, dim=1).numpy(), logits.argsort(dim=1, descending=True).numpy()
runner_up = soft[np.arange(len(soft)), ranked[:, 1]]
shown = [max(np.flatnonzero(ranked[:, 0] == digit), key=lambda i: runner_up[i]) for digit in np.unique(ranked[:, 0])]
figure, axes = plt.subplots(2, len(shown), figsize=(12, 3), height_ratios=[1.2, 1], squeeze=False)
for row, (top, bottom) in zip(shown, axes.T):
    top.imshow(data.inputs[others[row]])
    top.set(title=f"{ranked[row, 0]}, then {ranked[row, 1]}", xticks=[], yticks=[])
    bottom.bar(range(10), soft[row], color=COLOURS["blue"])
    bottom.set(ylim=(0, 0.35), yticks=[], xticks=[0, 3, 6, 9], xlabel="class")
axes[1, 0].set_ylabel("T = 4")
_ = figure.suptitle("The teacher's closest calls: first and second choice, softened probabilities")

# %% [markdown]
# *Ten pictures, headed by the teacher's first and second choice, with a bar chart of its softened probabilities below. One or two bars stand out; the rest are not level.*
#
# Two tests, for the teacher of every draw, on the pile (its labels serve for looking, never for training).
# *First*: where the first choice is wrong, is the second right? A blind guess would be, one time in nine. *Second*: average the log-probabilities over all pictures of a class, add both directions, and take the 45 pairs of classes. Do they rank as the digits' **shapes** do?
# Likeness of shape is measured without the teacher: minus the distance between the mean *plain* handwritten digits of two classes.

# %%
piles = {draw: np.setdiff1d(data.train, bench.labelled(draw)) for draw in draw_seeds}
answers = {first_draw: logits}
answers |= {draw: predict_logits(bench.teacher(draw), bench.images[piles[draw]]) for draw in draw_seeds[1:]}


def second_choice_right(draw):
    choices, truth = answers[draw].argsort(dim=1, descending=True).numpy(), data.labels[piles[draw]]
    wrong = choices[:, 0] != truth
    return choices[wrong, 1] == truth[wrong]


second = [second_choice_right(draw) for draw in draw_seeds]
record_table("08.second-choice", {"teachers": {"second right, where the first is wrong": [s.mean() for s in second]}})
claim(
    "08.second-choice",
    "where the teachers' first choice is wrong, the second is right more than three times as often as chance",
    bool(np.concatenate(second).mean() > 3 / 9),
)

# %%
from scipy.stats import rankdata

plain, pairs = load_handwriting(), np.triu_indices(10, 1)
ink, shown_digit = plain.rows(plain.train)
shapes = np.stack([ink[shown_digit == digit].mean(axis=0).ravel() for digit in range(10)])
likeness = -np.linalg.norm(shapes[:, None] - shapes, axis=2)


def resemblance(draw):
    log_p, truth = F.log_softmax(answers[draw] / 4, dim=1).numpy(), data.labels[piles[draw]]
    means = np.stack([log_p[truth == digit].mean(axis=0) for digit in range(10)])
    return means + means.T


def rank_correlation(matrix):
    return np.corrcoef(rankdata(matrix[pairs]), rankdata(likeness[pairs]))[0, 1]  # Spearman's


record("08.rank-correlation", [rank_correlation(resemblance(draw)) for draw in draw_seeds])

# %%
taught, chance = np.mean([resemblance(draw) for draw in draw_seeds], axis=0), np.random.default_rng(seed)
renamed = [rank_correlation(taught[np.ix_(o, o)]) for o in (chance.permutation(10) for _ in range(2000))]
claim(
    "08.dark-knowledge",
    "the teachers tend to rank pairs of digits as their shapes do: fewer than one random renaming in a hundred does as well",
    bool(np.mean(np.array(renamed) >= rank_correlation(taught)) < 0.01),
)

# %% [markdown]
# (Pairs that share a digit are not independent, so the usual p-value would be wrong; renaming at random is Mantel's test.) So the small probabilities say, imperfectly, what no single label says.
#
# ## Temperature
#
# At $T = 1$ a confident teacher hides it. The **temperature** (温度) $T$ divides the logits $z_1, \dots, z_K$ of the $K$ classes first,
# $$p_i(T) = \frac{e^{z_i / T}}{\sum_j e^{z_j / T}} .$$
# The order of the classes stays; the ratios $p_i / p_j$ become the $T$-th roots of what they were. **Predict:** which of these six would you hand to a student?

# %%
temperatures, picture = [1, 2, 4, 8, 20, 100], shown[min(4, len(shown) - 1)]
figure, axes = plt.subplots(1, 6, figsize=(12, 2.4), sharey=True)
for axis, T in zip(axes, temperatures):
    axis.bar(range(10), F.softmax(logits[picture] / T, dim=0), color=COLOURS["blue"])
    axis.set(title=f"T = {T}", xlabel="class", xticks=[0, 4, 9])
_ = axes[0].set_ylabel("probability")

# %% [markdown]
# *Bar charts of one answer at six temperatures. At T = 1 two classes hold nearly everything; with T the others rise; at T = 100 all ten are nearly level.*
#
# Too low a temperature gives a hard label again; too high a one leaves differences that are tiny, but not gone.
#
# ## The gradient
#
# From here on $z$ are the student's logits for a picture, $v$ the teacher's, $p_s = \mathrm{softmax}(z/T)$ and $p_t = \mathrm{softmax}(v/T)$. The soft loss is the divergence
# $$L_T = \mathrm{KL}(p_t \,\|\, p_s) = \sum_i p_{t,i} \log p_{t,i} - \sum_i p_{t,i} \log p_{s,i} .$$
# The first sum does not depend on $z$. In the second write $u = z/T$, so that $\log p_{s,i} = u_i - \log \sum_j e^{u_j}$. Because $\sum_i p_{t,i} = 1$, the second sum is $\sum_i p_{t,i} u_i - \log \sum_j e^{u_j}$, and
# $$\frac{\partial L_T}{\partial u_i} = -p_{t,i} + \frac{e^{u_i}}{\sum_j e^{u_j}} = p_{s,i} - p_{t,i}, \qquad \frac{\partial L_T}{\partial z_i} = \frac{\partial L_T}{\partial u_i} \cdot \frac{\partial u_i}{\partial z_i} = \frac{p_{s,i} - p_{t,i}}{T} .$$
# It is cross-entropy's $p - y$ with the teacher in place of the label, over $T$:

# %%
generator = torch.Generator().manual_seed(seed)
z, v = 3 * torch.randn(2, 200, 10, generator=generator, dtype=torch.float64)


def soft_gradient(z, v, T):
    z = z.clone().requires_grad_()
    F.kl_div(F.log_softmax(z / T, 1), F.log_softmax(v / T, 1), log_target=True, reduction="sum").backward()
    return z.grad


errors = [(soft_gradient(z, v, T) - (F.softmax(z / T, 1) - F.softmax(v / T, 1)) / T).abs().max() for T in temperatures]
claim(
    "08.soft-gradient", "autograd's gradient of the soft loss is (p_s − p_t) / T, to 1e-12", bool(max(errors) < 1e-12)
)

# %% [markdown]
# **High temperature.** Let both logit vectors be centred, $\sum_i z_i = \sum_i v_i = 0$ (softmax does not see the shift). For $|z_i| \ll T$ expand $e^{x} = 1 + x + O(x^2)$:
# $$p_{s,i} = \frac{1 + z_i/T + O(T^{-2})}{K + \sum_j z_j/T + O(T^{-2})} = \frac1K + \frac{z_i}{KT} + O(T^{-2}) \quad\Longrightarrow\quad \frac{\partial L_T}{\partial z_i} \approx \frac{z_i - v_i}{K T^2} .$$
# That is the gradient of $\frac{1}{2KT^2} \lVert z - v \rVert^2$: at high temperature, distillation is *regression on the teacher's logits* (which Ba and Caruana did in 2014). How high is high? The relative error depends on $z/T$ and $v/T$ alone: four times the logits, four times the temperature. The logits below are random, one row for each standard deviation:

# %%
scales, highs = (1, 2, 4), (4, 8, 16, 32, 100)


def limit_error(scale, T):
    z1, v1 = (scale / 3 * (x - x.mean(dim=1, keepdim=True)) for x in (z, v))
    limit = (z1 - v1) / (10 * T**2)
    return ((soft_gradient(z1, v1, T) - limit).norm() / limit.norm()).item()


error = {scale: [limit_error(scale, T) for T in highs] for scale in scales}
rows = {f"standard deviation {s}": {f"T = {T}": [e] for T, e in zip(highs, error[s])} for s in scales}
record_table("08.limit-error", rows, corner="relative error of the limit")
claim(
    "08.high-temperature-limit",
    "the limit's relative error depends on scale / T alone, is over a quarter at scale 4, T = 4, and below a twentieth at T = 100",
    bool(error[4][0] > 0.25 and max(e[-1] for e in error.values()) < 0.05)
    and bool(np.isclose(error[1][0], error[4][2]) and np.isclose(error[2][1], error[4][2])),
)

# %% [markdown]
# At the temperatures in use, 2 to 8, it says where things go, not where they are.
#
# ## Why $T^2$
#
# In the limit the soft gradient shrinks like $1/T^2$. In the full loss it stands beside the cross-entropy with the label $y$, whose gradient does not; $0 \le \alpha \le 1$ is the teacher's share:
# $$L = \alpha\, T^2\, \mathrm{KL}\big(p_t \,\|\, p_s\big) + (1 - \alpha)\, \mathrm{CE}\big(y, \mathrm{softmax}(z)\big) .$$
# The factor $T^2$ keeps their proportion, so that $\alpha$ means about the same at every $T$. The gradients of both terms, without $\alpha$, for a fresh student on the labelled pictures:

# %%
rows = bench.labelled(first_draw)
labels = bench.labels[rows]
answer, guess = (predict_logits(network, bench.images[rows]).clone() for network in (teacher, student))
hard = (F.softmax(guess, 1) - F.one_hot(labels, 10)).norm()
bare = np.array([soft_gradient(guess, answer, T).norm() for T in temperatures])
squared = bare * np.square(temperatures)
figure, axis = plt.subplots()
axis.loglog(temperatures, squared, marker="o", label="soft term, with T²")
axis.loglog(temperatures, bare, marker="s", color=COLOURS["vermilion"], label="soft term, T² forgotten")
axis.axhline(hard, color=COLOURS["grey"], ls="--", label="hard term")
axis.set(xlabel="temperature T", ylabel="norm of the gradient", title="T² keeps the soft term in the game")
_ = axis.legend()
spread = squared[2:].max() / squared[2:].min()
claim(
    "08.t-squared",
    "from T = 4 to T = 100 the gradient with T² changes by less than a factor of four, without it by more than a hundred",
    bool(spread < 4 and bare[2] / bare[-1] > 100),
)

# %% [markdown]
# *Gradient norm against temperature, both axes logarithmic. With T² it stays near the dashed line of the hard term. Without it, it falls by orders of magnitude.*
#
# Forget $T^2$ and nothing crashes: the student learns from the *labels*; the soft term has silently left. (Adam would forgive a common factor, but not a lost balance.) What was written, $\alpha\,\mathrm{KL} + (1-\alpha)\,\mathrm{CE}$, is proportional to the right loss with another share,
# $$\alpha' = \frac{\alpha}{\alpha + (1 - \alpha)\, T^2} .$$
# Write 0.5 at $T = 8$, and you get $0.5 / (0.5 + 32) = 0.015$. An ablation below shows the cost.
#
# ## The loss as it is written
#
# PyTorch's `F.kl_div(input, target)` computes $\mathrm{KL}(\text{target} \,\|\, \text{input})$, teacher second, and expects the *logarithm* of the student's probabilities.

# %%
from workbook.methods.torch.distillation import kd_loss


def our_kd_loss(student_logits, teacher_logits, labels, T, alpha):
    log_s, log_t = F.log_softmax(student_logits / T, dim=1), F.log_softmax(teacher_logits / T, dim=1)
    soft = F.kl_div(log_s, log_t, log_target=True, reduction="batchmean")
    return alpha * T * T * soft + (1 - alpha) * F.cross_entropy(student_logits, labels)


ours, kept = (loss(guess, answer, labels, 4.0, 0.9) for loss in (our_kd_loss, kd_loss))
claim("08.kd-loss", "the loss written here is the one that workbook.methods keeps", bool(torch.isclose(ours, kept)))

# %% [markdown]
# (The kept one, in `workbook/methods/torch/distillation.py`, also takes rows without a label, marked −1.) Two arguments often go wrong, without an error:

# %%
log_p = F.log_softmax(answer / 4, dim=1)
itself = F.kl_div(log_p, log_p, log_target=True, reduction="batchmean")
fed_probabilities = F.kl_div(log_p.exp(), log_p, log_target=True, reduction="batchmean")
log_s = F.log_softmax(guess / 4, dim=1)
per_row = F.kl_div(log_s, log_p, log_target=True, reduction="batchmean")
per_entry = F.kl_div(log_s, log_p, log_target=True, reduction="none").mean()  # what reduction="mean" computes
claim(
    "08.log-probabilities",
    "a student equal to its teacher has no loss, unless probabilities are passed for their logarithms",
    bool(itself.abs() < 1e-6 < fed_probabilities.abs()),
)
claim(
    "08.batchmean",
    "reduction='mean' divides by the classes too: the soft term is K times too small",
    bool(torch.isclose(per_row, 10 * per_entry)),
)

# %% [markdown]
# `"mean"` is PyTorch's default; with a hundred classes it takes away all that $T^2$ gives at $T = 10$. Two more mistakes concern the teacher. In training mode batch normalisation makes its answer depend on the *other pictures of the batch*, and its running statistics drift. A batch of fours shows it best:

# %%
import copy

fours = others[data.labels[others] == 4][:32]
careless, views = copy.deepcopy(teacher).train().requires_grad_(), bench.images[fours]
with torch.inference_mode():
    right, drifting = teacher(views), careless(views)
moved = (careless.stem_bn.running_mean - teacher.stem_bn.running_mean).abs().max()
record("08.train-mode-agreement", (right.argmax(1) == drifting.argmax(1)).double().mean())
claim(
    "08.teacher-in-train-mode",
    "left in training mode, the teacher gives other logits for the same pictures, and changes while it teaches",
    bool((right - drifting).abs().max() > 0.5 and moved > 1e-4),
)
claim(
    "08.no-graph",
    "if its parameters require gradients, so do the teacher's answers; under inference_mode they do not",
    careless(views).requires_grad and not drifting.requires_grad,
)

# %% [markdown]
# The number is the share of pictures on which both modes agree. And unless the teacher is frozen, or asked under `torch.inference_mode()` or `no_grad()`, every step builds its graph for nothing.
# The last rule concerns **augmentation**: every step shifts each picture by up to two pixels, and *student and teacher must see the same view*. Answers computed once, on unshifted pictures, belong to other pictures (Beyer et al. 2022 show the cost on ImageNet). `distil` does all this on top of `fit`: with the same rows and seed, both see the same batches.
#
# ## The experiment
#
# | arm | rows | target |
# |---|---|---|
# | student alone | the labelled | labels |
# | label smoothing (标签平滑) | the labelled | labels, a share $\varepsilon$ spread over all classes: soft, but the same for every picture |
# | distilled | the labelled | $L$ above |
# | distilled, with unlabelled rows | those, and the pile: the other training pictures | the soft term alone, $\alpha = 1$: no label at all |
#
# **Predict:** which arm gains most? Label smoothing is the baseline that hurts: if it does as well, softness helps and the teacher does not. (It waits for the next section.)
#
# All students of a draw start from the same random weights and take equally many steps. The learning rate (the peak of its cycle) was chosen among four, *for the student alone*; then each arm chose among four settings of its own (weight decay; $\varepsilon$; $T$ and $\alpha$; $T$), on validation rows, in two draws not reported.
# Two lists were widened once, when a first search had chosen their ends. Still, the chosen $T$s and label smoothing's $\varepsilon$ lie at ends: these arms may fall a little short of their best. A job searched; its choices are read here.

# %%
from workbook.methods.torch.distillation_table import read_settings
from workbook.reference import read_reference, record_values

if search:
    settings = bench.search(arms)
else:
    settings = read_settings(record_values(read_reference("08_distillation"), "search", "08.setting"), arms)
record_table("08.setting", {LABELS[arm]: {n: [v] for n, v in settings[arm].items()} for arm in arms}, corner="chosen")


# %% [markdown]
# The search wanted a high temperature on the labelled rows, which the teacher was trained on, and $T = 1$ with the pile.

# %%
from workbook.methods.torch.distillation_table import difference_name, differences

runs = {arm: [bench.run(arm, draw, settings.get(arm, {})) for draw in draw_seeds] for arm in ("teacher", *arms)}
scores = {arm: [run.accuracy for run in found] for arm, found in runs.items()}
agreements = {arm: [run.agreement for run in found] for arm, found in runs.items()}
both = {LABELS[arm]: {"accuracy": scores[arm], "agreement with the teacher": agreements[arm]} for arm in scores}
record_table("08.table", {"nearest neighbour on pixels": {"accuracy": pixels}} | both, corner=f"{task}, k = {k}")
gains = differences(scores)
named = {difference_name(pair): {"accuracy": gain} for pair, gain in gains.items()}
record_table("08.difference", named, corner="paired difference")

# %% [markdown]
# The student alone does *worse than comparing pixels*. Soft targets on the same hundred pictures gain several points, and only draw level with the pixels. The teacher's answers on the *whole pile*, which the nearest neighbour cannot use, gain far more.

# %%
if {"alone", "kd", "unlabelled"} <= set(scores):
    claim(
        "08.distilled-beats-alone",
        "distilled on the labelled rows alone, the student gains over training alone, by more than two points on the mean over draws",
        bool(gains["kd", "alone"].mean() > 0.02),
    )
    claim(
        "08.unlabelled-rows-pay-most",
        "on the mean over draws the unlabelled rows add more than the soft targets did on the labelled ones alone",
        bool(gains["unlabelled", "kd"].mean() > gains["kd", "alone"].mean()),
    )
    claim(
        "08.past-the-pixels",
        "on the mean over draws, only the unlabelled rows take the student more than three points past the nearest neighbour",
        bool(np.mean(scores["unlabelled"]) - np.mean(pixels) > 0.03 > np.mean(scores["kd"]) - np.mean(pixels)),
    )

# %% [markdown]
# **Fidelity** (保真度) is another question: how often does the student say what its teacher says, right or wrong? The two columns hardly differ, because this teacher is nearly always right. But even the best student contradicts it on more than one picture in twenty: it has *not* become the teacher.
# Stanton et al. (2021) found low fidelity in far larger pairs, and that more of it does not always mean more accuracy.
#
# ## Where the gain comes from: one part taken away at a time
#
# The *reference grid* ran six draws (those three among them; 21 November 2026, one x86-64 core), with label smoothing and three more arms.
#
# - **Wrong classes shuffled**: in every answer the teacher's first choice and its confidence stay; its probabilities for the other nine classes change places at random: dark knowledge goes, softness stays.
# - **$T^2$ forgotten**: the factor is left out. (Both keep the setting of 'distilled'.)
# - **Hard answers, with unlabelled rows**: the teacher's first choice becomes the label of each unlabelled picture (pseudo-labels, 伪标签), with label smoothing searched as above: no dark knowledge.
#
# **Predict** the sign of each difference.

# %%
from workbook.methods.torch.distillation_table import PAIRS

reference = read_reference("08_distillation")
grid = record_values(reference, "reference", "08.table")
rows = {
    label: {what: [grid[label, what][0]] for what in ("accuracy", "agreement with the teacher")}
    for label in LABELS.values()
}
record_table("08.grid", rows, corner="reference grid, six draws")
found = record_values(reference, "reference", "08.difference")
lead = {pair: found[difference_name(pair), "accuracy"] for pair in PAIRS}
figure, axis = plt.subplots(figsize=(11, 4.6))
mean, low, high = np.array([lead[pair] for pair in PAIRS]).T
axis.errorbar(mean, range(len(PAIRS)), xerr=[mean - low, high - mean], fmt="o", capsize=4)
axis.axvline(0, color=COLOURS["black"], lw=1)
axis.set(yticks=range(len(PAIRS)), yticklabels=map(difference_name, PAIRS), xlabel="paired difference in accuracy")
axis.set_title("Reference grid: six draws, 95 % intervals")
axis.invert_yaxis()

# %% [markdown]
# *Thirteen paired differences. Right of zero: distilled minus alone, minus smoothing, minus T² forgotten; shuffled minus alone; by far most, what has unlabelled rows. Across zero: T² forgotten minus alone, distilled minus shuffled, and, mostly left of it, soft minus hard answers.*
#
# **The teacher's knowledge or just softness?** Label smoothing seems to get part of the gain (its interval touches zero): softness itself may help a network that sees a hundred pictures fifty times each. Distillation gets more, its interval narrowly clear of zero. With the wrong classes shuffled the student keeps most of that: softness, and *how sure to be of each picture*, do much of the work.
# The rest, which classes come close, points the right way, but six draws cannot tell it from nothing. The dark knowledge is there; that this student profits from it is not shown.

# %%
claim(
    "08.more-than-label-smoothing",
    "reference grid: distillation beats label smoothing, interval clear of zero",
    lead["kd", "smoothing"][1] > 0,
)
claim(
    "08.confidence-carries-much",
    "reference grid: a teacher whose wrong classes are shuffled still beats training alone; six draws cannot tell it from the true one",
    lead["shuffled", "alone"][1] > 0 and lead["kd", "shuffled"][1] < 0 < lead["kd", "shuffled"][2],
)
claim(
    "08.forgotten-square-forgets-the-teacher",
    "reference grid: without T² the student gains nothing measurable over training alone, and loses to the right loss by over two points",
    lead["no-square", "alone"][1] < 0 < lead["no-square", "alone"][2] and lead["kd", "no-square"][1] > 0.02,
)
claim(
    "08.not-the-teacher",
    "reference grid: every student contradicts its teacher on more than one test picture in twenty",
    all(columns["agreement with the teacher"][0] < 0.95 for label, columns in rows.items() if label != "teacher"),
)
claim(
    "08.hard-answers-do-as-well",
    "reference grid: on unlabelled rows soft targets gain less than a point over the teacher's hard answers, if anything",
    lead["unlabelled", "answers"][2] < 0.01,
)

# %% [markdown]
# **$T^2$ forgotten** costs all of it, at this $\alpha$: the student might as well have had no teacher. (A search with $\alpha$ close to 1 would find it again.)
#
# **On unlabelled rows the teacher's soft answers bought nothing** over its first choices with plain label smoothing. What pays is that it *answers at all*, and nearly always rightly. Buciluă et al. (2006) compressed models by such answers.
#
# ## More steps, and more labels
#
# The student saw each picture of the pile about six times. A second job trained three draws three times as long. Two more took an easier task: plain handwriting, fifty labels a class, four draws, at the settings above. **Predict:** what can a teacher give there?

# %%
JOBS = {"reference": "photo_digits, k = 10", "longer": "photo_digits, k = 10, longer"}
JOBS |= {"plentiful": "handwriting, k = 50", "plentiful-longer": "handwriting, k = 50, longer"}
tables = {job: record_values(reference, job, "08.table") for job in JOBS}
shown = ("teacher", "alone", "kd", "unlabelled", "answers")
rows = {
    JOBS[job]: {LABELS[arm]: [table[LABELS[arm], "accuracy"][0]] for arm in shown if (LABELS[arm], "accuracy") in table}
    for job, table in tables.items()
}
record_table("08.elsewhere", rows, corner="reference grid")

# %%
behind, late = (record_values(reference, job, "08.difference") for job in ("longer", "plentiful-longer"))
claim(
    "08.patience",
    "reference grid, three times the steps, mean of three draws: with unlabelled rows the student ends within three points of its teacher",
    max(behind[difference_name(("teacher", arm)), "accuracy"][0] for arm in ("unlabelled", "answers")) < 0.03,
)
difference = late[difference_name(("kd", "alone")), "accuracy"]
claim(
    "08.nothing-left-to-give",
    "reference grid, handwriting, fifty labels a class, three times the steps: distillation changes the student by less than one point either way",
    max(abs(difference[1]), abs(difference[2])) < 0.01,
)

# %% [markdown]
# With patience the student comes to within a few points of its teacher, on a fifteenth of the parameters: the opening question has its answer (but for the rounding, in 08c). Soft or hard makes no difference that three draws can show. On the easy task the student alone nearly reaches its teacher; distillation helps a little, and with more steps not at all.

# %% [markdown]
# ## On a GPU: the published protocol
#
# Papers compare figures from CIFAR-100 under RepDistiller's settings (Tian, Krishnan and Isola 2020): 240 epochs of 50,000 pictures in batches of 64, SGD with momentum, rate 0.05 divided by ten after epochs 150, 180 and 210, weight decay 5e-4, crops and flips, $T = 4$, $\alpha = 0.9$. Published for a ResNet-56 that teaches a ResNet-20: teacher 72.34, student alone 69.06,
# distilled 70.66 per cent. `workbook/methods/torch/cifar_protocol.py` has networks and loop. The section takes `gpu_steps` steps of each training and estimates the hours of all 187,440 (set `gpu_steps` to that, and it takes them). Without a file of pictures (`gpu_data`, see `read_pictures`) they are random numbers: enough for speed, not for accuracy.

# %% tags=["gpu", "nbval-ignore-output"]
from workbook.methods.torch.cifar_protocol import EPOCHS, ROWS, accuracy_on_test, cifar_resnet
from workbook.methods.torch.cifar_protocol import random_pictures, read_pictures, train

section = gpu(on_cpu=gpu_on_cpu)
depths, batch, short = section.size((56, 20), (8, 8)), section.size(64, 4), section.size(gpu_steps, 5)
if section and gpu_data:
    pictures = read_pictures(gpu_data, section.device)
elif section:
    pictures = random_pictures(section.size(ROWS, 64), section.device, seed=seed)


def measure(depth, loss_of):
    network, cuda = cifar_resnet(depth).to(section.device), section.device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    found = {"throughput": train(network, pictures, loss_of, steps=short, seed=seed, batch=batch)}
    if cuda:
        found["peak-memory"] = torch.cuda.max_memory_allocated() / 2**20
    if gpu_data:
        found["accuracy"] = accuracy_on_test(network, pictures)
    return network, found


# %% tags=["gpu", "nbval-ignore-output"]
def hard_loss(logits, views, labels):
    return F.cross_entropy(logits, labels)


def soft_loss(logits, views, labels):
    with torch.no_grad():
        answers = large(views)
    return kd_loss(logits, answers, labels, 4.0, 0.9)


if section:
    large, taught = measure(depths[0], hard_loss)
    small, alone = measure(depths[1], hard_loss)
    measured = {"teacher": taught, "student alone": alone, "student, distilled": measure(depths[1], soft_loss)[1]}
    for what, unit in {"throughput": "images/s", "peak-memory": "MiB", "accuracy": ""}.items():
        if what in taught:
            rows = {name: {what: [found[what]]} for name, found in measured.items()}
            record_table(
                f"08.gpu.{what}", rows, corner=f"{short} steps", unit=unit, digits=3 if what == "accuracy" else 0
            )
    hours = {name: {"whole protocol": [EPOCHS * ROWS / f["throughput"] / 3600]} for name, f in measured.items()}
    record_table("08.gpu.hours", hours, unit="h", digits=2)

# %% [markdown]
# How much of the device is that? The work in a picture (a backward pass costs twice a forward pass) against one large matrix product in TF32, the shortened float32 that convolutions use there:

# %% tags=["gpu", "nbval-ignore-output"]
import time

from torch.utils.flop_counter import FlopCounterMode


def forward_work(network):
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 32, 32, device=section.device))
    return counter.get_total_flops()


def matrix_peak(side, repeats=10):
    a, b = torch.randn(2, side, side, device=section.device)
    (a @ b).sum().item()  # warms up, and waits
    begun = time.perf_counter()
    for _ in range(repeats):
        product = a @ b
    product.sum().item()
    return 2 * repeats * side**3 / (time.perf_counter() - begun)


if section:
    torch.set_float32_matmul_precision("high")  # TF32, as convolutions use unasked
    peak, teaching, learning = matrix_peak(section.size(8192, 256)), forward_work(large), 3 * forward_work(small)
    work = {"teacher": 3 * teaching, "student alone": learning, "student, distilled": learning + teaching}
    share = {name: {"share of the matrix peak": [work[name] * f["throughput"] / peak]} for name, f in measured.items()}
    record_table("08.gpu.share-of-peak", share, digits=4)

# %% [markdown]
# Expect a small share: networks this small leave a large device waiting. No real device's figure is recorded yet.

# %% [markdown]
# ## What to take away
#
# - A teacher's small probabilities tend to rank pairs of classes as their shapes do.
# - The soft term's gradient is $(p_s - p_t)/T$. Far above the logits' scale it becomes $(z - v)/(KT^2)$: regression on logits. $T^2$ keeps it in proportion to the labels' term.
# - On few labels distillation beat training alone and label smoothing. Most of that outlived the shuffling of the wrong classes.
# - Unlabelled rows paid most, and there the teacher's first choices did as well as its soft answers.
# - On an easier task, with more labels and steps, distillation did nothing that four draws could show.
# - One rival is missing: a student pre-trained on the letters itself. If you own the source data, try it.
#
# > **Mistakes box.** *Forgetting* $T^2$, *or* `reduction="batchmean"`. *Passing* `F.kl_div` *probabilities, or the teacher first.* *A teacher in training mode, or with a graph.* *Different views for teacher and student.* *No tuned student alone, and no label smoothing, in the table.* *Crediting dark knowledge with what more rows have given.*
#
# **A question left open.** Only the teacher's last layer has spoken. It also knows *where* it looked and how near two pictures are. Can a student use that? (Lesson [08b](08b_hints_and_relations.ipynb); bytes and milliseconds follow in [08c](08c_small_and_fast.ipynb), Keras in [08d](08d_distillation_keras.ipynb). The lab of chapter 08 asks what such losses do not see.)
#
# **Sources.** G. Hinton, O. Vinyals and J. Dean, *Distilling the Knowledge in a Neural Network*, arXiv:1503.02531, 2015 · J. Ba and R. Caruana, *Do Deep Nets Really Need to be Deep?*, NeurIPS 2014 · C. Buciluă, R. Caruana and A. Niculescu-Mizil, *Model Compression*, KDD 2006 · L. Beyer et al., *Knowledge distillation: A good teacher is patient and consistent*, CVPR 2022
# · S. Stanton et al., *Does Knowledge Distillation Really Work?*, NeurIPS 2021 · Y. Tian, D. Krishnan and P. Isola, *Contrastive Representation Distillation*, ICLR 2020 (RepDistiller).
