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
# # 06c · Photographs, reweighted: sub-sampled classes and the wrong kind of picture
#
# **A question.** You collect a training set of photographs, ten kinds of things, and the collection is lopsided: of one kind there are ten times as many pictures as of another. Where the model will work it is the other way round. In a second collection the classes are even, but nearly all pictures are of a sort that will never be met in use.
# The features are frozen, only a linear head is to be trained. What can weights on the training rows repair in each case, without a label from the place of use, and what can they not?
#
# By the end of this lesson you can
#
# - say which correction belongs to class frequencies that differ and which to inputs that differ, and what each does in the other's place;
# - estimate the class frequencies of unlabelled photographs, and put them to use in two ways;
# - choose between accuracy and mean-class accuracy on purpose;
# - explain when a linear head notices weights, and when it does not;
# - read an effective sample size, in a few dimensions and in hundreds.
#
# *About 25 minutes of reading; under a minute of computing on one core at the quick profile, about two at public. Before it: lessons [06](06_instance_reweighting.ipynb) and [06b](06b_weights_in_practice.ipynb); what is used of them is repeated.*

# %% tags=["parameters"]
profile = "quick"  # type: str quick, public or gpu
seed = 0  # type: int
draws = 16  # type: int
most = 30  # type: int
ratio = 10  # type: int
mixed_draws = 10  # type: int
a_class = 12  # type: int

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from workbook.lesson import begin, claim, device, record_table
from workbook.plotting import COLOURS
from workbook.reference import bands, read_reference, record_values
from workbook.statistics import paired_difference, wilson_interval

defaults = (draws, most, ratio, mixed_draws, a_class) == (16, 30, 10, 10, 12)
begin("torch", profile=profile, seed=seed, scope=defaults and seed == 0 and profile in ("quick", "public"))
lopsided, common, wanted = {
    "quick": ("photo_digits", "printed_digits", "photo_digits"),
    "public": ("amazon", "amazon", "webcam"),
}["quick" if profile == "quick" else "public"]
reference = read_reference("06c_photographs_reweighting_public")


def expected(table, ours):
    """Bands of a table's accuracies: its profile's run in the reference, and how far a new one may lie."""
    if profile not in set(reference.job):
        return None
    found = record_values(reference, profile, table)
    return bands({k: v for k, v in found.items() if k[1] != "rows that count"}, draws=ours, ours=ours)


# %% [markdown]
# ## The pictures
#
# At the quick profile they are digits: handwritten ones over pieces of photographs, and printed ones. At public they are ten kinds of things from Office: an online shop's product photographs (*amazon*), and the same kinds of things before a *webcam*. A frozen backbone turns each picture into a row of features, once, which is then scaled to length 1: GlyphNet, trained on printed letters, at quick; SqueezeNet, trained on ImageNet, at public.

# %%
from dataclasses import replace

from sklearn.preprocessing import normalize

from data_scripts.backbones_torch import as_pictures, load_backbone
from data_scripts.pictures import choose_backbone, load_pictures
from data_scripts.printed_digits import load_printed_digits

network = load_backbone(choose_backbone(profile)).to(device())


def load(name):
    if name != "printed_digits":
        return load_pictures(profile, data=name, size=network.size)
    task = load_printed_digits()
    return replace(task, inputs=np.repeat((255 * task.inputs).round().astype(np.uint8)[..., None], 3, axis=-1))


@torch.inference_mode()
def features_of(pictures):
    parts = np.array_split(pictures, len(pictures) // 64 + 1)
    return normalize(np.concatenate([network(as_pictures(part).to(device())).cpu().numpy() for part in parts]))


# %%
tasks = {name: load(name) for name in dict.fromkeys((lopsided, common, wanted))}
features = {name: features_of(task.inputs) for name, task in tasks.items()}
names = tasks[lopsided].class_names
K = len(names)
figure, axes = plt.subplots(len(tasks), 1, figsize=(10, 1.25 * len(tasks)))
for axis, (name, task) in zip(axes, tasks.items()):
    axis.imshow(np.hstack([task.inputs[np.flatnonzero(task.labels == c)[3]] for c in range(K)]))
    axis.set(title=f"{name}, one of each class", xticks=[], yticks=[])

# %% [markdown]
# *Two rows of ten pictures, one a class: the same ten classes with other backgrounds, light and style.*
#
# ## First case: the classes have other frequencies
#
# From one kind of picture we draw, anew each time, a **source** whose classes fall off geometrically, from 30 pictures of the most frequent to 3 of the rarest, in random order; and **unlabelled** rows of the target, in which the order is reversed. So $p(x \mid y)$ is the same and $p(y)$ is not: *label shift* (标签偏移, lesson [02d](02d_distances_and_label_shift.ipynb)). An *oracle*, as large as the source, is drawn at the target's frequencies, with labels.
# Test rows are those of the task's split, the same in every draw, and never drawn from.
#
# How do we score without throwing test rows away? Let $r_c$ be the *recall* of class $c$, the share of its rows that is recognised. It depends on $p(x \mid y{=}c)$ alone, so label shift leaves it as it is, and
#
# $$\text{accuracy at frequencies } \pi \;=\; \sum_c \pi_c\, r_c, \qquad \text{mean-class accuracy} \;=\; \frac1K \sum_c r_c .$$
#
# One set of recalls gives the accuracy at *any* frequencies. **Mean-class accuracy is one of them**: the accuracy of a place where all classes are equally frequent. Report it when every class matters alike, or when nobody knows the frequencies of use; if they are known, it answers another question. We show both.

# %%
from workbook.methods.weighted_head import change_frequencies, fit_weighted_head, held_out_probabilities, recalls

x, y, test = features[lopsided], tasks[lopsided].labels, tasks[lopsided].test
pool = np.setdiff1d(np.arange(len(y)), test)
falls = float(ratio) ** (-np.arange(K) / (K - 1))


def sample(number):
    """Rows of a lopsided source, unlabelled rows of a target lopsided the other way, and labelled ones like these."""
    chance, parts = np.random.default_rng([seed, number, 6]), ([], [], [])
    for c, place in enumerate(chance.permutation(K)):
        rows = chance.permutation(pool[y[pool] == c])
        parts[0].append(rows[: round(most * falls[place])])
        parts[1].append(rows[most:][: round(most * falls[::-1][place] * 2 / 3)])
        parts[2].append(chance.permutation(rows)[: round(most * falls[::-1][place])])
    return [np.concatenate(part) for part in parts]


def frequencies(rows):
    return np.bincount(y[rows], minlength=K) / len(rows)


# %%
source, unlabelled, oracle = sample(0)
plain = fit_weighted_head(x[source], y[source])
right = int((plain.predict(x[test]) == y[test]).sum())
r = recalls(y[test], plain.predict(x[test]), K)
first = {"at the source's frequencies": frequencies(source) @ r, "mean-class": r.mean()}
first |= {"at the target's frequencies": frequencies(oracle) @ r}
record_table("06c.first", {"no weights": {name: [value] for name, value in first.items()}}, corner="first draw")
record_table(
    "06c.wilson",
    {"test rows as they are": dict(zip(("accuracy", "from", "to"), ([v] for v in wilson_interval(right, len(test)))))},
)

# %% [markdown]
# The same head, on the same test pictures, has three accuracies. The second table shows how far a single one of them is known: Wilson's 95 % interval for the test rows as they are. Comparisons below are *paired*, hence sharper; their intervals are over draws of the sub-sampling, test pictures fixed, and do not cover another collection.
#
# ### Which frequencies? Asking pictures without labels
#
# Lesson 02d had two estimators of the target's frequencies $\pi_T$. **EM** moves the classifier's probabilities to the frequencies found so far, takes their mean, and repeats. **Black box** solves $q = M\pi_T$, with $q$ the frequencies of the *predicted* classes in the target and $M$ the confusion matrix on source rows that the classifier has not seen (here: three folds). Beside them, plain *counting* of predictions.
# Expect the rarest class to make trouble: how well can three held-out pictures describe their column of $M$? The distance in the table is the sum of the ten absolute errors.

# %%
from workbook.methods.label_shift import black_box_frequencies, em_frequencies

samples, estimates, off = [sample(number) for number in range(draws)], [], {}
for source, unlabelled, oracle in samples:
    model, now, true = fit_weighted_head(x[source], y[source]), frequencies(source), frequencies(oracle)
    held = held_out_probabilities(x[source], y[source], C=model.C, classes=K).argmax(axis=1)
    given = model.predict_proba(x[unlabelled])
    found = {"source's own": now, "counting": np.bincount(given.argmax(axis=1), minlength=K) / len(given)}
    found["black box"] = black_box_frequencies(held, y[source], given.argmax(axis=1), classes=K)
    found["EM"] = em_frequencies(given, now)
    estimates.append(found | {"true": true})
    for name, pi in found.items():
        off.setdefault(name, {}).setdefault("distance to the true ones", []).append(np.abs(pi - true).sum())
record_table("06c.frequencies", off, corner="class frequencies taken as")
distance = {name: row["distance to the true ones"] for name, row in off.items()}
claim(
    "06c.em-is-nearer",
    "EM comes nearer to the target's class frequencies than the black box (paired interval clear of zero)",
    bool(paired_difference(distance["black box"], distance["EM"]).low > 0),
)

# %% [markdown]
# The black box needs no calibrated probabilities, but a confusion matrix, and a column made of three pictures is noise, which inverting makes larger. Compare it in the table with plain counting, which inverts nothing.
#
# ### Putting them to use: every kind of weight
#
# If $\pi_T$ is known or estimated, a source row of class $c$ gets the weight $\pi_T(c)/\pi_S(c)$. *Balanced* weights, $1/\pi_S(c)$, are the remedy by habit; they are exact for an even target, and ours is not even. Instead one may estimate $p_T(x)/p_S(x)$ on the features (密度比估计) with the four methods of 06: they do not know that the shift is one of labels. They get 20 principal components (主成分分析) of source and unlabelled features.
# And one correction has no weights: leave the head alone, and **move its logits** by $\log \pi_T(c) - \log \pi_S(c)$ afterwards, which is Bayes' rule. Each head chooses its $C$ among 10, 100 and 1000 by importance-weighted cross-validation in its own training rows (06b).

# %%
from sklearn.decomposition import PCA

from workbook.methods.reweighting import effective_sample_size, kliep, kmm, logistic_ratio, median_distance, ulsif


def density_weights(xs, xt):
    reduce = PCA(min(20, len(xs)), random_state=0).fit(np.concatenate([xs, xt]))
    s, t = reduce.transform(xs), reduce.transform(xt)
    found = {"classifier": logistic_ratio(s, t, strengths=(0.01, 0.1, 1.0), folds=3)(s)}
    widths = np.array([0.25, 0.35, 0.5, 1.0]) * median_distance(np.concatenate([s, t]))
    found |= {"KLIEP": kliep(s, t, widths=widths, centres=50, folds=3, tolerance=1e-3)(s), "uLSIF": ulsif(s, t)(s)}
    return found | {"KMM": kmm(s, t, tolerance=1e-3)}


shifted, by_class = {}, {}


def note(name, predicted, number, w):
    r, true = recalls(y[test], predicted, K), estimates[number]["true"]
    row = shifted.setdefault(name, {"in the target": [], "mean-class": [], "rows that count": []})
    for column, value in zip(row.values(), (true @ r, r.mean(), effective_sample_size(w))):
        column.append(value)
    by_class.setdefault(name, []).append(r[np.argsort(-estimates[number]["source's own"], kind="stable")])


# %%
for number, ((source, unlabelled, oracle), found) in enumerate(zip(samples, estimates)):
    xs, ys, now = x[source], y[source], found["source's own"]
    ones = np.ones(len(ys))
    weights = {"no weights": ones, "balanced": 1 / now[ys], "true class weights": (found["true"] / now)[ys]}
    weights |= {f"class weights by {name}": (found[name] / now)[ys] for name in ("EM", "black box")}
    weights |= density_weights(xs, x[unlabelled])
    heads = {name: fit_weighted_head(xs, ys, w) for name, w in weights.items()}
    for name, head in heads.items():
        note(name, head.predict(x[test]), number, weights[name])
    given = heads["no weights"].predict_proba(x[test])
    for name in ("true", "EM"):
        note(f"logits moved, {name}", change_frequencies(given, now, found[name]).argmax(axis=1), number, ones)
    note("oracle", fit_weighted_head(x[oracle], y[oracle]).predict(x[test]), number, np.ones(len(oracle)))
record_table(
    "06c.label-shift", shifted, corner="class frequencies reversed", expected=expected("06c.label-shift", draws)
)

# %%
target = {name: row["in the target"] for name, row in shifted.items()}


def gain(name, over="no weights"):
    return paired_difference(target[name], target[over])


claim(
    "06c.class-frequencies-help",
    "true class weights raise the accuracy in the target, and so do logits moved by the true frequencies or by EM's "
    "(against no weights, paired intervals clear of zero)",
    all(gain(name).low > 0 for name in ("true class weights", "logits moved, true", "logits moved, EM")),
)
claim(
    "06c.moved-logits-close-the-gap",
    "moving the logits by the true frequencies closes more than half of the gap between no weights and the oracle",
    gain("logits moved, true").mean > gain("oracle").mean / 2,
)

# %% [markdown]
# Ten numbers, asked of unlabelled pictures, win points back. Here it is worth more to know that only the frequencies moved than to estimate the whole density: the four density ratios have to find what ten numbers say as a function of twenty inputs, and on the mean show less for it than logits moved by EM. Look at the last column too: under the true weights less than a quarter of the rows count (the *effective sample size*, 有效样本量, $(\sum w)^2/\sum w^2$), whereas moved logits use them all.
#
# Where are the points won? **Predict first:** recall of which classes moves?

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.8))
places = np.arange(1, K + 1)
for shift, (name, values) in zip((-0.2, 0.2), {"source": falls, "target": falls[::-1]}.items()):
    colour = COLOURS["blue" if name == "source" else "orange"]
    axes[0].bar(places + shift, values / values.sum(), 0.4, label=name, color=colour)
axes[0].set(title="Class frequencies", ylabel="share of the rows")
styles = {"no weights": "o-", "balanced": "s--", "true class weights": "^-", "logits moved, true": "d:"}
for (name, style), colour in zip(styles.items(), ("grey", "sky", "vermilion", "green")):
    axes[1].plot(places, np.mean(by_class[name], axis=0), style, color=COLOURS[colour], label=name)
axes[1].set(title="Recall on test pictures, mean of the draws", ylabel="recall")
for axis in axes:
    axis.set(xlabel="class, from the source's most frequent to its rarest", xticks=places)
    axis.legend(fontsize=9)

# %% [markdown]
# *Left, bars: the source's frequencies fall from left to right, the target's rise. Right, four lines: without weights the recall drops towards the classes that are rare in the source; true class weights and moved logits lift that end; moved logits lift it most, and give up recall on the left.*
#
# ### A correction is made for one place
#
# The recalls of four heads, read at three sets of frequencies. Nothing is trained anew.

# %%
at = {"the source's": falls, "even": np.ones(K), "reversed": falls[::-1]}
shown = {
    name: {place: [one @ (pi / pi.sum()) for one in by_class[name]] for place, pi in at.items()} for name in styles
}
record_table("06c.places", shown, corner="accuracy at frequencies")
moved, untouched = shown["logits moved, true"], shown["no weights"]
claim(
    "06c.made-for-one-place",
    "logits moved for reversed frequencies: more accurate there than the head as it was, and less accurate at the "
    "source's own (paired intervals clear of zero)",
    bool(
        paired_difference(moved["reversed"], untouched["reversed"]).low > 0
        and paired_difference(untouched["the source's"], moved["the source's"]).low > 0
    ),
)

# %% [markdown]
# The middle column is mean-class accuracy. Whoever always reports it, and always balances, has decided that the place of use is even.
#
# ## The mistake: weights credited with what tuning does
#
# Take scikit-learn's default, $C = 1$, in place of a choice. The features have length 1, so this is a *strong* regulariser. Compare 'no weights' with 'true class weights', as one does.

# %%
Cs = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
swept = {name: {C: [] for C in Cs} for name in ("no weights", "true class weights", "logits moved")}
for (source, _, _), found in zip(samples, estimates):
    now, true = found["source's own"], found["true"]
    for C in Cs:
        heads = [fit_weighted_head(x[source], y[source], w, strengths=[C]) for w in (None, (true / now)[y[source]])]
        given = [head.predict_proba(x[test]) for head in heads]
        given.append(change_frequencies(given[0], now, true))
        for name, p in zip(swept, given):
            swept[name][C].append(true @ recalls(y[test], p.argmax(axis=1), K))
shown = {name: {"C = 1": swept[name][1.0]} for name in ("no weights", "true class weights")}
for name in shown:
    shown[name]["C chosen"] = target[name]
record_table("06c.mistake", shown, corner="accuracy in the target")

# %%
apparent = np.mean(swept["true class weights"][1.0]) - np.mean(swept["no weights"][1.0])
tuned = np.mean(target["no weights"]) - np.mean(swept["no weights"][1.0])
claim(
    "06c.tuning-not-weights",
    "at C = 1 weights seem to gain more than thirty points; choosing C, without any weights, gains more than nine tenths "
    "of that, and with C chosen weights add less than a third of what they seemed to",
    bool(apparent > 0.3 and tuned > 0.9 * apparent and gain("true class weights").mean < apparent / 3),
)
claim(
    "06c.a-separating-head-hardly-notices",
    "at the weakest regulariser moved logits gain, and weights less than half as much (mean); moved logits end above "
    "weights (paired interval clear of zero)",
    bool(
        np.mean(swept["true class weights"][1e5]) - np.mean(swept["no weights"][1e5])
        < 0.5 * (np.mean(swept["logits moved"][1e5]) - np.mean(swept["no weights"][1e5]))
        and paired_difference(swept["logits moved"][1e5], swept["true class weights"][1e5]).low > 0
    ),
)
figure, axis = plt.subplots(figsize=(7, 3.8))
for (name, by_C), style, colour in zip(swept.items(), ("o-", "^-", "d:"), ("grey", "vermilion", "green")):
    axis.plot(Cs, [np.mean(values) for values in by_C.values()], style, color=COLOURS[colour], label=name)
axis.set(
    xscale="log",
    xlabel="C (large: hardly regularised)",
    ylabel="accuracy in the target",
    title="When does a linear head notice weights?",
)
_ = axis.legend(fontsize=9)

# %% [markdown]
# *Accuracy in the target against C on a logarithmic axis, means of the draws. At the left 'no weights' is far below the others; from the middle on it is level, and the weighted line, above moved logits at the left, comes down to meet it at the right, where moved logits stay above both.*
#
# In the first column of the table weights look like a miracle. They repair a head so strongly held back that it names the frequent classes only. The fix is the second column: **every arm gets its own choice of C**, and then the gain is what weights are worth.
#
# The right end answers 06b's question for linear heads. These pictures lie in more dimensions than there are of them, and can be separated perfectly; without a regulariser all losses tend to zero, and a weight times nothing is nothing. The separating plane in the limit is the same whatever the weights (Byrd and Lipton 2019). Its regulariser makes a linear head listen. Moved logits do not go through the loss, and keep their effect. Left of the middle there is a $C$ at which weights are about as good as moved logits. But we see that place on test rows; cross-validation on so few training rows does not reliably find it.
#
# And a network in place of the linear head? One hidden layer of 256 units on the same features, 150 steps on all rows, settings not tuned (the first eight draws).

# %%
from torch.nn import functional as F

from workbook.methods.torch.heads import fit_head, mlp_head


def network_head(rows, w, number):
    torch.manual_seed(number)
    inputs, labels, w = (torch.as_tensor(a) for a in (10 * x, y[rows], (w / w.mean()).astype(np.float32)))
    head = mlp_head(x.shape[1], K, 256)

    def loss(logits, told):
        return (F.cross_entropy(logits, told, reduction="none") * w).mean()

    head = fit_head(head, inputs[rows], labels, criterion=loss, steps=150, learning_rate=3e-3)
    with torch.inference_mode():
        return head(inputs[test]).softmax(dim=1).double().numpy()


hidden = {"no weights": [], "true class weights": [], "logits moved": []}
for number, ((source, _, _), found) in enumerate(zip(samples[:8], estimates)):
    now, true = found["source's own"], found["true"]
    given = [network_head(source, w, number) for w in (np.ones(len(source)), (true / now)[y[source]])]
    given.append(change_frequencies(given[0], now, true))
    for values, p in zip(hidden.values(), given):
        values.append(true @ recalls(y[test], p.argmax(axis=1), K))
record_table("06c.network", {"256 hidden units": hidden}, corner="accuracy in the target")

# %% [markdown]
# On the mean the order is the same: weights do something, probably because training stops before all losses have vanished, and moved logits do more. (With eight draws the first of the two steps may lie within the intervals.)
#
# ## Second case: the wrong kind of picture
#
# Now the classes are even, and the *pictures* differ. Of twelve training pictures of each class only $m$ are of the kind that will be met in use; the others are of the common kind (print at quick, the shop at public). The target is the wanted kind (over photographs, before the webcam). The mixture's density is $p_S = (1-a)\,p_0 + a\,p_T$ ($p_0$: the common kind), with a share $a = m/12$. Where the two kinds do not overlap, the true ratio is
#
# $$w = \frac{p_T}{p_S} = \begin{cases} 1/a & \text{on pictures of the wanted kind,} \\ 0 & \text{on all others.} \end{cases}$$
#
# So **the true weights throw all pictures of the common kind away**. What counts is then $m$ pictures a class. Neighbouring files often show one and the same thing from another side, so the wanted kind is cut in the order of its files: its first half to draw from, its last two fifths as test rows. 'Class weights by EM' is the first case's cure in the wrong place.

# %%
xc, yc, xw, yw = features[common], tasks[common].labels, features[wanted], tasks[wanted].labels
places = [np.flatnonzero(yw == c) for c in range(K)]
wanted_test = np.concatenate([rows[int(0.6 * len(rows)) :] for rows in places])


def mixture(number, m):
    """Features and labels of a mixture, which rows are wanted, and rows of the wanted kind: unlabelled, for an oracle."""
    chance = np.random.default_rng([seed, number, 7])
    rows = [chance.permutation(one[: len(one) // 2]) for one in places]
    many = np.concatenate([chance.permutation(np.flatnonzero(yc == c))[: a_class - m] for c in range(K)])
    few = np.concatenate([one[:m] for one in rows]).astype(int)
    free = np.concatenate([one[m:][:a_class] for one in rows])
    oracle = chance.permutation(np.concatenate(rows))[: a_class * K]
    is_wanted = np.repeat([False, True], [len(many), len(few)])
    return np.concatenate([xc[many], xw[few]]), np.concatenate([yc[many], yw[few]]), is_wanted, free, oracle


# %%
def mixed(number, m, every=True):
    """Accuracy, mean-class accuracy and rows that count of every arm."""
    xs, ys, is_wanted, free, oracle = mixture(number, m)
    weights = {"no weights": np.ones(len(ys))}
    weights |= {"true weights": is_wanted.astype(float)} if m else {}
    if every:
        now, given = np.bincount(ys, minlength=K) / len(ys), fit_weighted_head(xs, ys).predict_proba(xw[free])
        weights |= density_weights(xs, xw[free]) | {"class weights by EM": (em_frequencies(given, now) / now)[ys]}
    heads = {name: (fit_weighted_head(xs, ys, w), effective_sample_size(w)) for name, w in weights.items()}
    heads["oracle"] = fit_weighted_head(xw[oracle], yw[oracle]), len(oracle)
    scored = {name: (head.predict(xw[wanted_test]), count) for name, (head, count) in heads.items()}
    return {
        name: ((p == yw[wanted_test]).mean(), recalls(yw[wanted_test], p, K).mean(), count)
        for name, (p, count) in scored.items()
    }


share = {m: [mixed(number, m, every=m < 2) for number in range(mixed_draws)] for m in (0, 1, 2, 4)}
for m in (0, 1):
    columns = ("accuracy", "mean-class", "rows that count")
    shown = {
        name: {column: [one[name][i] for one in share[m]] for i, column in enumerate(columns)} for name in share[m][0]
    }
    wide = expected(f"06c.mixed-{m}", mixed_draws)
    record_table(f"06c.mixed-{m}", shown, corner=f"{m} wanted of {a_class} a class", expected=wide)

# %%
accuracy = {m: {name: [one[name][0] for one in found] for name in found[0]} for m, found in share.items()}
none, one = accuracy[0], accuracy[1]
gap = np.mean(none["oracle"]) - np.mean(none["no weights"])
ratios = ("classifier", "KLIEP", "uLSIF", "KMM")
claim(
    "06c.no-weight-for-no-picture",
    "without one wanted picture, no density ratio closes a third of the gap to the oracle; two a class, unweighted, "
    "do more than the best of the ratios (paired intervals clear of zero)",
    max(np.mean(none[name]) - np.mean(none["no weights"]) for name in ratios) < gap / 3
    and all(paired_difference(accuracy[2]["no weights"], none[name]).low > 0 for name in ratios),
)
claim(
    "06c.true-weights-do-not-win",
    "with one wanted picture a class, the true weights gain less than two points over no weights, at the upper end of the "
    "paired interval",
    paired_difference(one["true weights"], one["no weights"]).high < 0.02,
)
if profile != "quick":
    claim(
        "06c.true-weights-lose",
        "on photographs they lose: the paired interval is clear of zero",
        bool(paired_difference(one["no weights"], one["true weights"]).low > 0),
    )
claim(
    "06c.wrong-cure",
    "without one wanted picture, class weights by EM lower the accuracy: the frequencies had not moved (paired interval "
    "clear of zero)",
    bool(paired_difference(none["no weights"], none["class weights by EM"]).low > 0),
)

# %% [markdown]
# The second mistake is in that table: to trust weights because they are *right*. The true ones estimate the target risk without bias, from one row a class; the last column says so before any test row is looked at. The common pictures were not useless: what a class is, $p(y \mid x)$, holds for both kinds, and a flexible head can learn it from both. Gentle weights keep more rows, and lose less where drastic ones lose.
#
# Without a wanted picture there is nothing for weights to stand on: the *support* of lesson 06. What do more of them do?

# %%
figure, axis = plt.subplots(figsize=(7, 3.8))
for name, style, colour in zip(
    ("oracle", "no weights", "true weights"), ("s--", "o-", "^-"), ("blue", "grey", "vermilion")
):
    ms = [m for m in accuracy if name in accuracy[m]]
    axis.plot(ms, [np.mean(accuracy[m][name]) for m in ms], style, color=COLOURS[colour], label=name)
axis.set(
    xlabel=f"wanted pictures among {a_class} of each class, m",
    ylabel="accuracy on the wanted kind",
    title="A few pictures of the right kind",
)
axis.set_xticks(list(accuracy))
_ = axis.legend(fontsize=9)

# %% [markdown]
# *Accuracy against m = 0, 1, 2, 4. The oracle is a high level line. 'No weights' climbs from m = 0 and flattens; 'true weights' start lower, at m = 1, and rise more steeply.*
#
# Bias against variance: common pictures cost the unweighted head a bias, the true weights cost nearly all rows. Whether the lines cross within the figure probably depends on how far apart the two kinds are: where the bias is large, a few wanted pictures soon do better without the others; where it is small, the others stay worth having.
#
# ### A shift where there is none
#
# Why twenty components and not all features? Cut *one* kind of picture into two random samples of 120 rows. Nothing differs, every true weight is 1, all rows count. A classifier of the domain is asked for the ratio, once hardly regularised ($C = 100$) and once with $C$ chosen by the held-out log loss of the domain.

# %%
dimensions = {}
for d in (5, 20, 80, x.shape[1]):
    row = dimensions.setdefault(f"{d} dimensions", {"C = 100": [], "C chosen": []})
    for number in range(8):
        rows = np.random.default_rng([seed, number, 8]).permutation(len(x))[:240]
        both = PCA(d, random_state=0).fit_transform(x[rows]) if d < x.shape[1] else x[rows]
        for column, candidates in zip(row.values(), ((100.0,), (1e-3, 1e-1))):
            column.append(
                effective_sample_size(logistic_ratio(both[:120], both[120:], strengths=candidates, folds=3)(both[:120]))
            )
record_table("06c.dimensions", dimensions, corner="rows that count, of 120", digits=0)
rows = dimensions["80 dimensions"]
claim(
    "06c.a-shift-out-of-nothing",
    "two samples of the same pictures, 80 dimensions: hardly regularised, the ratio leaves less than half of the rows; "
    "with C chosen on held-out rows, more than nine tenths",
    bool(np.mean(rows["C = 100"]) < 60 and np.mean(rows["C chosen"]) > 108),
)

# %% [markdown]
# Every direction in which two small samples differ by accident is a shift to a classifier that may use it, and there are many directions: from 5 to 80 the rows that count melt away. (The last row, all features as they are, is no further step of that kind; its interval is wide.) With its strength chosen on held-out rows, it finds what is there: nearly nothing.
#
# ## The photographs' figures
#
# A run at public on 2026-11-21, on one of two CPU cores, and one at quick beside it: means over the draws. (`python -m workbook run --jobs chapters/reference/06c_photographs_reweighting_public.yaml` makes them again.)

# %%
for table, column in (("label-shift", "in the target"), ("mixed-1", "accuracy")):
    found = {job: record_values(reference, job, f"06c.{table}") for job in ("quick", "public")}
    rows = [row for row, name in found["public"] if name == column]
    shown = {row: {job: [found[job][row, column][0]] for job in found} for row in rows}
    record_table(f"06c.reference-{table}", shown, corner=f"{table}, {column}")

# %% [markdown]
# On the shop's pictures the corrections win more than on digits, and before the webcam the true weights lose more: throwing the shop away costs more than its style does. Which of the two your collection resembles, the columns cannot say.
#
# ## What to take away
#
# - Name the shift first. Frequencies of classes that moved want class weights or moved logits; inputs that moved want a ratio of densities; each cure does harm in the other's place.
# - Ten frequencies can be asked of unlabelled photographs. EM does it with few rows; a confusion matrix with three rows in a column does not.
# - Mean-class accuracy is the accuracy of an even place. Choose it, or do not, by where the model will work.
# - On separable features a linear head notices weights only as far as its regulariser makes it. Moving the logits afterwards always counts.
# - Weights cannot make pictures. A few of the right kind, pooled with the others and unweighted, did more than any ratio did without them.
#
# > **Mistakes box.** *Weights compared on an untuned head. Effective rows not looked at. A density ratio in hundreds of dimensions, hardly regularised. Class frequencies counted on labelled test rows, and then called estimated. Features multiplied by weights (06b). Balanced weights because the source is unbalanced, whatever the target.*
#
# **A question left open.** The common pictures were of use because a class looks alike in both kinds, nearly. If features could be *moved* until the two kinds agree, would the missing pictures be missed less? Chapter [07](07_domain_adaptation.ipynb). The lab of chapter 06 lets you decide, on a sample whose story you are not told, which of the two shifts you have before you.
#
# **Sources.** M. Saerens, P. Latinne and C. Decaestecker, *Adjusting the Outputs of a Classifier to New a Priori Probabilities*, Neural Computation 2002 · Z. Lipton, Y.-X. Wang and A. Smola, *Detecting and Correcting for Label Shift with Black Box Predictors*, ICML 2018 · J. Byrd and Z. Lipton, *What is the Effect of Importance Weighting in Deep Learning?*, ICML 2019 · M. Sugiyama, M. Krauledat and K.-R. Müller, *Covariate Shift Adaptation by Importance Weighted Cross Validation*, JMLR 2007 ·
# K. Saenko, B. Kulis, M. Fritz and T. Darrell, *Adapting Visual Category Models to New Domains*, ECCV 2010 · B. Gong, Y. Shi, F. Sha and K. Grauman, *Geodesic Flow Kernel for Unsupervised Domain Adaptation*, CVPR 2012.
