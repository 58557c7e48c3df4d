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
# # 05 · Feature extraction: a frozen network as a measuring instrument
#
# **A question.** You have fifty labelled pictures, a laptop, and a network that somebody else trained on other pictures. You run your fifty through it *once*, keep the numbers, and close it for ever. Which numbers should you have kept,
# what do you fit on them, and how much would you have gained by training the network instead?
#
# By the end of this lesson you can
#
# - take the output of any layer of a network, pool it, and prove that row $i$ still belongs to label $i$;
# - make, recognise and mend the two mistakes that scramble rows, one of which no shape check can see;
# - tune a classifier on frozen features inside the training rows, and say what to do when there is nothing to tune on;
# - say what caching features buys, and what it forbids;
# - say when features beat fine-tuning, and what a t-SNE picture does not show.
#
# *About 35 minutes of reading; about a minute of computing on one core. It stands alone; chapter [01](01_concepts.ipynb) has the larger comparison.*

# %% tags=["parameters"]
profile = "quick"  # type: str
seed = 0  # type: int
draws = 5  # type: int
ks = [1, 5, 10, 50]  # type: list
steps = 80  # type: int
epochs = 15  # type: int
gpu_on_cpu = False  # type: bool

# %%
import numpy as np
import torch

from workbook.lesson import begin, claim, gpu, record, record_table

defaults = draws == 5 and ks == [1, 5, 10, 50] and steps == 80 and epochs == 15
begin("torch", profile=profile, seed=seed, scope=profile == "quick" and defaults)
if profile != "quick":
    raise NotImplementedError("this lesson runs at profile = 'quick'; its chapter's photographs are in 05e")

# %% [markdown]
# **Feature extraction** (特征提取) means: compute $h = \phi(x) \in \mathbb R^d$ with a frozen backbone, and fit only a small model $y \approx g(h)$. The backbone here is GlyphNet, a small network trained on printed letters: a *stem* (one convolution, then
# batch normalisation and a rectifier, ReLU), three residual blocks (`block1` to `block3`), an average over places, a linear head. The targets are two sets of
# digits, which it never saw: *handwriting*, and *photo_digits*, the same handwritten digits over patches of photographs.

# %%
from data_scripts.handwriting import load_handwriting
from data_scripts.photo_digits import load_photo_digits
from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.torch.training import as_images

tasks = {task.name: task for task in (load_handwriting(), load_photo_digits())}
images = {name: as_images(task.inputs) for name, task in tasks.items()}
network = load_glyphnet()
for name, batch in images.items():
    print(f"{name:13} {tuple(batch.shape)}, {len(tasks[name].class_names)} classes")

# %% [markdown]
# ## The first number
#
# The last block's output is caught by a *hook*, a function that PyTorch calls whenever the layer has run:

# %%
caught = {}
hook = network.block3.register_forward_hook(lambda layer, inputs, output: caught.update(block3=output))
with torch.inference_mode():
    network(images["photo_digits"][:8])
hook.remove()
maps = caught["block3"]
print("feature maps of eight images:", tuple(maps.shape))

# %% [markdown]
# Eight images in, and for each of them 128 *maps* of 4 × 4 places. A classifier wants one row an image. The usual way is to average each map over its places (**average pooling**, 平均池化): 128 numbers an image. For many layers or images, torchvision can cut the network
# at any node of its graph. One thing to look up before you name a node: `stem` is the bare convolution; its batch norm and rectifier come after it.

# %%
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

print(get_graph_node_names(network)[1][:5])
extractor = create_feature_extractor(network, return_nodes=["block3"])


def average_features(pictures):
    with torch.inference_mode():
        return torch.cat([extractor(part)["block3"].mean(dim=(2, 3)) for part in pictures.split(256)]).numpy()


features = {name: average_features(batch) for name, batch in images.items()}
agree = np.abs(features["photo_digits"][:8] - maps.mean(dim=(2, 3)).numpy()).max()
claim("05.hook-and-extractor-agree", "the hook's and the extractor's features differ by less than 1e-4", agree < 1e-4)

# %% [markdown]
# Now a model that needs no training loop at all, nearest neighbour, with **ten labelled examples a class**, on pixels and on features. `scores` does what every experiment below does: draw $k$ training rows a class, fit, score on rows that were not used.

# %%
from sklearn.neighbors import KNeighborsClassifier

from data_scripts.task import sample_k_shot


def scores(rows, task, model, k, draws=range(draws), where="test"):
    found, held = [], getattr(task, where)
    for draw in draws:
        train = sample_k_shot(task, k, seed=draw)
        found.append(model(k).fit(rows[train], task.labels[train]).score(rows[held], task.labels[held]))
    return found


pixels = {name: task.inputs.reshape(len(task.labels), -1) for name, task in tasks.items()}
kinds = {"pixels": pixels, "features": features}
first = {
    name: {kind: scores(rows[name], task, lambda k: KNeighborsClassifier(1), 10) for kind, rows in kinds.items()}
    for name, task in tasks.items()
}
record_table("05.first", first, corner="1-nearest neighbour, k = 10")

# %% [markdown]
# ('±' is half a 95 % interval over draws, see lesson [01b](01b_evaluation.ipynb).) The same classifier, other numbers to compare: on photographs the distance between features speaks mostly of the digit, the distance between pixels also of the background.
# (Raw pixels with one neighbour are a weak opponent; they get a fairer chance below.)
#
# ## Mistake one: sixteen rows an image
#
# A widely copied listing takes a $512 \times 7 \times 7$ map and writes `reshape(-1, 512)`: one image becomes 49 rows. In miniature, two images with three channels of 2 × 2 places, each value written as *image, channel, place*:

# %%
tiny = np.array([[[100 * i + 10 * c + p for p in range(4)] for c in range(3)] for i in (1, 2)]).reshape(2, 3, 2, 2)
print(tiny.shape, "→", tiny.reshape(-1, 3).shape)
print(tiny.reshape(-1, 3)[:4])

# %% [markdown]
# Two images became eight rows; above are the four of image 1. And a row is not even *one place of all channels*: the first holds three places of channel 0, the second mixes channels 0 and 1. PyTorch stores all places of one channel before the next channel, and
# the reshape simply cuts that memory into pieces. The number of labels no longer fits, which should be the alarm. The usual way to silence it is to repeat each label, here sixteen times (4 × 4 places). With ten examples a class and one fixed setting a
# classifier; on the scrambled side accuracy counts rows, for that is what the mistake takes for images:

# %%
task = tasks["photo_digits"]
with torch.inference_mode():
    whole = torch.cat([extractor(part)["block3"] for part in images["photo_digits"].split(256)]).numpy()
print(whole.shape, "→", whole.reshape(-1, 128).shape)


# %%
from sklearn.linear_model import LogisticRegression


def as_cut(rows):
    return whole[rows].reshape(-1, 128), np.repeat(task.labels[rows], 16)


models = {"logistic regression": LogisticRegression(C=1, max_iter=2000), "1-nearest neighbour": KNeighborsClassifier(1)}
both = {}
for name, model in models.items():
    cut = [model.fit(*as_cut(sample_k_shot(task, 10, seed=d))).score(*as_cut(task.test)) for d in range(draws)]
    pooled = scores(features["photo_digits"], task, lambda k, model=model: model, 10)
    both[name] = {"scrambled, labels repeated": cut, "pooled": pooled}
record_table("05.scrambled", both, corner="photo_digits, k = 10")
loss = np.subtract(*both["logistic regression"].values())
claim(
    "05.scrambled-rows-lose",
    "logistic regression on scrambled rows is over twenty points below the same on pooled rows, in every draw",
    loss.max() < -0.2,
)

# %% [markdown]
# It does not crash and it is above chance; that is what makes it dangerous. The linear model suffers most: it gives each *column* a weight, and a column now means something else in each of an image's sixteen rows (128 = 8 × 16, so each row holds eight
# channels at all their places). A nearest neighbour can still be a row that was cut at the same spot. The fix is to pool, and to *say how many rows must come out*. The kept version, `workbook.methods.features.pool`, asks for that number:

# %%
from workbook.methods.features import pool

print(pool(whole, "average", images=len(task.labels)).shape)
try:
    pool(whole.reshape(-1, 128), "average", images=len(task.labels))
except ValueError as error:
    print(error)

# %% [markdown]
# ## Mistake two: the loader shuffles, the labels do not
#
# Training loaders shuffle, and it is easy to reuse one. Then features come out in the loader's order while labels are taken in the data set's. Every shape is right:

# %%
from torch.utils.data import DataLoader, TensorDataset

labels = torch.from_numpy(task.labels)
loader = DataLoader(TensorDataset(images["photo_digits"], labels), batch_size=256, shuffle=True)
with torch.inference_mode():
    shuffled = torch.cat([extractor(batch)["block3"].mean(dim=(2, 3)) for batch, _ in loader]).numpy()
assert shuffled.shape == (len(task.labels), 128)

# %% [markdown]
# The assertion passes. The fix is to let labels and *row numbers* travel through the loader with their images. `extract_layers` (kept in `workbook.methods.torch.features`) does so, puts the rows back in order, and refuses a row that comes twice.

# %%
from workbook.methods.torch.features import extract_layers, numbered

loader = DataLoader(numbered(images["photo_digits"], labels), batch_size=256, shuffle=True)
extracted = extract_layers(network, ["block3"], loader)
for_each = {"labels in data-set order": shuffled, "labels carried along": extracted.layers["block3"]}
orders = {name: scores(rows, task, lambda k: KNeighborsClassifier(1), 10) for name, rows in for_each.items()}
record_table("05.shuffled", {"shuffled loader": orders})
claim(
    "05.order-lost",
    "labels in data-set order leave accuracy below one in five, labels carried along bring back the unshuffled score",
    max(orders["labels in data-set order"]) < 0.2 and np.allclose(orders["labels carried along"], pooled, atol=0.01),
)
claim(
    "05.order-kept",
    "row numbers and labels come back as the data set has them, features as without shuffling (within 1e-4)",
    bool(
        np.array_equal(extracted.labels, task.labels)
        and np.allclose(extracted.layers["block3"], features["photo_digits"], atol=1e-4)
    ),
)

# %% [markdown]
# Accuracy **at chance** is the symptom to remember: where the network should have something to say, suspect the order of the rows before the features. A cheap guard: run one image, not the first, through the network by itself and compare with its stored row.
#
# ## Which layer, pooled how?
#
# **Predict**: will the last block be best for digits, although it was trained to tell *letters* apart? Average pooling forgets *where*; maximum keeps how strongly a map answered anywhere; keeping every place (flattened) forgets nothing and has up to 6,144 columns. This is a choice, so it is
# made on *validation* rows and on draws (1000 to 1002) that no result uses. The classifier is a linear SVM (support vector machine: of all planes between two classes, the one furthest from the nearest rows) with one fixed setting.

# %%
from sklearn.preprocessing import normalize
from sklearn.svm import SVC

from workbook.methods.features import POOLINGS

LAYERS = {"stem": "stem, before ReLU", "relu": "stem", "block1": "block1", "block2": "block2", "block3": "block3"}
search_draws = range(1000, 1000 + min(3, draws))
by_pooling = {}
for how in POOLINGS:
    got = extract_layers(network, list(LAYERS), DataLoader(numbered(images["photo_digits"], labels), 256), how=how)
    for node, layer in LAYERS.items():
        by_pooling.setdefault(f"{layer}", {})[how] = scores(
            normalize(got.layers[node]), task, lambda k: SVC(kernel="linear", C=10), 5, search_draws, "validation"
        )
record_table("05.layers", by_pooling, corner="photo_digits, k = 5, validation rows")

# %% [markdown]
# Read down the first column: averaged over places, the stem is at chance and each block adds a great deal. Read along the rows: averaging costs the early layers most, because their maps are *local* (a small edge, here) and the place was much of the
# information. Keep the places and block2 comes within five or six points of block3, at
# thirty times the columns. In the last block each place sees most of the picture, and pooling costs nothing that three draws could show. (For targets further from the source an earlier layer can win outright. Measure.) The first row is a trap of its own:
# a convolution followed by an average is *linear* in the image. This convolution moves in steps of two, so apart from the border each of the 24 columns is a weighted sum of the same four numbers, the mean brightness over even or odd rows and even or odd
# columns; and these four hardly differ. Where places are kept, the node *after* the rectifier has the better mean, though three draws do not settle it.

# %%
average = [np.mean(by_pooling[layer]["average"]) for layer in ("stem", "block1", "block2", "block3")]
claim(
    "05.deeper-is-better-when-averaged",
    "photo_digits, k = 5, averaged over places: each layer from block1 on is over ten points better than the one before",
    min(np.diff(average)) > 0.1,
)
claim(
    "05.early-layers-need-their-places",
    "flattened, block2 is over fifteen points better than averaged; for block3 the two are within five",
    bool(
        np.mean(by_pooling["block2"]["flat"]) > average[2] + 0.15
        and abs(np.mean(by_pooling["block3"]["flat"]) - average[3]) < 0.05
    ),
)

# %% [markdown]
# ## Normalised or not, and by whom
#
# Distances and regularisers depend on scale. Three common treatments: scale each *row* to length 1 (**unit length**); take off the row's mean before that (**contrast**); or subtract from each *column* its mean and divide by its standard deviation
# (**standardised**, 标准化). The first two look at one row at a time. The third *learns*
# means and deviations, so it must be fitted on training rows only, and inside cross-validation on the training part of each fold. A scikit-learn `Pipeline` does that by itself, if the scaler is *in* it.
#
# The second thing a classifier needs is its regularisation: C for logistic regression and SVMs (the larger, the more a wrong training row counts against large weights), the number of neighbours, and for *prototypes* (the nearest class mean wins) a
# shrinkage, between measuring distance by the spread within classes and plainly. A *kernel SVM* is a linear one in a space of similarities, so its border may bend. Here is the whole recipe for one of them; `classifier(name, k)` in
# `workbook.methods.features` has the others, each with **four candidates**:

# %%
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

pipeline = Pipeline([("scale", StandardScaler()), ("model", LogisticRegression(max_iter=2000))])
folds = StratifiedKFold(3, shuffle=True, random_state=seed)
search = GridSearchCV(pipeline, {"model__C": [1, 10, 100, 1000]}, cv=folds)
rows = sample_k_shot(task, 10, seed=0)
_ = search.fit(features["photo_digits"][rows], task.labels[rows])
print("the scaler saw", int(search.best_estimator_["scale"].n_samples_seen_), "rows")

# %%
from functools import partial

from workbook.methods.features import CLASSIFIERS, SCALINGS, classifier

by_scaling = {name: {} for name in CLASSIFIERS}
for name in CLASSIFIERS:
    for scaling in SCALINGS:
        tuned = partial(classifier, name, scaling=scaling)
        by_scaling[name][scaling] = scores(features["photo_digits"], task, tuned, 5, search_draws, "validation")
record_table("05.scaling", by_scaling, corner="photo_digits, k = 5, validation rows")

# %% [markdown]
# (The printed hundred are all training rows: the best setting is fitted once more on all of them. Inside the folds the scaler saw two thirds.) On these features the treatments differ little beside the intervals; for every classifier the mean with a fixed
# length is a little above the one without. We take unit length from here on for features, and for pixels 'contrast', which was chosen on validation rows too (not shown): it takes off brightness and contrast, two things that differ from photograph to photograph.
#
# ## With one example a class there is nothing to tune
#
# At $k = 1$ no row can be held out without losing its class: cross-validation is impossible. Some classifier and setting must be fixed beforehand. How much hangs on it? Four classifiers, fitted on one draw, each name every picture:

# %%
try:
    rows = sample_k_shot(task, 1, seed=0)
    search.fit(features["photo_digits"][rows], task.labels[rows])
except ValueError as error:
    print("ValueError:", str(error).split(".")[0])
h, one = normalize(features["photo_digits"]), {}
for name in ("nearest neighbours", "prototypes", "linear SVM", "kernel SVM"):
    one[name] = classifier(name, 1).fit(h[rows], task.labels[rows]).predict(h)
same = np.mean([one["nearest neighbours"] == guess for guess in one.values()])
claim(
    "05.one-shot-all-the-same",
    "at k = 1 four different classifiers give the same label to over 99.9 % of rows",
    same > 0.999,
)

# %% [markdown]
# Hardly anything, between these four. The reason is geometry. Let $h_c$ be the one example of class $c$. A **prototype** (原型, the mean of a class's rows) *is* $h_c$, so nearest prototype is nearest neighbour. An SVM between two points puts its plane
# half-way, at right angles to $h_c - h_{c'}$, whatever its C; with more classes scikit-learn fits one SVM to each pair and lets them vote, and the nearest point wins all its votes. The Gaussian kernel $e^{-\gamma \lVert h - h' \rVert^2}$ does the same in
# a space where a larger distance is still a larger distance. Five classifiers become nearly one (logistic regression, which weighs all classes at once, differs by a point or so): in one-shot learning, **the features are the classifier.**
#
# ## Classifiers against classifiers, and against pixels
#
# Now the whole table, on test rows. The pixels get the same care: nearest neighbours, logistic regression and a kernel SVM, each with as many candidates, on pictures averaged 2 × 2 (a quarter of the columns; on validation rows no worse). At $k = 1$ each
# takes one setting fixed beforehand on validation rows, the same for features and pixels. **Predict**: at how many examples does plain pixels' best catch up?

# %%
small = {
    name: task.inputs.reshape(-1, 16, 2, 16, 2).mean(axis=(2, 4)).reshape(len(task.labels), -1)
    for name, task in tasks.items()
}
arms = {name: (features, name, "unit length") for name in CLASSIFIERS}
for name in ("nearest neighbours", "logistic regression", "kernel SVM"):
    arms[f"pixels: {name}"] = (small, name, "contrast")
grid = {}
for name, task in tasks.items():
    for arm, (rows, kind, scaling) in arms.items():
        for k in ks:
            grid[name, arm, k] = scores(rows[name], task, partial(classifier, kind, scaling=scaling), k)
    table = {arm: {f"k={k}": grid[name, arm, k] for k in ks} for arm in arms}
    record_table(f"05.{name}", table, corner=name)

# %%
import matplotlib.pyplot as plt

from workbook.plotting import COLOURS

figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), sharey=True)
for axis, name in zip(axes, tasks):
    for arm, colour in zip(arms, list(COLOURS.values())):
        means = [np.mean(grid[name, arm, k]) for k in ks]
        style = {"linestyle": "--", "marker": "x"} if arm.startswith("pixels") else {"marker": "o"}
        axis.plot(ks, means, color=colour, label=arm, **style)
    axis.set(xscale="log", xticks=ks, xticklabels=ks, title=name, xlabel="labelled examples a class, k")
    axis.minorticks_off()
axes[0].set_ylabel("accuracy on test rows")
_ = axes[0].legend(fontsize=9, loc="lower right")

# %% [markdown]
# *Two panels, accuracy against k on a logarithmic axis. Left, handwriting: five solid lines (features) run close together at the top, three dashed ones (pixels) climb from below and end close to them. Right, photo_digits: the five solid lines again lie close
# together near the top, the pixels' kernel SVM and nearest neighbours climb steeply but stay below, and logistic regression on pixels stays near the bottom at every k.*

# %%
many, few = max(ks), [k for k in ks if k < max(ks)]
on_pixels, on_features = [a for a in arms if a.startswith("pixels")], CLASSIFIERS
claim(
    "05.any-classifier-beats-pixels",
    f"photo_digits, k = {few}: the worst classifier on features beats the best on pixels in every draw",
    all(
        min(grid["photo_digits", a, k][draw] for a in on_features)
        > max(grid["photo_digits", a, k][draw] for a in on_pixels)
        for k in few
        for draw in range(draws)
    ),
)
spread = [np.mean(grid["photo_digits", a, 5 if 5 in ks else ks[0]]) for a in on_features]
claim(
    "05.features-matter-more-than-classifiers",
    "photo_digits, k = 5: five tuned classifiers on the same features lie within four points of each other",
    max(spread) - min(spread) < 0.04,
)
gap = {
    k: np.mean(np.subtract(grid["handwriting", "kernel SVM", k], grid["handwriting", "pixels: kernel SVM", k]))
    for k in ks
}
claim(
    "05.pixels-come-near-on-handwriting",
    "handwriting, kernel SVM: pixels lose over fifteen points to features at one example a class, under four at fifty",
    bool(gap[min(ks)] > 0.15 and gap[many] < 0.04),
)

# %% [markdown]
# So here: choose features with care and the classifier by convenience. Your prediction? On handwriting the pixels close most of the gap, though at fifty examples they still make several times the errors; on photographs they have not caught up. There the
# kernel SVM is the better opponent at fifty examples: a report that compared with the nearest
# neighbour only would have flattered the features by some points.
#
# Look at logistic regression on pixels, too. On photographs it reads *worse* with five examples a class than with one. A likely reason: the digits are lighter *or* darker than what is behind them, so a weight that is right for one is wrong for the other,
# and with several examples they cancel. A linear model on pixels cannot say 'different from
# the background'; linear on features it can, where rectified filters have already said it.
#
# ## Keep the numbers, close the network
#
# In evaluation mode (batch normalisation with its stored statistics, nothing random) the frozen network gives the same $h$ for the same $x$ every time. So compute it once. A linear head is trained here by gradient steps, twice, from the same start and
# over the same batches: once looking its features up, once running the network for every batch.

# %%
from torch import nn
from torch.nn import functional as F


def train_head(batch_features, labels, epochs, seed):
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(128, 10)
    nn.init.zeros_(head.weight), nn.init.zeros_(head.bias)
    optimiser = torch.optim.AdamW(head.parameters(), lr=0.03)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(32):
            loss = F.cross_entropy(head(batch_features(rows)), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return head


@torch.no_grad()
def run_network(pictures):
    return F.normalize(network.features(pictures))


# %%
import time

task = tasks["photo_digits"]
train = sample_k_shot(task, many, seed=0)
pictures, targets = images["photo_digits"][train], labels[train]


def timed(work):
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


again, seconds_again = timed(lambda: train_head(lambda rows: run_network(pictures[rows]), targets, epochs, seed))
cache, seconds_cache = timed(lambda: run_network(pictures))
looked_up, seconds_head = timed(lambda: train_head(lambda rows: cache[rows], targets, epochs, seed))

# %%
times = {
    "network every epoch": [seconds_again],
    "extraction, once": [seconds_cache],
    "head on the cache": [seconds_head],
}
guesses = [head(torch.from_numpy(h[task.test])).argmax(1).numpy() for head in (again, looked_up)]
record_table("05.caching", {f"{epochs} epochs": times}, unit="s", digits=2)
claim(
    "05.caching-changes-nothing",
    "the head trained on the cache and the one trained through the network guess alike on 99 in 100 test rows",
    np.mean(guesses[0] == guesses[1]) >= 0.99,
)
claim(
    "05.caching-is-faster",
    "extraction and head together take less than a third of the time",
    seconds_cache + seconds_head < seconds_again / 3,
)

# %% [markdown]
# With $N$ images, $t$ seconds an image through the network and $E$ epochs, running it again costs $E N t$ and the cache $N t$: it has paid for itself in the second epoch, and the ratio is $E$, less what the head costs. The price is elsewhere. **A cache
# forbids fresh augmentation**: a shifted copy has other features. One may cache a few
# augmented copies, or run the network after all. Is it worth it? Five examples a class, shifts of up to two pixels, one learning rate for all three (not tuned for any):

# %%
from workbook.methods.torch.training import random_shift

h_torch = torch.from_numpy(h)


def three_ways(draw):
    rows, generator = sample_k_shot(task, 5, seed=draw), torch.Generator().manual_seed(draw)
    shots = images["photo_digits"][rows]
    copies = torch.stack([run_network(random_shift(shots, reach, generator)) for reach in [0] + [2] * 8])
    yield lambda part: copies[0, part]
    yield lambda part: copies[torch.randint(9, (len(part),), generator=generator), part]
    yield lambda part: run_network(random_shift(shots[part], 2, generator))


def head_accuracy(way, draw):
    rows = sample_k_shot(task, 5, seed=draw)
    guess = train_head(way, labels[rows], 2 * epochs, draw)(h_torch[task.test]).argmax(1)
    return (guess == labels[task.test]).double().mean().item()


by_draw = np.array([[head_accuracy(way, draw) for way in three_ways(draw)] for draw in range(draws)])
ways = dict(zip(("cache", "cache of nine copies", "fresh shifts"), by_draw.T))
record_table("05.augmentation", {"photo_digits, k = 5": ways})
lost = np.subtract(ways["fresh shifts"], ways["cache"])
claim(
    "05.fresh-shifts-buy-little",
    "fresh shifts change the mean accuracy of a head on frozen features by less than three points",
    abs(lost.mean()) < 0.03,
)

# %% [markdown]
# Not here. A likely reason: pre-training moved its letters by as much, so the features already answer nearly alike. Augmentation has more to give where the *features* can still learn from it.
#
# ## When features beat fine-tuning
#
# The dearest experiment was made once for chapter 01, as a reference grid of twelve draws that ships with the course; at one example a class it is cheap enough to repeat. Fine-tuning's rate is the one that validation rows chose there; the probe is
# another of its four candidates than the one chosen, without shifted copies. (Fine-tuning does shift its pictures, a help that the probe does not get.)

# %%
from workbook.methods.torch.learning_curve import CANDIDATES, Bench
from workbook.reference import read_reference, record_values

bench = Bench(task, load_glyphnet, steps)
live = {}
for arm, label in {"probe": "linear probe", "finetuned": "fine-tuned"}.items():
    live[label] = [bench.run(arm, 1, draw, CANDIDATES[arm][2]) for draw in range(min(3, draws))]
record_table("05.live", {"photo_digits, k = 1": live})
claim(
    "05.features-win-live",
    "one example a class: the probe beats fine-tuning in each of three draws",
    np.subtract(*live.values()).min() > 0,
)
reference = read_reference("01_concepts")
paired = {name: record_values(reference, "reference", f"01.difference-{name}") for name in tasks}
lead = {name: {f"k={k}": [paired[name]["probe − fine-tuned", f"k={k}"][0]] for k in ks} for name in tasks}
record_table("05.lead", lead, corner="reference grid: probe − fine-tuned")
claim(
    "05.features-win-early-not-late",
    "reference grid: the probe leads on both tasks at k = 1, fine-tuning on photo_digits at k = 50 (intervals clear of zero)",
    all(paired[name]["probe − fine-tuned", "k=1"][1] > 0 for name in tasks)
    and paired["photo_digits"]["probe − fine-tuned", "k=50"][2] < 0,
)

# %% [markdown]
# At fifty examples on photographs fine-tuning leads by about half a point, on handwriting by nothing; the early lead of the probe is far larger. (The intervals are in chapter 01.) A rule of thumb with its reason: features win while labels are too few to
# improve $\phi$ without spoiling it; fine-tuning wins when there are enough, *and* when the source's features lack something that the target needs. A third consideration is money: a probe takes seconds, and one stored network serves many tasks.
#
# ## Looking at features
#
# Three hundred test pictures of photo_digits as pixels, as features of a network that learned nothing, of GlyphNet, and of GlyphNet fine-tuned for a few steps on twenty other pictures a class. First a number: how often do a picture's five nearest neighbours (itself left out) vote for its class?

# %%
from data_scripts.glyphnet_torch import GlyphNet
from workbook.methods.features import neighbour_accuracy
from workbook.methods.torch.training import extract_features, fit

shown = task.test[:300]
torch.manual_seed(seed)
views = {"pixels": pixels["photo_digits"][shown]}
views["untrained network"] = extract_features(GlyphNet(10), images["photo_digits"][shown]).numpy()
views["GlyphNet"] = features["photo_digits"][shown]
tuned = []
for draw in range(min(3, draws)):
    rows = torch.from_numpy(sample_k_shot(task, 20, seed=draw))
    learner = bench.network("finetuned", draw)
    fit(learner, images["photo_digits"][rows], labels[rows], steps=steps // 2, learning_rate=3e-3, seed=draw)
    tuned.append(extract_features(learner, images["photo_digits"][shown]).numpy())
views["GlyphNet, fine-tuned"] = tuned[0]
votes = {name: [neighbour_accuracy(view, task.labels[shown], 5)] for name, view in views.items()}
votes["GlyphNet, fine-tuned"] = [neighbour_accuracy(view, task.labels[shown], 5) for view in tuned]
record_table("05.votes", {"five neighbours, all dimensions": votes})
claim(
    "05.pre-training-brings-classes-together",
    "five-neighbour accuracy: GlyphNet over fifteen points above pixels, pixels over twenty above an untrained network",
    votes["GlyphNet"][0] > votes["pixels"][0] + 0.15 and votes["pixels"][0] > votes["untrained network"][0] + 0.2,
)

# %% [markdown]
# This network with random weights and average pooling is *worse* than pixels: what GlyphNet gains comes from its training, not from its architecture alone. Fine-tuning may add part of the little that is left; its interval over three draws does not exclude that it adds nothing. Now the pictures.

# %%
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

figure, axes = plt.subplots(2, 4, figsize=(11, 5.6))
for column, (name, view) in zip(axes.T, views.items()):
    for axis, method in zip(column, (PCA(2), TSNE(2, perplexity=30, max_iter=500, random_state=seed))):
        places = method.fit_transform(view)
        for digit in range(10):
            points = places[task.labels[shown] == digit]
            axis.scatter(*points.T, marker=f"${digit}$", s=18, lw=0.3, color=f"C{digit % 8}")
        axis.set(title=f"{type(method).__name__}: {name}", xticks=[], yticks=[])
        axis.title.set_fontsize(10)
_ = axes[0, 0].set_ylabel("2nd component"), axes[1, 0].set_ylabel("no unit")

# %% [markdown]
# *Eight scatter plots of the same three hundred pictures, each drawn as its digit (8 and 9 share the colours of 0 and 1); above PCA, below t-SNE. Pixels: a few large clumps in which all digits are mixed. Untrained network: all mixed. GlyphNet:
# overlapping groups of one digit in PCA, nearly separate islands in t-SNE. Fine-tuned: the same, with islands drawn smaller, of which more in a moment.*
#
# **PCA** (主成分分析) is the linear projection of largest variance; distances in it are real, as far as two directions of 128 (of 1,024 for pixels) go. **t-SNE** places points so that each keeps its *neighbours* (about as many as its setting `perplexity`
# says), and chooses a scale of its own around every point. What it does not show can be staged: three Gaussian clouds, the
# second ten times as wide as the first, the third many times further from the first than the second is.

# %%
chance = np.random.default_rng(seed)
centres, widths = np.eye(10)[:3] * [[0], [40], [400]], (0.5, 5.0, 0.5)
clouds = np.concatenate([c + w * chance.normal(size=(60, 10)) for c, w in zip(centres, widths)])


def width_and_distance(points):
    parts = points.reshape(3, 60, -1)
    wide = [np.sqrt(part.var(axis=0).sum()) for part in parts]
    middle = parts.mean(axis=1)
    return wide[1] / wide[0], np.linalg.norm(middle[2] - middle[0]) / np.linalg.norm(middle[1] - middle[0])


rows = {"in truth": clouds, "in the t-SNE picture": TSNE(2, max_iter=500, random_state=seed).fit_transform(clouds)}
ratios = {name: width_and_distance(points) for name, points in rows.items()}
columns = ("second cloud's width / first's", "far distance / near distance")
record_table("05.tsne", {name: {c: [v] for c, v in zip(columns, both)} for name, both in ratios.items()}, digits=1)
claim(
    "05.tsne-forgets-sizes-and-distances",
    "both true ratios are over eight; in the t-SNE picture both are under three",
    min(ratios["in truth"]) > 8 and max(ratios["in the t-SNE picture"]) < 3,
)

# %% [markdown]
# The picture makes both ratios about one: neither the wide cloud nor the far one can be recognised. So: no conclusions from sizes of clusters (nor from the small islands above), gaps between them, or empty space; and never a figure without its number (the vote above).
#
# ## On a GPU: features at real size
#
# ResNet-50 at 224 × 224 pixels in bfloat16. Throughput does not depend on what the weights are, so they are random here. What share of the card's peak is reached? The peak is measured on the spot, by a large matrix product in the same type.

# %% tags=["gpu", "nbval-ignore-output"]
from torchvision.models import resnet50

section = gpu(on_cpu=gpu_on_cpu)


def seconds_of(work, repeats):
    work()
    if section.device == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(repeats):
        work()
    if section.device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - begun) / repeats


if section:
    side, repeats = section.size(8192, 256), section.size(20, 1)
    square = torch.randn(side, side, device=section.device, dtype=torch.bfloat16)
    peak = 2 * side**3 / seconds_of(lambda: square @ square, repeats)
    record("05.gpu.matrix-peak", peak / 1e12, unit="TFLOP/s")

# %% tags=["gpu", "nbval-ignore-output"]
from torch.utils.flop_counter import FlopCounterMode

if section:
    big = resnet50(weights=None).eval().to(section.device, torch.bfloat16, memory_format=torch.channels_last)
    big.fc = nn.Identity()
    size, rates = section.size(224, 64), {}
    with torch.inference_mode():
        for number in section.size([1, 8, 32, 128, 512, 1024], [1, 2]):
            batch = torch.randn(number, 3, size, size, device=section.device, dtype=torch.bfloat16)
            batch = batch.contiguous(memory_format=torch.channels_last)
            with FlopCounterMode(display=False) as counter:
                vectors = big(batch)
            rate = number / seconds_of(partial(big, batch), repeats)
            share = rate * counter.get_total_flops() / number / peak
            rates[f"batch {number}"] = {"images/s": [rate], "share of peak": [share]}
    record_table("05.gpu.extraction", rates)
    if section.device == "cuda":
        record("05.gpu.peak-memory", torch.cuda.max_memory_allocated() / 2**20, unit="MiB", digits=0)

# %% [markdown]
# And the break-even, reckoned from the measured rate and the measured time of one epoch of the head: for $N$ images, $E$ epochs through the network against one pass and $E$ epochs of a linear head on stored rows of 2,048 numbers.

# %% tags=["gpu", "nbval-ignore-output"]
if section:
    count, fastest = section.size(50_000, 64), max(row["images/s"][0] for row in rates.values())
    stored = torch.randn(count, 2048, device=section.device, dtype=torch.bfloat16)
    head = nn.Linear(2048, 100, device=section.device, dtype=torch.bfloat16)
    head_epoch = seconds_of(
        lambda: [head(part).float().logsumexp(1).mean().backward() for part in stored.split(256)], 1
    )
    rerun, cached = (
        [e * (count / fastest + head_epoch) for e in (1, 10)],
        [count / fastest + e * head_epoch for e in (1, 10)],
    )
    rows = {"network every epoch": rerun, "cached": cached}
    record_table(
        "05.gpu.break-even", {name: {"1 epoch": [a], "10 epochs": [b]} for name, (a, b) in rows.items()}, unit="s"
    )
    record("05.gpu.cache-size", stored.nbytes / 2**20, unit="MiB", digits=1)

# %% [markdown]
# No figure from a real card is recorded beside this lesson yet. Expect small batches to leave most of the card idle, and in practice the *decoding of pictures* to be slower than the network: one more reason to do it once.
#
# ## What to take away
#
# - Pool, state how many rows must come out, and let row numbers and labels travel with the images.
# - The layer and its pooling are chosen on validation rows. Here the last block won; earlier ones need their places kept.
# - Scalers and regularisation are fitted inside the training rows. At $k = 1$ there is nothing to tune, and on rows of unit length nearly nothing to choose.
# - The features decide more than the classifier; but tune a classifier on pixels as well, and see how far it comes.
# - A cache costs one pass and repays from the second epoch on; it forbids fresh augmentation, which bought little here.
#
# > **Mistakes box.** *Maps reshaped so that one image becomes 16 or 49 rows. Features from a shuffled loader, labels in data-set order. The source head's class predictions (a thousand numbers, for an ImageNet network) taken for features. A scaler fitted
# > on all rows. Comparing with 1-nearest neighbour only. Reading sizes and distances off a t-SNE picture.*
#
# **A question left open.** We found the best layer by fitting and scoring a classifier for each. With a hundred networks to choose from, could a formula tell us beforehand? ([05b](05b_transferability.ipynb).) The lab of chapter 05 hands you features whose rows may be scrambled.
#
# **Sources.** J. Donahue et al., *DeCAF: A Deep Convolutional Activation Feature for Generic Visual Recognition*, ICML 2014 · A. S. Razavian et al., *CNN Features off-the-shelf*, CVPR workshops 2014 · J. Snell, K. Swersky and R. Zemel, *Prototypical
# Networks for Few-shot Learning*, NeurIPS 2017 · L. van der Maaten and G. Hinton,
# *Visualizing Data using t-SNE*, JMLR 2008 · F. Pedregosa et al., *Scikit-learn: Machine Learning in Python*, JMLR 2011.
