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
# # 03c · Photographs in Keras: the five steps on real pictures, and what a wrong scale does
#
# **A question.** You have a folder of photographs and a pre-trained network. When an accuracy stands on the screen, how do you know that it is not luck, and that no step before it went wrong in silence?
#
# By the end of this lesson you can
#
# - see a folder's splits, imbalance and faults *before* any training;
# - name the baselines to beat, and score them fairly;
# - train a head on features computed once, then the last stage, with augmentation where it belongs;
# - show what one wrong factor in the preprocessing costs, and build a model that leaves no room for it;
# - test once, with an interval, and hand over one `.keras` file and a report.
#
# *About 35 minutes of reading. Computing, on one core: half a minute at the `quick` profile, whose pictures ship with the course, a minute and a half at `public`, with photographs and ImageNet weights. You need lesson [03](03_fine_tuning_keras.ipynb); [04g](04g_photographs_pytorch.ipynb) does the same in PyTorch.*
#
# **Your own pictures.** Set `data_dir` to a folder with one folder a class (or `train`, `val` and `test` with such folders in them), or run `python -m workbook run 03 -p data_dir=path/to/folder`. Figures and tables are then about yours; the claims are about ours, and say so.

# %% tags=["parameters"]
profile = "quick"  # type: str quick, public or gpu
data_dir = ""  # type: str a folder of your own pictures
backbone = ""  # type: str
per_class = 0  # type: int
seed = 0  # type: int
draws = 6  # type: int

# %%
import matplotlib.pyplot as plt
import numpy as np

from data_scripts.backbones import BACKBONES
from data_scripts.pictures import choose_backbone, load_pictures
from workbook.lesson import begin, claim, record_table
from workbook.methods.picture_report import drawable
from workbook.plotting import COLOURS

defaults = not data_dir and (backbone, per_class, seed, draws) == ("", 0, 0, 6)
begin("keras", profile=profile, seed=seed, scope=defaults and profile in ("quick", "public"))
name = choose_backbone(profile, backbone=backbone, data_dir=data_dir)
size = BACKBONES[name].size
SETTINGS = {
    "small": {"head_rates": (3e-3, 1e-2, 3e-2), "rates": (1e-3, 3e-3), "epochs": 16, "flip": False},
    "photographs": {"head_rates": (1e-3, 3e-3, 1e-2), "rates": (1e-5, 3e-5, 1e-4), "epochs": 4, "flip": True},
}
EXPECTED = {
    "quick": {"nearest pixels": (0.70, 0.77), "probe, pre-trained": (0.94, 0.98), "head in Keras": (0.93, 0.98)},
    "public": {"nearest pixels": (0.47, 0.55), "probe, pre-trained": (0.90, 0.94), "head in Keras": (0.83, 0.91)},
}
settings = SETTINGS["small" if size < 64 else "photographs"]
task = load_pictures(profile, size=size, data_dir=data_dir, per_class=per_class, split_seed=seed)
print(task.describe())

# %% [markdown]
# ## Step 1: data, looked at
#
# Every picture was decoded once, cut to its central square and scaled to the side that the backbone (主干网络) was trained on. In the lines above, how many training pictures has the smallest class? Is one class much larger (类别不平衡)? Were files skipped or doubled? Then look.

# %%
shown = np.argsort(-np.bincount(task.labels), kind="stable")[:8]
figure, grid = plt.subplots(3, len(shown), figsize=(1.5 * len(shown) + 0.4, 4.8), squeeze=False)
for label, column in zip(shown, grid.T):
    rows = task.train[task.labels[task.train] == label][:3]
    for axis in column:
        axis.axis("off")
    for row, axis in zip(rows, column):
        axis.imshow(task.inputs[row])
    column[0].set_title(drawable([task.class_names[label]])[0], fontsize=10)
_ = figure.suptitle("Training pictures")

# %% [markdown]
# *Three training pictures for each of up to eight classes, one class a column, its name above. At the quick profile, small grey digits over patches of photographs; at public, ants and bees at all sizes and distances.*
#
# ## The numbers to beat
#
# Two baselines (基线) need no network: the majority class, and the nearest neighbour (最近邻) on raw pixels, of pictures shrunk to 32 × 32. A third says whether *training on other pictures* mattered: a linear probe (线性探测), logistic regression on frozen features, with the same network's weights left at random. Each arm's scaling is chosen on validation rows, and the probe's $C$, the inverse strength of its regulariser, by cross-validation on training rows. *Will random weights beat raw pixels?*

# %%
from data_scripts.backbones_keras import LAST_STAGE, load_backbone
from data_scripts.task import sample_k_shot
from workbook.methods.keras.photographs import extract

labels, train, held, test = task.labels, task.train, task.validation, task.test
if size < 64 and not data_dir:
    train = sample_k_shot(task, 10, seed=seed)
pretrained = load_backbone(name)
h = extract(pretrained, task.inputs)
random_h = extract(load_backbone(name, pretrained=False), task.inputs)
step = size // 32
pixels = task.inputs[:, : 32 * step, : 32 * step].reshape(len(labels), 32, step, 32, step, 3).mean(axis=(2, 4))
pixels = pixels.reshape(len(labels), -1)
print(f"pictures {task.inputs.shape[1:]} → features {h.shape[1:]}, computed once")

# %%
from sklearn.neighbors import KNeighborsClassifier

from workbook.methods.features import classifier, contrast

smallest = int(np.bincount(labels[train], minlength=len(task.class_names)).min())
views = {"as they are": pixels, "contrast": contrast(pixels)}
neighbours = {view: KNeighborsClassifier(1).fit(rows[train], labels[train]) for view, rows in views.items()}
view = max(views, key=lambda v: neighbours[v].score(views[v][held], labels[held]))


def probe(features, rows, scaling):
    return classifier("logistic regression", smallest, scaling=scaling, seed=seed).fit(features[rows], labels[rows])


ARMS = {"probe, random weights": random_h, "probe, pre-trained": h}
fitted, scalings = {}, {}
for arm, features in ARMS.items():
    tried = {scaling: probe(features, train, scaling) for scaling in ("unit length", "standardised")}
    scalings[arm] = max(tried, key=lambda s: tried[s].score(features[held], labels[held]))
    fitted[arm] = tried[scalings[arm]]
majority = int(np.bincount(labels[train]).argmax())
validated = {"majority class": [float((labels[held] == majority).mean())]}
validated["nearest pixels"] = [neighbours[view].score(views[view][held], labels[held])]
validated |= {arm: [model.score(ARMS[arm][held], labels[held])] for arm, model in fitted.items()}
record_table("03c.validation", {arm: {"validation accuracy": values} for arm, values in validated.items()})

# %% [markdown]
# These are validation rows, on which choices were made; the test comes later. Random weights need not beat pixels: an architecture alone knows little. (At the quick profile we train on ten pictures a class: labels are usually scarce.)
#
# ## Step 2: a head on features
#
# Now a linear head in Keras, because we want a *network* at the end. The backbone stays frozen (冻结), so its features never change: the head trains on the cached rows in seconds. Its rate is chosen by the validation *loss*, which says more than the accuracy when rows are few: it moves with every probability, not in steps of one picture.

# %%
import keras
import tensorflow as tf
from keras import layers

classes, steps = len(task.class_names), 300
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def train_head(rate):
    keras.utils.set_random_seed(seed)
    head = keras.Sequential([keras.Input(h.shape[1:]), layers.Dense(classes, name="head")])
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    head.compile(keras.optimizers.AdamW(schedule, weight_decay=0.01), loss)
    data = tf.data.Dataset.from_tensor_slices((h[train], labels[train])).cache()
    data = data.shuffle(len(train), seed=seed).repeat().batch(32).take(steps)
    head.fit(data, verbose=0, shuffle=False)
    return head


def loss_of(logits, rows):
    return float(loss(labels[rows], logits))


heads = {rate: train_head(rate) for rate in settings["head_rates"]}
head_losses = {rate: loss_of(head.predict(h[held], verbose=0), held) for rate, head in heads.items()}
head = heads[min(head_losses, key=head_losses.get)]
record_table("03c.head", {f"{rate:g}": {"validation loss": [value]} for rate, value in head_losses.items()})

# %% [markdown]
# ## Step 3: one network, and where augmentation goes
#
# Backbone and head are joined, and the join is checked: on the same pictures the network must give the logits that the head gave on cached features. If not, its preprocessing, weights or pooling are not those that made the features.

# %%
from workbook.methods.keras.photographs import of_bytes, photo_augmentation, picture_batches
from workbook.methods.keras.training import build_network, compile_network, cosine, restart, unfreeze

network = build_network(pretrained, classes, seed=seed)
network.get_layer("head").set_weights(head.get_weights())
start = network.get_weights()
joined = network.predict(picture_batches(task.inputs, held), verbose=0)
apart = head.predict(h[held], verbose=0)
claim(
    "03c.join",
    "the joined network gives the logits of its head on cached features, to within a thousandth of the largest",
    bool(np.abs(joined - apart).max() < 1e-3 * np.abs(apart).max()),
)

# %% [markdown]
# Cached features have a price: their pictures cannot change. Augmentation (数据增强) needs the whole network in every step; it is the *last* stage of the pipeline: shuffle row numbers, look the pictures up, convert, *then* shift and (where a mirrored picture keeps its name) mirror. Nothing is cached behind the random part. One training picture, drawn six times:

# %%
augment = photo_augmentation(size, flip=settings["flip"], seed=seed)
six = next(iter(picture_batches(task.inputs, np.repeat(train[:1], 6), augment=augment))).numpy()
figure, axes = plt.subplots(1, 6, figsize=(11, 2.3))
for number, (axis, picture) in enumerate(zip(axes, six), start=1):
    axis.imshow(picture)
    axis.set(title=f"draw {number}", xticks=[], yticks=[])

# %% [markdown]
# *One training picture drawn six times, shifted by a few pixels in different directions, the edges repeated; photographs are also mirrored in some.*
#
# ## Step 4: the last stage, at a low rate
#
# The head fits already, so the last stage of the backbone may move with it. This order, probe first and fine-tuning after it (先探测后微调, LP-FT), keeps the features from being bent towards a head that knows nothing. All rates get the same epochs; batch normalisation, if any, stays frozen (lesson 03). The validation loss decides among the rates and the network we started from. *What would you ship if the two differ by a hair?*

# %%
unfreeze(pretrained, LAST_STAGE[name])
compile_network(network, settings["rates"][0])


def fine_tune(rate):
    restart(network, start)
    data = picture_batches(task.inputs, train, labels, seed=seed, augment=augment)
    callbacks = [cosine(rate, settings["epochs"])]
    network.fit(data, epochs=settings["epochs"], callbacks=callbacks, verbose=0, shuffle=False)
    logits = network.predict(picture_batches(task.inputs, held), verbose=0)
    return loss_of(logits, held), network.get_weights()


tuned = {rate: fine_tune(rate) for rate in settings["rates"]}
rate = min(tuned, key=lambda r: tuned[r][0])
losses = {"head only": {"validation loss": [loss_of(joined, held)]}}
losses |= {f"last stage, {r:g}": {"validation loss": [found[0]]} for r, found in tuned.items()}
record_table("03c.fine-tuning", losses, corner="candidate")
moving = sum(int(np.prod(w.shape)) for w in network.trainable_weights)
print(f"{moving:,} of {network.count_params():,} weights train")

# %% [markdown]
# The lowest line goes on. If it is 'head only', that is a result and no failure: with few pictures, and a backbone that has met such things, there may be little left to gain. And at a hair's difference the head is simpler to ship.
#
# ## The mistake: pictures on the wrong scale
#
# Our network expects values from 0 to 1 and does the rest itself: its first layers hold the preprocessing (预处理) that its weights were trained with. Two things often go wrong: somebody passes the bytes, **0 to 255**, or standardises with ImageNet's mean and deviation **on top** of what the model does. No error is raised. *Guess both accuracies before you run this.*
#
# Besides accuracy ('right') the table says how often an answer's probability exceeds 0.999 ('certain'), the mean of $-\log p$ of the right class, cut off at about 16 ('surprise'), and the mean cosine of the features with those of the right scale.

# %%
kept = min(losses, key=lambda candidate: losses[candidate]["validation loss"][0])
network.set_weights(start if kept == "head only" else tuned[rate][1])
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SERVED = {
    "0 to 1, as trained": lambda x, training: x,
    "0 to 255": lambda x, training: 255 * x,
    "mean and deviation on top": lambda x, training: (x - MEAN) / STD,
}
served, features = {}, {}
for way, change in SERVED.items():
    z = pretrained.predict(picture_batches(task.inputs, held, augment=change), verbose=0)
    features[way] = z / np.linalg.norm(z, axis=1, keepdims=True)
    p = keras.ops.convert_to_numpy(keras.ops.softmax(network.get_layer("head")(z)))
    served[way] = {"right": p.argmax(axis=1) == labels[held], "certain": p.max(axis=1) > 0.999}
    served[way]["surprise"] = -np.log(np.maximum(p[np.arange(len(p)), labels[held]], 1e-7))
    served[way]["cosine"] = (features[way] * features["0 to 1, as trained"]).sum(axis=1)
scales = {way: {column: [float(np.mean(v))] for column, v in one.items()} for way, one in served.items()}
record_table("03c.scale", scales, corner="pictures as")

# %%
from workbook.statistics import paired_difference, wilson_interval


def interval(first, second):
    return paired_difference(np.asarray(first, float), np.asarray(second, float))


def above(margin, first, second):
    low = interval(first, second).low
    return bool(low is not None and low > margin)


good, bytes_given = served["0 to 1, as trained"], served["0 to 255"]
claim(
    "03c.wrong-scale-is-certain",
    "given 0 to 255 the network calls itself certain of more than four pictures in five, and of more than on the "
    "right scale: the paired interval lies above zero",
    bool(np.mean(bytes_given["certain"]) > 0.8) and above(0, bytes_given["certain"], good["certain"]),
)

# %%
turned = scales["0 to 255"]["cosine"][0]
claim(
    "03c.scale-and-normalisation",
    "given 0 to 255, this run's features keep their direction (mean cosine above 0.8) if its network has no batch "
    "normalisation; if it has, they turn (below 0.75) and more than thirty points of accuracy are lost",
    turned < 0.75 and above(0.3, good["right"], bytes_given["right"]) if BACKBONES[name].batch_norm else turned > 0.8,
)

# %% [markdown]
# The second claim has two halves, and a run checks one: the quick profile's network has batch normalisation, SqueezeNet has none. Two networks prove no rule, but there is a reason. A stack of convolutions, ReLU and pooling *without any bias* obeys $f(cx) = c f(x)$ for every $c > 0$: values 255 times as large give features 255 times as long in the same direction. SqueezeNet departs from that only by its biases and the mean that it subtracts. While the direction lasts, the order of the logits survives and their size explodes, which a softmax turns into certainty: accuracy may hardly move, but the probabilities, and every threshold on them, are ruined. Batch normalisation (批量归一化), as in GlyphNet or ResNet, subtracts in use a *fixed* mean from every channel. From values 255 times as large that is next to nothing, other units pass the ReLU, and the direction turns.
#
# So accuracy is no sure alarm. An assertion is: `assert x.min() >= 0 and 1 / 255 < x.max() <= 1`. Better still, leave nothing to assert.
#
# ## The fix: a model of bytes
#
# The division by 255 moves into the model, whose input is now `uint8`, as a decoder gives it: one file from bytes to logits.

# %%
import tempfile

from workbook.methods.picture_report import results_folder
from workbook.paths import ROOT

scratch = tempfile.TemporaryDirectory()
ours = profile == "quick" and not data_dir
folder = results_folder("03c", task, under=scratch.name if ours else "")
product = of_bytes(network)
product.save(folder / "classifier.keras")
reloaded = keras.saving.load_model(folder / "classifier.keras")
before, after = (model.predict(task.inputs[held], batch_size=32, verbose=0) for model in (product, reloaded))
floats = network.predict(picture_batches(task.inputs, held), verbose=0)
claim("03c.reloaded", "the reloaded file gives the same logits to the last bit", bool(np.array_equal(before, after)))
claim(
    "03c.bytes-in",
    "and from bytes the logits of the network on pictures in [0, 1], to within a thousandth of the largest",
    bool(np.abs(after - floats).max() < 1e-3 * np.abs(floats).max()),
)

# %% [markdown]
# One condition: a layer of our own (`Grey` for GlyphNet, `Preprocess` for the networks of `keras.applications`) needs `import data_scripts.backbones_keras` where the file is loaded. SqueezeNet's preprocessing is made of Keras's own layers and needs nothing.
#
# ## Step 5: the test, once
#
# Everything is chosen. Now all arms answer the same test rows. Each accuracy gets Wilson's 95 % interval (置信区间), 'from' and 'to': the accuracies on *all* such pictures that fit what we counted. Two classifiers on the *same* rows are compared row by row (配对比较), which is mostly sharper. *By how much must two arms differ here before you believe it?*

# %%
network.set_weights(tuned[rate][1])
answers = {
    "majority class": np.full(len(test), majority),
    "nearest pixels": neighbours[view].predict(views[view][test]),
    **{arm: model.predict(ARMS[arm][test]) for arm, model in fitted.items()},
    "head in Keras": head.predict(h[test], verbose=0).argmax(axis=1),
    "last stage, fine-tuned": network.predict(picture_batches(task.inputs, test), verbose=0).argmax(axis=1),
}
right = {arm: found == labels[test] for arm, found in answers.items()}
rows = {}
for arm, hits in right.items():
    share, low, high = wilson_interval(int(hits.sum()), len(hits))
    rows[arm] = {"test accuracy": [share], "from": [low], "to": [high]}
bands = EXPECTED.get(profile, {}) if defaults else {}
record_table("03c.test", rows, expected={(arm, "test accuracy"): band for arm, band in bands.items()}, corner="arm")

# %%
PAIRS = (
    ("probe, pre-trained", "nearest pixels"),
    ("probe, pre-trained", "probe, random weights"),
    ("probe, pre-trained", "head in Keras"),
    ("last stage, fine-tuned", "head in Keras"),
)
differences = {f"{a} − {b}": {"difference": right[a].astype(float) - right[b]} for a, b in PAIRS}
record_table("03c.paired", differences, corner="on the same rows")
for other, claimed in (("nearest pixels", "pixels"), ("probe, random weights", "random-weights")):
    claim(
        f"03c.features-beat-{claimed}",
        f"the probe on pre-trained features is right more often than '{other}' by more than five points: the paired "
        "interval over test rows lies above",
        above(0.05, right["probe, pre-trained"], right[other]),
    )
gap = interval(right["last stage, fine-tuned"], right["head in Keras"])
claim(
    "03c.fine-tuning-changes-little",
    "the fine-tuned network and the head that it started from differ by less than ten points either way",
    bool(gap.low is not None and gap.low > -0.1 and gap.high < 0.1),
)

# %% [markdown]
# The second line is what transfer bought: network and labels are the same, only what was learned elsewhere differs. The last is what fine-tuning bought: does its interval include zero? In the third line stand two linear models on the same features, apart only in scaling, regularisation and length of training.
#
# A caution about `public`: its pictures come from ImageNet, and so do the weights. These networks may have met these very pictures; on things that ImageNet lacks, expect less.
#
# ## How many labels?
#
# Few-shot learning (少样本学习) asks what $k$ labelled pictures a class are worth. Within a draw a larger $k$ keeps the rows of the smaller; no $k$ exceeds the smallest class; each arm keeps the scaling chosen above, and nothing is chosen here.

# %%
most = int(np.bincount(labels[task.train], minlength=classes).min())
ks = [k for k in (1, 5, 20, 50) if k <= most]


def accuracy_at(k, draw):
    chosen = sample_k_shot(task, k, seed=draw)
    scores = {"nearest pixels": KNeighborsClassifier(1).fit(views[view][chosen], labels[chosen])}
    for arm, features in ARMS.items():
        model = classifier("logistic regression", k, scaling=scalings[arm], seed=seed)
        scores[arm] = model.fit(features[chosen], labels[chosen])
    inputs = {"nearest pixels": views[view], **ARMS}
    return {arm: model.score(inputs[arm][test], labels[test]) for arm, model in scores.items()}


found = {k: [accuracy_at(k, draw) for draw in range(draws)] for k in ks}
curve = {arm: {f"k={k}": [one[arm] for one in found[k]] for k in ks} for arm in ("nearest pixels", *ARMS)}
record_table("03c.labels", curve, corner="test accuracy")

# %%
figure, axis = plt.subplots(figsize=(9, 4.2))
for (arm, points), colour in zip(curve.items(), ("grey", "orange", "blue")):
    middle = [np.mean(points[f"k={k}"]) for k in ks]
    spread = [np.std(points[f"k={k}"]) for k in ks]
    axis.errorbar(ks, middle, yerr=spread, marker="o", capsize=3, color=COLOURS[colour], label=arm)
axis.axhline((labels[test] == majority).mean(), color=COLOURS["black"], ls=":", label="majority class")
axis.set(
    xscale="log", xticks=ks, xticklabels=ks, ylim=(0, 1.02), xlabel="labelled pictures a class", ylabel="test accuracy"
)
axis.set_title("What labels buy, by where the features come from")
_ = figure.legend(loc="outside right center", fontsize=9)

# %% [markdown]
# *Test accuracy against labelled pictures a class, on a logarithmic axis, for nearest pixels and the probe on random and on pre-trained weights; bars are one standard deviation over draws, the dotted line is the majority class. At both profiles the pre-trained curve lies on top.*

# %%
few, many = f"k={ks[min(1, len(ks) - 1)]}", f"k={ks[-1]}"
claim(
    "03c.worth-more-than-labels",
    "pre-trained features with the second k of the curve are right more often than pixels, or random weights, with "
    "the last: the paired intervals over draws lie above zero",
    all(above(0, curve["probe, pre-trained"][few], curve[arm][many]) for arm in list(curve)[:2]),
)

# %% [markdown]
# ## What it gets wrong
#
# The saved file answers the test pictures. Which classes are confused, and of which wrong answers was it surest? Here wrong labels and odd crops come to light.

# %%
from workbook.methods.picture_report import (
    confusion_matrix,
    plot_confusion,
    plot_mistakes,
    worst_mistakes,
    write_report,
)

logits = reloaded.predict(task.inputs[test], batch_size=32, verbose=0)
chances = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
_ = plot_confusion(confusion_matrix(labels[test], chances.argmax(axis=1), classes), task.class_names)
_ = plot_mistakes(task, worst_mistakes(labels[test], chances, test, most=8))

# %% [markdown]
# *Two figures: a confusion matrix (混淆矩阵) of the saved model on the test rows, true classes down and predicted ones across; and up to eight test pictures that it got wrong with the highest probability, each with its true class, the answer and that probability.*
#
# Last, a page to go with the file: accuracy with its interval, recall of each class, matrix, mistakes, the folder's notes and how it was made.

# %%
facts = {
    "backbone": f"{name}, {size} × {size} pixels",
    "trained on": f"{len(train)} of the training pictures",
    "kept": f"{kept} (lowest validation loss)",
    "nearest pixels": f"{right['nearest pixels'].mean():.1%} of the test pictures",
    "probe, random weights": f"{right['probe, random weights'].mean():.1%} of the test pictures",
    "probe, pre-trained": f"{right['probe, pre-trained'].mean():.1%} of the test pictures",
}
report = write_report(folder, task, chances, lesson="03c", facts=facts, model_file="classifier.keras")
print(f"{report.name} and classifier.keras are in", "a temporary folder" if ours else report.parent.relative_to(ROOT))

# %% [markdown]
# ## What photographs gave
#
# The same two tables from a run at `public` on 2026-11-21, on two CPU cores: ants and bees, SqueezeNet with ImageNet weights.

# %%
from workbook.reference import read_reference, record_values

shipped = read_reference("03c_photographs_keras_public")
for part, corner in (("test", "arm"), ("scale", "pictures as")):
    values = {}
    for (row, column), (mean, *_) in record_values(shipped, "public", f"03c.{part}").items():
        values.setdefault(row, {})[column] = [mean]
    record_table(f"03c.photographs-{part}", values, corner=corner)

# %% [markdown]
# Read three things in them. Raw pixels hardly beat the majority class. The probe scores above the head, although the two were level on the few dozen validation rows: these could not tell, and the head is what we shipped. And the wrong scale cost next to no answers while every one became 'certain': whoever watches accuracy alone would have shipped it.
#
# ## What to take away
#
# - Look first. Then score the majority class, nearest pixels and the *same network with random weights*: only this one isolates what pre-training brought.
# - Compute frozen features once, and check the join of head and backbone.
# - Augment last in the pipeline; train the last stage at a low rate after the head; the head alone is a candidate.
# - A wrong scale may wreck the accuracy, or only the probabilities. Put all preprocessing, the division by 255 included, inside the model.
# - Test once: Wilson's interval, differences row by row.
#
# > **Mistakes box.** *Trusting accuracy to reveal wrong preprocessing. Subtracting a mean that the model subtracts too. Caching behind the augmentation. Mirroring pictures whose mirror image is something else: digits, text, left hands. Quoting as exact the number of a winner by a hair on a few dozen validation rows.*
#
# **A question left open.** Are the probabilities of the *right* scale any good: of the answers given at 0.9, are nine in ten correct? (Calibration, 校准: lesson 04c.) The lab of chapter 03 hides five silent mistakes in one script.
#
# **Sources.** Keras documentation, *Transfer learning and fine-tuning* · F. Iandola et al., *SqueezeNet*, arXiv:1602.07360, 2016 · A. Kumar et al., *Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution*, ICLR 2022 · E. B. Wilson, *Probable Inference, the Law of Succession, and Statistical Inference*, JASA 1927 · S. Chilamkurthy, *Transfer Learning for Computer Vision Tutorial*, PyTorch tutorials, 2017 (ants and bees).
