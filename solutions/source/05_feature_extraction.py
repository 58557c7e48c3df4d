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
# # Lab 05 · Features: taken, trusted, put to use
#
# Eight exercises on lessons [05](../chapters/05_feature_extraction.ipynb) to [05e](../chapters/05e_photographs_features.ipynb), about an hour and three quarters in all. They need NumPy, SciPy and scikit-learn; PyTorch is needed in 05.2, and makes features elsewhere. You write where it says *your answer*; the cell below judges what you wrote on fresh random inputs, as often as you like. Stuck? Each exercise has two or three hints, from a nudge to nearly everything: call `hint("05.1")` and so on.
#
# The notation is the course's: $h_i \in \mathbb R^d$ are the features of image $i$, a row of an array `(n, d)`; $y_i$ is its label, a number from 0 to $K - 1$. *Maps* are what a convolution gives, `(images, channels, height, width)` in PyTorch; the *places* are the $H \cdot W$ points of a map. A *cache* is what is kept: features and labels, row by row.

# %% tags=["parameters"]
seed = 0  # type: int

# %%
import copy

import numpy as np
import torch
from scipy.linalg import eigh

from workbook.exercises.lab import check, hint, show_progress
from workbook.lesson import begin

begin("torch", seed=seed)
random = np.random.default_rng(seed)

# %% [markdown]
# ### 05.1 · Where does a number land? (2 points, 6 minutes)
#
# Feature maps lie in memory as `maps[image, channel, row, column]`, the last index running fastest. A widely copied listing wants one row an image and writes `maps.reshape(-1, C)`, with C the number of channels. Before you run anything: *in which row and in which column of the result does `maps[i, c, h, w]` end up?* Write it as a function of the four indices and the sizes C, H and W, for maps of any height and width; it returns the pair `(row, column)`, both counted from 0.


# %%
def lands(i, c, h, w, C, H, W):
    # BEGIN SOLUTION
    place = ((i * C + c) * H + h) * W + w
    return place // C, place % C
    # END SOLUTION


# %%
check("05.1", lands)

# %% [markdown] tags=["solution-only"]
# The place in memory, divided by the length of a row: quotient and remainder. The usual answer, row $(i\,H + h)\,W + w$ and column $c$, is what the author of the listing had in mind. It would be right if channels came last, and even then one image would be $H \cdot W$ rows, 49 for maps of 7 × 7. Only for maps of a single place does the reshape do what was wanted.

# %% [markdown]
# ### 05.2 · One pass, three mistakes (3 points, 12 minutes)
#
# A colleague runs a network over batches and keeps the features, one row an image, averaged over places. Each batch holds images, their labels and their `rows`, which are row numbers in the data set (from 0 on, each once); the loader shuffles. Features and labels are to come back in the order of the data set.


# %%
def colleagues_pass(network, batches):
    features, labels = [], {}
    for images, targets, rows in batches:
        maps = network(images)  # (images, channels, height, width)
        features.append(maps.mean(dim=(1, 2)))
        labels |= dict(zip(rows.tolist(), targets.tolist()))
    return torch.cat(features).detach().numpy(), np.array([labels[row] for row in sorted(labels)])


# %%
from data_scripts.photo_digits import load_photo_digits
from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.torch.training import as_images

task, glyphnet = load_photo_digits(), load_glyphnet()
train = task.train[:300]
pictures, digits = as_images(task.inputs[train]), torch.from_numpy(task.labels[train])
shuffled = torch.from_numpy(random.permutation(300))
batches = [(pictures[rows], digits[rows], rows) for rows in shuffled.split(64)]
parts = glyphnet.stem, glyphnet.stem_bn, torch.nn.ReLU(), glyphnet.block1, glyphnet.block2, glyphnet.block3
trunk = torch.nn.Sequential(*parts).train()  # as a training script leaves it
found, _ = colleagues_pass(copy.deepcopy(trunk), batches)
print("images:", len(train), "· channels of the last maps: 128 · features:", found.shape)

# %% [markdown]
# The shape tells of one mistake; the other two keep it. *Hand in a function that makes none,* and that leaves the network's weights and statistics as they were. It returns the features `(n, C)` and the labels `(n,)`, as arrays or tensors.


# %%
def one_pass(network, batches):
    # BEGIN SOLUTION
    network.eval()
    kept, given, numbers = [], [], []
    with torch.inference_mode():
        for x, y, at in batches:
            kept.append(network(x).mean(dim=(2, 3)))
            given.append(y)
            numbers.append(at)
    order = torch.cat(numbers).argsort()
    return torch.cat(kept)[order].numpy(), torch.cat(given)[order].numpy()
    # END SOLUTION


# %%
check("05.2", one_pass)

# %% [markdown] tags=["solution-only"]
# 1. *The wrong axes.* `dim=(1, 2)` averages over channels and over one direction of the picture. With maps as high as they are wide the result has a harmless shape; that it is not 128 columns is the only sign.
# 2. *Training mode.* Batch normalisation then normalises by the batch, so that an image's features depend on its neighbours, and moves its running statistics: the frozen network is another one after the pass. Switching gradients off does not prevent it; only `eval()` does.
# 3. *Two orders.* Labels are sorted by row number, features are not. Leaving both in the loader's order looks consistent, and fails as soon as a second cache, of another layer say, comes from another shuffle.

# %% [markdown]
# ### 05.3 · Do these rows belong to these labels? (3 points, 15 minutes)
#
# Now you get caches that others have made, and cannot ask. All shapes are right. In some, row $i$ of the features belongs to label $i$; in others the loader had shuffled, or the first picture was dropped on the way, and every row stands beside the label of the picture before it. The networks behind them are good or hardly of use, the classes equally frequent or one far more frequent than the others, and a column may be in units of its own. Here are two caches to try things on, one in order and one scrambled:

# %%
from workbook.exercises.lab_05 import draw_cache

in_order = draw_cache(random, "weak", belongs=True)
scrambled = draw_cache(random, "unequal", belongs=False)
print({name: values.shape for name, values in scrambled.items()})

# %% [markdown]
# *Write the function that says whether the rows belong to the labels,* `True` or `False`. It is judged on thirty-two fresh caches, and may be wrong about two. Whatever number you compute, think of what it would be by chance.


# %%
def belongs(features, labels):
    # BEGIN SOLUTION
    x = (features - features.mean(axis=0)) / features.std(axis=0)
    square = (x**2).sum(axis=1)
    distance = square[:, None] + square - 2 * x @ x.T
    np.fill_diagonal(distance, np.inf)
    nearest, coin = distance.argmin(axis=1), np.random.default_rng(0)
    by_chance = []
    for _ in range(300):
        mixed = coin.permutation(labels)
        by_chance.append((mixed[nearest] == mixed).mean())
    return (labels[nearest] == labels).mean() > np.quantile(by_chance, 0.99)
    # END SOLUTION


# %%
check("05.3", belongs)

# %% [markdown] tags=["solution-only"]
# A permutation test: the same number, for labels that certainly do not belong. Every fixed threshold fails on one side. With eight classes and a weak network, a quarter of the nearest neighbours agree, about twice what chance gives; with one class at four fifths, nearly two thirds agree by chance alone. Comparing with the share of the most frequent class is nearer, but it does not know how much chance scatters: where classes are equally frequent, some scrambled caches pass. And without standardising, one column in large units decides who is near to whom. An analysis of variance of each column (`sklearn.feature_selection.f_classif`), with a correction for the number of columns, does as well and is faster.

# %% [markdown]
# ### 05.4 · The nearest mean, as a linear classifier (2 points, 8 minutes)
#
# Lesson 05c says that the nearest **prototype** is a linear classifier. Show it: with $\mu_c$ the mean feature of class $c$, find $W$ $(K, d)$ and $b$ $(K,)$ such that the logits $W h + b$ equal $-\lVert h - \mu_c \rVert^2$ up to something that is the same for all classes, so that softmax gives the same probabilities. Return the pair `W, b`; classes have different numbers of rows.


# %%
def linear(features, labels):
    # BEGIN SOLUTION
    prototypes = np.stack([features[labels == label].mean(axis=0) for label in np.unique(labels)])
    return 2 * prototypes, -(prototypes**2).sum(axis=1)
    # END SOLUTION


# %%
check("05.4", linear)

# %% [markdown] tags=["solution-only"]
# $-\lVert h - \mu_c \rVert^2 = -\lVert h \rVert^2 + 2\mu_c \cdot h - \lVert \mu_c \rVert^2$, and the first term is the same for every class. Forgetting $b$ compares by inner product, where a prototype far from zero wins too often; on features of length one whose means have nearly equal lengths this does little, which is why the mistake lives long. $\mu_c$ with $-\lVert \mu_c \rVert^2/2$ names the same class and gives other probabilities: it is the same classifier at twice the temperature. A sum divided by $n/K$ in place of the class's own count is right only for equal counts.

# %% [markdown]
# ### 05.5 · A score of your own (3 points, 15 minutes)
#
# Eight sources are on offer, and a hundred labelled images. For each source you get the features of these images, some with few columns, some with more columns than there are images, and every column in its own units. *Write a score,* larger for the better source, from features and labels alone. Better means: a linear probe (ridge regression of one-hot labels on standardised columns) that learns from the hundred images is more often right about *others*. The check wants a rank correlation (Spearman's) of 0.85 between your score and the probe's accuracy, in the mean over eight fresh problems, and gives it fifteen seconds for all of them. Here is one to try things on; its `"probe"` holds the accuracies.

# %%
from workbook.exercises.lab_05 import draw_sources

problem = draw_sources(random)
print("columns of each source:", [rows.shape[1] for rows in problem["features"]])


# %%
def score(features, labels):
    # BEGIN SOLUTION
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=50))
    return cross_val_score(probe, features, labels, cv=folds).mean()
    # END SOLUTION


# %%
check("05.5", score)

# %% [markdown]
# Now real sources: your score ranks the blocks of GlyphNet, best first, on three hundred digits over photographs. Add a source of your own to the dictionary: other pooling, another network, pixels.

# %%
from workbook.methods.torch.features import extract_layers

sources = extract_layers(load_glyphnet(), ["block1", "block2", "block3"], batches).layers
for name in sorted(sources, key=lambda name: -(score(sources[name], digits.numpy()) or 0)):
    print(name)

# %% [markdown] tags=["solution-only"]
# The baseline that lesson 05b warned of: measure on rows that were held out. Scored on the rows that trained it, a probe is right about everything once columns are many, and the source that knows nothing wins; the plain H-score says the same with a formula, since with more columns than rows the features' space holds every labelling. Neighbours on columns as they come measure the column with the largest numbers; on standardised columns they rank well, and so does the nearest mean of one half of the rows, scored on the other half. How the classifier is made matters less than that it is asked about rows it has not seen. The scaler stands inside the pipeline: fitted on all rows it would leak little here, and the habit would leak more elsewhere.

# %% [markdown]
# ### 05.6 · What two views agree on (3 points, 12 minutes)
#
# Pre-training without labels, small enough to solve by hand. Two *views* of each picture are vectors of $D$ numbers, rows $i$ of `first` and `second` showing picture $i$. We look for linear features $u^\top x$ in which the views of one picture agree, while pictures differ: with $C$ the covariance of all views and $C_{12}$ the covariance between partners (symmetrised, so that it does not matter which view is first),
# $$\max_u \; u^\top C_{12}\, u \quad \text{subject to} \quad u^\top C\, u = 1 .$$
# The maximum is the correlation between the two views' features. *Return the matrix $(D, d)$* of the best $d$ directions, each a column: every feature has variance 1 over all views, and any two of them are uncorrelated.


# %%
def agreeing(first, second, d):
    # BEGIN SOLUTION
    mean = (first + second).mean(axis=0) / 2
    a, b = first - mean, second - mean
    C = (a.T @ a + b.T @ b) / (2 * len(a))
    between = (a.T @ b + b.T @ a) / (2 * len(a))
    return eigh(between, C)[1][:, -d:]
    # END SOLUTION


# %%
check("05.6", agreeing)

# %% [markdown] tags=["solution-only"]
# With a Lagrange multiplier, $C_{12} u = \lambda C u$, and multiplying by $u^\top$ shows that $\lambda$ is the agreement itself. Without $C$ on the right-hand side the constraint is $\lVert u \rVert = 1$, and directions with large numbers win for their numbers; minimising the difference of the views alone has the opposite fault and finds where nothing varies, the *collapse* that the denominator of the contrastive loss prevents. Principal components do not look at partners at all. `eigh` gives eigenvalues in rising order, so the first columns agree least.

# %% [markdown]
# ### 05.7 · One distortion left out (3 points, 12 minutes)
#
# The views decide what is ignored. `views(name)` makes two views of five hundred unlabelled pictures, in which slant, thickness and background are drawn anew for each view, except for the one that `name` leaves out: both views then keep the picture's own. `views("none")` leaves none out. And for one target you have 45 labelled rows, `x` and `y`. In some targets a distortion carries the classes, as left and right do in an X-ray.
#
# *Design the experiment and write it:* which distortion should be left out for this target, if any, when two features are kept, `agreeing(*views(name), 2)`? Return one of `names` (the three distortions, in any order) or the text `"none"`. (`agreeing` is yours, from 05.6. Not there yet? `python -m workbook catch-up 05.7` fills in what comes before.) Here is a target whose classes show in the slant; its `"views"` is the function.

# %%
from workbook.exercises.lab_05 import DISTORTIONS, draw_target

target = draw_target(random, "slant")
print(DISTORTIONS, "· labelled rows:", target["x"].shape)


# %%
def leave_out(views, names, x, y):
    # BEGIN SOLUTION
    from sklearn.model_selection import cross_val_score
    from sklearn.neighbors import NearestCentroid

    held_out = {}
    for name in ["none", *names]:
        h = x @ agreeing(*views(name), 2)
        held_out[name] = cross_val_score(NearestCentroid(), h, y, cv=5).mean()
    return max(held_out, key=held_out.get)
    # END SOLUTION


# %%
check("05.7", leave_out)

# %% [markdown] tags=["solution-only"]
# Four experiments that differ in one thing, the same classifier and the same held-out rows for each, and the downstream score as the judge. Judging by agreement is the tempting mistake: whatever is left out is shared by both views exactly, so agreement rises and something is *always* left out. That is lesson 05c's low loss with bad features. Scoring a nearest neighbour on the rows that it has learned says 'always right' for every choice. The accuracy found here has chosen, so it flatters; to report the target's accuracy, other rows are needed.

# %% [markdown]
# ### 05.8 · Open challenge: the wrong labels (4 points, 25 minutes)
#
# Three hundred digits over photographs, as GlyphNet's features, and a third of the labels of every digit are wrong. In some problems a wrong label is *any* other digit; in others it is always the digit that this one is confused with (lesson 05d's pairs: 4 and 9, 3 and 8, 1 and 7, 5 and 6, 0 and 2). You are not told which of the two it is, but how many labels are wrong. Here is a problem of each kind, first *any*, then *pairs*, with the true digits (`"truth"`) to try things out on; the check makes others.

# %%
from workbook.exercises.lab_05 import draw_mislabelled

trials = list(draw_mislabelled(random))
print({name: values.shape for name, values in trials[0].items()})

# %% [markdown]
# *Return the row numbers of the `count` labels that you trust least,* in any order, from the features and labels alone. Ninety per cent of the wrong labels are wanted for each kind, in the mean over three problems. A classifier that has learned the wrong labels by heart finds few of them. scikit-learn is allowed, and so is everything that you have written above.


# %%
def find_wrong(features, labels, count):
    # BEGIN SOLUTION
    h, rows = features / np.linalg.norm(features, axis=1, keepdims=True), np.arange(len(labels))
    trusted = np.full(len(labels), True)
    for _ in range(5):
        W, b = linear(h[trusted], labels[trusted])
        logits = h @ W.T + b
        own = logits[rows, labels]
        logits[rows, labels] = -np.inf
        suspects = np.argsort(own - logits.max(axis=1))[:count]
        trusted = ~np.isin(rows, suspects)
    return suspects
    # END SOLUTION


# %%
check("05.8", find_wrong)

# %% [markdown] tags=["solution-only"]
# The nearest mean of 05.4, asked how much nearer a row is to another class than to its own; then again without the suspects, so that every round has cleaner means. Lesson 05d's question has its answer here: the model that finds wrong labels best is the one that never memorised them, and a mean of thirty rows cannot. Its own confidence tells a weakly regularised probe little, because it has learned the very labels that it is to doubt: about half of the wrong ones are found. Logistic regression that judges held-out rows only (`cross_val_predict`, features of length one) does well where a wrong label is any digit: the mistakes then disagree with each other. Where they agree, a third of a class says the same wrong thing, the probe finds a direction for it, and far too many wrong labels are believed; so it is with nearest neighbours. k-means that starts from the classes' means does as well as the repeated means: after the start it does not look at the labels at all. And if more than half of a digit had its partner's label, nothing in the features could say which of the two is right.

# %%
show_progress("05")

# %% [markdown]
# **Sources.** Good 2005 (permutation tests); Snell, Swersky and Zemel 2017 (prototypes); Bao et al. 2019 (H-score); You et al. 2021 (LogME); Chen et al. 2020 (contrastive learning); Northcutt, Jiang and Chuang 2021 (confident learning: wrong labels by out-of-fold confidence).
