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
# # 08e · Photographs: a slow teacher, a quick student, few labels
#
# **A question.** Somebody hands you a network that names what small photographs show. It is good, deep, and too slow for your device. You have some pictures, nearly all without labels, and minutes to train a small network. What does the teacher's opinion buy, how much of it can you afford, and does the trick help on a few hundred medical pictures?
#
# By the end of this lesson you can
#
# - plan a distillation by a budget: pictures a second, the teacher's included;
# - compute a teacher's answers once, for the versions of the pictures that the student will see;
# - tell what labels, softness and unlabelled pictures each contribute, with intervals, and when there is nothing left to contribute;
# - judge a classifier of a rare class, and notice when a teacher has nothing to teach.
#
# *About 25 minutes of reading; the quick run takes half a minute on one core, the public one four to five. Lesson [08](08_distillation.ipynb) derives the loss; notation and glossary are on the [reference page](README.md).*

# %% tags=["parameters"]
profile = "quick"  # type: str quick, public or gpu
seed = 0  # type: int
draws = 0  # type: int seeds of labelled rows and students; 0 for the profile's own
k = 0  # type: int labelled pictures a class; 0 for the profile's own
steps = 0  # type: int of every student; 0 for the profile's own
search = False  # type: bool

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from workbook.lesson import begin, claim, device, record, record_table
from workbook.plotting import COLOURS

defaults = not (draws or k or steps or search)
begin("torch", profile=profile, seed=seed, scope=defaults and profile in ("quick", "public"))
SIZES = {
    "quick": {"draws": 2, "k": 10, "steps": 120, "batch": 32, "widths": (8, 16, 32), "mirror": False, "pool": 450},
    "public": {"draws": 3, "k": 25, "steps": 250, "batch": 64, "widths": (16, 32, 64), "mirror": True, "pool": 3000},
}
SIZES["gpu"] = SIZES["public"] | {"steps": 6000, "pool": 7000}
sizes, where = SIZES[profile], device() if profile == "gpu" else "cpu"
draws, k, steps = draws or sizes["draws"], k or sizes["k"], steps or sizes["steps"]

SETTINGS = {
    "quick": {"labels": (1e-2, 0.1), "label smoothing": (3e-2, 0.4), "all labels": (1e-2, 0.1)},
    "public": {"labels": (3e-3, 0.1), "label smoothing": (3e-2, 0.2), "all labels": (3e-3, 0.5)},
}
SETTINGS["quick"] |= {"soft, labelled rows": (3e-2, 8.0), "soft, all rows": (1e-2, 1.0)}
SETTINGS["public"] |= {"soft, labelled rows": (3e-2, 8.0), "soft, all rows": (3e-3, 1.0)}
setting = dict(SETTINGS["quick" if profile == "quick" else "public"])
FEW = ("labels", "label smoothing", "soft, labelled rows")
ARMS = (*FEW, "soft, all rows", "one version", "wrong version", "all labels")


def with_ends(interval, what="share right"):
    return dict(zip((what, "from", "to"), ([value] for value in interval)))


# %% [markdown]
# ## Whose pictures are whose
#
# At the quick profile the pictures are handwritten digits over pieces of photographs; the **teacher** (教师模型) is GlyphNet, fine-tuned on half of the training pictures. At `public` they are photographs of CIFAR-10, ten kinds of things in 32 × 32 pixels, saved as JPG; the teacher is a published ResNet-56, trained for 200 epochs on the 50,000 training pictures.
#
# A teacher has *seen the labels* of the pictures that it was trained on; its answers there are partly labels in disguise. So the student's pictures, labelled or not, the validation and the test rows are all pictures that the teacher never saw (at `public`, from the published test set).

# %%
from data_scripts.cifar10 import load_cifar10
from data_scripts.pictures import load_pictures

rng = np.random.default_rng(0)
task = load_pictures("quick", size=32) if profile == "quick" else load_cifar10("jpg")
if profile == "quick":
    test, validation = task.test, task.validation
    pool, seen = np.split(rng.permutation(task.train), [sizes["pool"]])
else:
    seen, new = rng.permutation(task.train)[:2000], rng.permutation(task.test)
    test, validation, pool, _ = np.split(new, [2000, 3000, 3000 + sizes["pool"]])
pictures, labels, names = task.inputs, torch.from_numpy(task.labels), task.class_names
parts = {"seen by the teacher": seen, "student's pool": pool, "validation": validation, "test": test}
for part, rows in parts.items():
    print(f"{part:20} {len(rows):5} pictures")
figure, axes = plt.subplots(2, 8, figsize=(11, 3.2))
for axis, row in zip(axes.ravel(), pool):
    axis.imshow(pictures[row])
    axis.set(title=names[labels[row]], xticks=[], yticks=[])
_ = figure.suptitle("Sixteen pictures of the pool, with the labels that the student mostly will not get")

# %% [markdown]
# *Sixteen small coloured or grey pictures, each headed by its class; a few are hard for people too.*
#
# **Predict:** by how much will the teacher be better on the pictures that it was trained on?

# %%
from data_scripts.backbones_torch import Classifier, as_pictures, load_backbone
from data_scripts.cifar_resnet import load_cifar_resnet
from workbook.methods.torch.cached_answers import answers
from workbook.methods.torch.training import fit
from workbook.statistics import wilson_interval


def as_input(rows):
    return as_pictures(pictures[rows]).contiguous(memory_format=torch.channels_last).to(where)


def is_right(network, rows):
    return (answers(network, as_input(rows)).argmax(1).cpu() == labels[rows]).numpy()


teacher = Classifier(load_backbone("glyphnet"), len(names)) if profile == "quick" else load_cifar_resnet(56)
if profile == "quick":
    fit(teacher, as_input(seen), labels[seen], steps=60, learning_rate=3e-3, seed=0)
teacher = teacher.to(where, memory_format=torch.channels_last).requires_grad_(False)
found = [is_right(teacher, rows) for rows in (seen, test)]
own, on_new = (wilson_interval(int(right.sum()), len(right)) for right in found)
record_table("08e.teacher", {"trained on these": with_ends(own), "never saw these": with_ends(on_new)})
claim(
    "08e.teacher-knows-its-own",
    "the share that the teacher has right of the pictures that it was trained on lies above the interval for new ones",
    own.mean > on_new.high,
)

# %% [markdown]
# (From, to: Wilson's 95 % interval, over test sets like this one.) On a pile that it learned from, the teacher's answers look better than they will be for yours. (The published ResNets learned from uncompressed pictures; on JPG they fall some ten points short of their published figures, even on the pictures they know.)
#
# ## A budget in pictures a second
#
# A natural **student** (学生模型) is a ResNet-20. Ours is narrower, and its first layer halves the picture. A few steps of each:

# %%
from data_scripts.cifar_resnet import CifarResNet
from workbook.methods.torch.cached_answers import colour_student, training_speed


def student_of(draw):
    return colour_student(draw, classes=len(names), widths=sizes["widths"]).to(where)


one_batch = as_input(pool[:64]), labels[pool[:64]].to(where)
large = CifarResNet(20).to(where, memory_format=torch.channels_last)
timed = {"ResNet-20": (large, 3), "our student": (student_of(0), 20), "teacher": (teacher, 0)}
speed = {name: training_speed(net, *one_batch, steps=n) for name, (net, n) in timed.items() if n}
rows = {name: {"parameters": [sum(p.numel() for p in net.parameters())]} for name, (net, _) in timed.items()}
for name, pace in speed.items():
    rows[name] |= {"pictures/s in training": [pace], "200 epochs of 50,000, hours": [200 * 50_000 / pace / 3600]}
record_table("08e.speed", rows, digits=1)
claim(
    "08e.quick-student",
    "the student has under a seventh of the teacher's parameters and trains more than three times as fast as a ResNet-20",
    rows["our student"]["parameters"][0] * 7 < rows["teacher"]["parameters"][0]
    and speed["our student"] > 3 * speed["ResNet-20"],
)

# %% [markdown]
# The last column is why published students are not trained in notebooks. In the seconds that a student gets here, the narrow one sees each picture of the pool several times, and a ResNet-20 would hardly begin.
#
# ## Ask once
#
# Asked at every step, the teacher (slow at `public`, quick enough at quick: see its speed below) would look at *steps × batch* pictures for every student, seed and setting. Asked **once** for each picture, it is done. But training wants **augmentation** (数据增强): shifted and, for photographs, mirrored pictures. Does the answer for a picture fit its other version? Ask the teacher:

# %%
import time

from workbook.methods.torch.cached_answers import other_version

original, begun = as_input(pool), time.perf_counter()
versions = [original, other_version(original, mirror=sizes["mirror"], reach=3, seed=0)]
answered = [answers(teacher, version) for version in versions]
record("08e.teacher-speed", 2 * len(pool) / (time.perf_counter() - begun), unit="pictures/s", digits=0)
choices = np.array([answer.argmax(1).tolist() for answer in answered])
truth, changed = labels[pool], choices[0] != choices[1]  # the truth: for looking, here
found = {"first choice changed": changed, "right for the picture": choices[0] == truth.numpy()}
found["right for its other version"] = choices[1] == truth.numpy()
found = {name: wilson_interval(int(which.sum()), len(which)) for name, which in found.items()}
record_table("08e.changed", {name: with_ends(interval, "share") for name, interval in found.items()})
claim(
    "08e.another-version-another-answer",
    "shown another version of the same picture, the teacher changes its first choice for more than one in a hundred",
    found["first choice changed"].low > 0.01,
)

# %%
shown = np.flatnonzero(changed)[:8]
figure, axes = plt.subplots(2, 8, figsize=(11.5, 3.4), squeeze=False)
for pair, row in zip(axes.T, shown):
    for axis, version, choice in zip(pair, versions, choices):
        axis.imshow(version[row].permute(1, 2, 0).cpu())
        axis.set(title=names[choice[row]], xticks=[], yticks=[])
axes[0, 0].set_ylabel("picture")
axes[1, 0].set_ylabel("other version")
_ = figure.suptitle("The teacher's first choice for a picture and for its other version")
each = steps * sizes["batch"]
asked = {"the pictures alone": len(pool), "two versions of each": 2 * len(pool), "every step, one student": each}
asked["every step, all soft students below"] = each * 4 * draws  # four arms use its answers
record_table("08e.price", {n: {"pictures": [x]} for n, x in asked.items()}, corner="the teacher looks at", digits=0)

# %% [markdown]
# *Eight pictures in the upper row, their shifted (and, for photographs, mirrored) versions below. Above each stands the teacher's choice, and the two of a column differ.*
#
# Nothing in these pictures has changed its class. So an answer belongs to *the version that the teacher saw*. **The mistake**: augment the student's pictures, and teach it with the answers for the unaugmented ones. **The fix**, which Beyer et al. (2022) call consistent teaching: student and teacher see the same version. Where the teacher cannot be asked at every step, we fix a few versions of each
# picture (here two), have all of them answered, and train on those: one look a version (second line of the table), not one a picture and step.

# %% [markdown]
# ## Seven ways to spend the same steps
#
# Every student of a draw starts from the same random weights and takes the same number of steps, on batches of the same size. In the pool, $k$ pictures a class have labels.
#
# | arm | rows | target |
# |---|---|---|
# | labels | the labelled | labels |
# | label smoothing (标签平滑) | the labelled | labels, a share $\varepsilon$ spread over all classes |
# | soft, labelled rows | the labelled | $\alpha T^2\,\mathrm{KL}(p_t \Vert p_s) + (1 - \alpha)\,\mathrm{CE}$, $\alpha = \tfrac12$ |
# | **soft, all rows** | the pool, two versions | the soft term alone, $\alpha = 1$: no label at all |
# | one version | the pool as it is | the same; half the price |
# | wrong version (the mistake) | the pool, two versions | the answers for the first, for both |
# | all labels | the pool, two versions | the true labels of *all*: what annotators would have bought |
#
# Here $p_t$ and $p_s$ are the teacher's and the student's probabilities at temperature $T$. The first two arms may use more augmentation: a label fits every version, so their pictures are shifted anew at every step; *all labels* keeps to the two versions, to differ in targets alone. Each arm chose among three learning rates, then among three values of its own knob (weight decay for labels; $\varepsilon$; $T$), on validation rows, for draws that are not reported: three at quick, one at `public` (`search = True` does it again). The validation rows have labels, more of them than the pool: with so few, hardly anybody could tune like this. *One* and *wrong version* inherit from the arm above them. Some choices stand at the end of their lists.

# %%
from torch import nn

from workbook.methods.torch.cached_answers import cached_kd, with_labels
from workbook.methods.torch.distillation import UNLABELLED


def labelled(draw):
    """Positions in the pool: k a class, or as many as there are."""
    order = np.random.default_rng(draw).permutation(len(pool))
    return np.concatenate([order[truth[order].numpy() == c][:k] for c in range(len(names))])


def learn(arm, draw, rate, knob):
    student, rows = student_of(draw), labelled(draw) if arm in FEW else np.arange(len(pool))
    images, kept = torch.cat([version[rows] for version in versions]), torch.cat([truth[rows]] * 2).to(where)
    options = {"steps": steps, "learning_rate": rate, "seed": draw, "batch": sizes["batch"], "shift": 0}
    options["parameters"] = [{"params": list(student.parameters()), "fused": True}]
    if arm in ("labels", "label smoothing", "all labels"):
        smoothing, decay = (knob, 0.01) if arm == "label smoothing" else (0.0, knob)
        options |= {"weight_decay": decay, "shift": 0 if arm == "all labels" else 3}
        return fit(student, images, kept, criterion=nn.CrossEntropyLoss(label_smoothing=smoothing), **options)
    soft, alpha = [answer[rows] for answer in answered], 0.5
    if arm != "soft, labelled rows":
        kept, alpha = torch.full_like(kept, UNLABELLED), 1.0  # the teacher's word alone
    if arm == "wrong version":
        soft = [soft[0], soft[0]]
    if arm == "one version":
        images, kept, soft = versions[0], kept[: len(pool)], soft[:1]
    return fit(student, images, with_labels(torch.cat(soft), kept), criterion=cached_kd(knob, alpha), **options)


# %%
RATES, KNOBS = (3e-3, 1e-2, 3e-2), {"labels": (0.01, 0.1, 0.5), "label smoothing": (0.1, 0.2, 0.4)}
KNOBS |= {"soft, labelled rows": (2.0, 4.0, 8.0), "soft, all rows": (1.0, 2.0, 4.0), "all labels": KNOBS["labels"]}
search_draws = range(1000, 1003 if profile == "quick" else 1001)


def best(arm, candidates):
    tried = [[is_right(learn(arm, draw, *one), validation).mean() for draw in search_draws] for one in candidates]
    columns = {f"rate {rate}, {knob}": shares for (rate, knob), shares in zip(candidates, tried)}
    record_table(f"08e.search.{arm}.{list(columns)[1]}", {arm: columns}, corner="validation rows")
    return candidates[int(np.argmax(np.mean(tried, axis=1)))]


if search:
    for arm, knobs in KNOBS.items():
        rate, _ = best(arm, [(rate, knobs[1]) for rate in RATES])
        setting[arm] = best(arm, [(rate, knob) for knob in knobs])
setting |= dict.fromkeys(("one version", "wrong version"), setting["soft, all rows"])

# %% [markdown]
# **Predict** the order, and whether the mistake costs anything. The baseline without training is the label of the nearest labelled picture, pixel by pixel. *Long training* is, at `public`, a published ResNet-20 after 200 epochs; at quick our own student, with all training labels and three times the steps.

# %%
from workbook.methods.row_bootstrap import bootstrap_mean

right = {arm: np.array([is_right(learn(arm, draw, *setting[arm]), test) for draw in range(draws)]) for arm in ARMS}
flat = [torch.from_numpy(pictures[rows]).flatten(1).float() for rows in (test, pool)]
distance = torch.cdist(*flat)
nearest = [truth[rows][distance[:, rows].argmin(1)] for rows in map(labelled, range(draws))]
right["nearest picture"] = np.array([(guess == labels[test]).numpy() for guess in nearest])
if profile == "quick":
    patient, rows = student_of(0), np.concatenate([pool, seen])
    fit(patient, as_input(rows), labels[rows], steps=3 * steps, learning_rate=setting["labels"][0], seed=0, shift=3)
else:
    patient = load_cifar_resnet(20).to(where, memory_format=torch.channels_last)
right["long training"], right["teacher"] = (is_right(net, test)[None] for net in (patient, teacher))
level = {arm: bootstrap_mean(rows.mean(axis=0)) for arm, rows in right.items()}
ORDER = ("nearest picture", *ARMS, "long training", "teacher")
rows = {arm: with_ends(level[arm]) | {"lowest draw": [right[arm].mean(1).min()]} for arm in ORDER}
SEEN = {"quick": (0.594, 0.655, 0.703, 0.716, 0.798, 0.846, 0.789, 0.804, 0.95, 0.987)}
SEEN["public"] = (0.197, 0.370, 0.376, 0.370, 0.465, 0.478, 0.479, 0.474, 0.817, 0.826)
bands = {(arm, "share right"): (x - 0.05, x + 0.05) for arm, x in zip(ORDER, SEEN.get(profile, ()))}
record_table("08e.arms", rows, expected=bands if defaults else None, corner=f"k = {k}, {steps} steps")

# %%
PAIRS = [("soft, all rows", other) for other in ARMS if other != "soft, all rows"]
PAIRS += [("label smoothing", "labels"), ("soft, labelled rows", "labels"), ("soft, all rows", "nearest picture")]
gain = {(a, b): bootstrap_mean((right[a] - right[b].astype(float)).mean(axis=0)) for a, b in PAIRS}
figure, axis = plt.subplots(figsize=(9, 4.4))
mean, low, high = np.array(list(gain.values())).T
axis.errorbar(mean, range(len(PAIRS)), xerr=[mean - low, high - mean], fmt="o", capsize=4)
axis.axvline(0, color=COLOURS["black"], lw=1)
axis.set(
    yticks=range(len(PAIRS)), yticklabels=[f"{a} − {b}" for a, b in PAIRS], xlabel="difference in accuracy, test rows"
)
axis.set_title("Paired differences, mean over draws, 95 % intervals over test rows")
axis.invert_yaxis()
record_table("08e.gains", {f"{a} − {b}": with_ends(gain[a, b], "mean") for a, b in PAIRS})

# %% [markdown]
# *Nine paired differences with intervals. Clear of zero on the right: soft answers on all rows minus labels, minus label smoothing, minus soft answers on the labelled rows, minus the nearest picture.*


# %%
def in_every_draw(a, b):
    return bool((right[a].mean(1) > right[b].mean(1)).all())


claim(
    "08e.the-pile-pays",
    "the teacher's answers on all rows beat the labels, smoothed or not: paired intervals clear of zero, and in every draw",
    all(gain["soft, all rows", arm].low > 0 and in_every_draw("soft, all rows", arm) for arm in ARMS[:2]),
)
claim(
    "08e.more-pictures-than-labels",
    "they also beat the teacher's answers on the labelled rows alone, interval clear of zero",
    gain["soft, all rows", "soft, labelled rows"].low > 0,
)
claim(
    "08e.beats-the-nearest-picture",
    "they beat the nearest labelled picture, interval clear of zero",
    gain["soft, all rows", "nearest picture"].low > 0,
)
claim(
    "08e.no-shortcut",
    "no student of this budget comes near long training: intervals that do not meet",
    all(level[arm].high < level["long training"].low for arm in ARMS),
)

# %% [markdown]
# **Pictures.** The answers on all rows clearly beat the few labels at either profile, and their student saw no label (labels of validation rows chose its settings). They come close to *all labels* on the same two versions: in this budget the teacher stood in for the annotators. All of it is far below long training, with its more steps and labelled pictures, at `public` also a deeper network.
#
# **Softness.** On the labelled rows alone it depends. On the digits, label smoothing and soft answers both gain several points (in lesson 08 smoothing's gain was less clear); on photographs, in this budget, neither does anything that the test rows can show.
#
# **Versions.** Two results against expectation. *One version* did no worse than two at either profile, at half the price, perhaps because in a few passes a student has no time to tire of a picture. And the *mistake*? On the digits the interval takes in zero. On photographs it came out about a point *ahead*. The table of first choices suggests why: for the other versions the teacher is right less often, and a shift does
# not change a picture's class; so the answer for the original, 'wrong' for this version, is the better target. Beyer et al. found that consistent answers matter in trainings hundreds of times as long, with strong crops. (A difference of a point deserves doubt: the intervals are over test rows, and two or three draws do not show how much training itself varies.) Compare both: it costs the teacher nothing.

# %% [markdown]
# ## A student that is already trained
#
# Speed made us take a narrow, fresh student. But the network of *long training* is a finished student, at `public` the natural one: the published ResNet-20, beside its larger sibling as teacher. **Predict:** what can it still learn here in a few steps, from the few labels, or from the teacher's answers for the whole pool? (Rates: the best of three on validation rows, for one draw that is not reported; at `public` even these made validation accuracy a little worse.)

# %%
import copy


def go_on(how, draw):
    student = copy.deepcopy(patient)
    options = {
        "steps": 60 if profile == "quick" else 20,
        "learning_rate": 1e-4,
        "seed": draw,
        "batch": sizes["batch"],
        "shift": 0,
    }
    if how == "labels":
        rows = labelled(draw)
        return fit(student, versions[0][rows], truth[rows].to(where), **options)
    targets = with_labels(answered[0], torch.full_like(truth, UNLABELLED).to(where))
    return fit(student, versions[0], targets, criterion=cached_kd(1.0, 1.0), **options)


before = is_right(patient, test).astype(float)
went_on = {how: np.array([is_right(go_on(how, draw), test) for draw in range(2)]) for how in ("labels", "soft answers")}
further = {how: bootstrap_mean((after - before).mean(axis=0)) for how, after in went_on.items()}
record_table("08e.finished", {f"after {how} − before": with_ends(one, "mean") for how, one in further.items()})
claim(
    "08e.finished-student",
    "neither the labels nor the teacher's answers lift the finished student by two points",
    max(one.mean for one in further.values()) < 0.02,
)

# %% [markdown]
# Compare that with what the same answers did for the fresh student. A student close to its teacher has little left to learn from it, and training on few pictures has a price of its own: weights and batch statistics that came from a long training move. This is the case in which distillation does nothing (lesson 08 met it at many labels). Whether a *long* distillation would close the last points is not measured here.

# %% [markdown]
# ## A few hundred medical pictures
#
# At `public` the second case is BreastMNIST: ultrasound pictures of the breast, 28 × 28 pixels, malignant or not, 546 for training. At quick a stand-in that ships plays it: photo_digits, where a 3 or an 8 is the rare find, with fewer rows still. **Nothing here is fit for medical use**: the pictures are tiny, the test set has 156 of them, from one source.

# %%
from data_scripts.breastmnist import load_breastmnist
from data_scripts.photo_digits import load_photo_digits
from workbook.methods.row_bootstrap import rare_class_scores

if profile == "quick":
    digits, order = load_photo_digits(), np.random.default_rng(1).permutation(1797)
    grey, rare = digits.inputs, np.isin(digits.labels, (3, 8))
    learning, tested, find = order[:150], order[150:306], ("a 3 or an 8", "another digit")
else:
    clinic = load_breastmnist()
    grey, rare, find = clinic.inputs, clinic.labels == 0, clinic.class_names
    learning, tested = clinic.train, clinic.test
grey = torch.nn.functional.interpolate(torch.from_numpy(grey)[:, None], size=(32, 32), mode="bilinear")
figure, axes = plt.subplots(2, 8, figsize=(11, 3.1))
for line, name, rows in zip(axes, find, (learning[rare[learning]], learning[~rare[learning]])):
    for axis, row in zip(line, rows):
        axis.imshow(grey[row, 0])
        axis.set(xticks=[], yticks=[])
    line[0].set_title(name, loc="left")

# %% [markdown]
# *Two rows of eight small grey pictures: above, the rare class, below, the other one. At `public` both are grainy, most with a dark patch of varying outline.*
#
# About a quarter of the rows belong to the rare class. Two scores therefore stand beside accuracy. **Balanced accuracy** is the mean of both classes' recalls. The **AUC** is the chance that a picture of the rare class gets a higher score than one of the other; it needs no threshold. First the rule that never finds anything, and the nearest picture (scored by its distances to either class):

# %%
target, truly = rare[learning], rare[tested]


def judge(scores, threshold=0.0):
    return {name: [value] for name, value in rare_class_scores(scores, truly, threshold=threshold).items()}


flat = grey.flatten(1)
to_rare, to_other = (torch.cdist(flat[tested], flat[learning[t]]).amin(1) for t in (target, ~target))
never, nearest = judge([np.zeros(len(truly))]), judge([(to_other - to_rare).numpy()])
record_table("08e.clinic.baselines", {"'never'": never, "nearest picture": nearest}, corner="test rows")
claim(
    "08e.accuracy-misleads",
    "the rule that never finds anything is right about more than seven test pictures in ten; its balanced accuracy is a half",
    never["accuracy"][0] > 0.7 and never["balanced accuracy"][0] == 0.5,
)

# %% [markdown]
# The teacher: a frozen backbone (SqueezeNet, trained on ImageNet, at `public`; GlyphNet at quick) and logistic regression on its features, $C$ by cross-validation. Its answers for the training rows are to be the soft targets. **Predict** how good they look, and how good they are.

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from workbook.methods.row_bootstrap import bootstrap_auc, wins

backbone = load_backbone("glyphnet" if profile == "quick" else "squeezenet")
side = 32 if profile == "quick" else 128
colour = torch.nn.functional.interpolate(grey, size=(side, side), mode="bilinear").expand(-1, 3, -1, -1)
features = answers(backbone, colour.contiguous(memory_format=torch.channels_last)).numpy()
folds = StratifiedKFold(5, shuffle=True, random_state=seed)
probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
grid = {"logisticregression__C": 10.0 ** np.arange(-5, 1)}
doctor = GridSearchCV(probe, grid, scoring="roc_auc", cv=folds)
held = cross_val_predict(doctor, features[learning], target, cv=folds, method="decision_function")
doctor.fit(features[learning], target)
fitted, opinion = (doctor.decision_function(features[rows]) for rows in (learning, tested))
looks = {"rows it was fitted on": (fitted, target), "the same, each by a fit without it": (held, target)}
looks |= {"test rows": (opinion, truly)}
areas = {name: bootstrap_auc(wins(*pair)) for name, pair in looks.items()}
record_table("08e.clinic.teacher", {name: with_ends(area, "AUC") for name, area in areas.items()})
flattery = bootstrap_auc(wins(fitted, target) - wins(held, target))
claim(
    "08e.in-sample-flatters",
    "fitted answers have a higher AUC than out-of-fold answers for the same rows: paired interval clear of zero",
    flattery.low > 0,
)

# %% [markdown]
# **The mistake**: soft targets from the first line, where the teacher partly repeats the labels. **The fix** is the second: every row is judged by a fit that did not have it (and had a fifth fewer rows: the test rows may do better). Now small students, with labels alone, and with half the loss from either kind of answer ($T = 1$, nothing searched; the pictures are shifted at every step and the answers are for the unshifted, knowingly the *wrong version* of above). The last line cuts the first student's scores elsewhere: it calls a picture rare when its probability exceeds the rare class's share.

# %%
from workbook.methods.torch.distillation import small_student


def young_doctor(draw, logits=None):
    student, rows = small_student(draw, classes=2), grey[learning].contiguous(memory_format=torch.channels_last)
    goal, options = (
        torch.from_numpy(target.astype(np.int64)),
        {"steps": 80 if profile == "quick" else 120, "learning_rate": 5e-3},
    )
    if logits is None:
        fit(student, rows, goal, seed=draw, **options)
    else:
        soft = torch.from_numpy(np.stack([-logits / 2, logits / 2], axis=1)).float()
        fit(student, rows, with_labels(soft, goal), seed=draw, shift=2, criterion=cached_kd(1.0, 0.5), **options)
    return answers(student, grey[tested]).diff(dim=1)[:, 0].numpy()


taught = {"student, labels": None, "student, fitted answers": fitted, "student, out-of-fold answers": held}
scores = {name: [young_doctor(draw, logits) for draw in range(draws)] for name, logits in taught.items()}
table = {"'never'": never, "nearest picture": nearest, "teacher": judge([opinion])}
table |= {name: judge(found) for name, found in scores.items()}
share = target.mean()
table["student, labels, other threshold"] = judge(scores["student, labels"], threshold=np.log(share / (1 - share)))
record_table("08e.clinic.students", table, corner="test rows")
area = {name: np.mean([wins(one, truly) for one in found], axis=0) for name, found in scores.items()}
area["teacher"], alone = wins(opinion, truly), area["student, labels"]
more = {f"{name} − student, labels": bootstrap_auc(found - alone) for name, found in area.items() if found is not alone}
record_table("08e.clinic.gains", {name: with_ends(interval, "AUC") for name, interval in more.items()})

# %% [markdown]
# *Accuracy* ranks 'never' not far behind classifiers that find many of the rare class. The *other threshold* changes no score and no AUC; it lowers accuracy and raises balanced accuracy. Which to take depends on what a missed find costs, and no table knows that.
#
# Now **the teacher**: compare its AUC with the student's. GlyphNet's features are made for characters; at quick the teacher is far ahead, and yet its answers for so few rows give the student nothing that 156 test rows can show. On ultrasound, features of ImageNet photographs were no better than what the small network learned from the same rows, and distillation left it where it was.
#
# ## What the photographs gave
#
# A run at `public` on 2026-11-21, on one core of a two-core CPU: CIFAR-10 as JPG, then BreastMNIST.

# %%
from workbook.reference import read_reference, record_values

public = read_reference("08e_photographs_distillation_public")
for name, corner in {"arms": "CIFAR-10", "changed": "the ResNet-56, pool", "clinic.students": "BreastMNIST"}.items():
    rows = {}
    for (row, column), value in record_values(public, "public", f"08e.{name}").items():
        rows.setdefault(row, {})[column] = [value[0]]
    record_table(f"08e.public.{name}", rows, corner=f"{corner}, run at public")

# %% [markdown]
# ## What to take away
#
# - Measure pictures a second before planning, and ask the teacher once for each picture, however many students follow.
# - With few labels and a good teacher, the unlabelled pictures are worth more than any softness on the labelled ones.
# - The pile must be new to the teacher, or its answers are labels in disguise; for a teacher fitted on your own rows that means out-of-fold answers.
# - An answer belongs to the version that was seen. Whether that matters is a measurement: in this short training the answers for the original were as good, or better.
# - For a rare class, put balanced accuracy, the AUC and its interval beside 'never'. From a teacher that is no better than its student expect little.
#
# > **Mistakes box.** *A pile that the teacher was trained on.* *Answers for another version than the student sees, unmeasured.* *In-sample answers as soft targets.* *Accuracy alone on a rare class.* *A labels arm left untuned:* our first search, on one draw, had picked it a setting that cost it several points.
#
# **A question left open.** With ten times the steps, does the order of *one version*, *two versions* and *wrong version* turn round? (`steps` is a parameter; the `gpu` profile has six thousand.) The lab of chapter 08 ends with two digits that the student never saw.
#
# **Sources.** G. Hinton, O. Vinyals and J. Dean, *Distilling the Knowledge in a Neural Network*, arXiv:1503.02531, 2015 · L. Beyer et al., *Knowledge distillation: A good teacher is patient and consistent*, CVPR 2022 · K. He, X. Zhang, S. Ren and J. Sun, *Deep Residual Learning for Image Recognition*, CVPR 2016 · A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009 · J. Yang et al., *MedMNIST v2*, Scientific Data 10, 2023.
