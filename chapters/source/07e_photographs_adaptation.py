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
# # 07e · Photographs without target labels: a shop's pictures and a webcam's
#
# **A question.** An online shop has a thousand labelled pictures of ten kinds of things. You have a webcam, and not one label. Which of this chapter's methods would you use, and how would you *know*, without labels, that it was a good choice?
#
# By the end of this lesson you can
#
# - adapt a head on cached features to unlabelled pictures, in seven ways;
# - tell a shift that preprocessing removes from one that needs adaptation;
# - say when batch norm's statistics repair a damaged stream, and when they have nothing to give;
# - choose a candidate without target labels, and measure how a choice by test accuracy flatters.
#
# *30 minutes of reading; a minute of computing on one core at quick, up to four at public. At `quick` the pictures are digits and the backbone is GlyphNet, the course's letter network; at `public` they are photographs, and it is SqueezeNet with ImageNet weights.
# Methods: [07](07_domain_adaptation.ipynb) to [07d](07d_choosing_without_labels.ipynb). Symbols: [reference page](README.md).*

# %% tags=["parameters"]
profile = "quick"  # type: str quick, public or gpu
seed = 0  # type: int
draws = 0  # type: int 0: five at public, three at quick
digit_draws = 3  # type: int
stream_draws = 3  # type: int

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from workbook.lesson import begin, claim, device, record_table
from workbook.plotting import COLOURS
from workbook.reference import bands, read_reference, record_values

quick = profile == "quick"
FIRST = {  # what differs by profile
    "domains": ("printed", "handwriting") if quick else ("amazon", "webcam"),
    "digits": ("printed", "handwriting") if quick else ("MNIST", "USPS"),
    "draws": 3 if quick else 5,
    "rows": 320 if quick else 600,
    "steps": 30 if quick else 60,
    "test": 300 if quick else 500,
    "stream": 192 if quick else 384,
}
reference = read_reference("07e_photographs_adaptation_public")  # a run at public: bands for yours, and a figure below


def expected(table, of):
    found = record_values(reference, "public", table) if profile == "public" else {}
    return bands({key: v for key, v in found.items() if "minus" not in key[1]}, draws=of, ours=of)


defaults = (seed, draws, digit_draws, stream_draws) == (0, 0, 3, 3)
draws = draws or FIRST["draws"]
begin("torch", profile=profile, seed=seed, scope=defaults and profile in ("quick", "public"))

# %% [markdown]
# ## Features once, heads many times
#
# Training a convolutional backbone (主干网络) takes hours on a CPU core; its *frozen* features need one pass. So a head on cached features is adapted. The two domains:

# %%
from dataclasses import replace

from data_scripts.backbones import find_backbone
from data_scripts.backbones_torch import as_pictures, load_backbone
from data_scripts.handwriting import load_handwriting
from data_scripts.pictures import choose_backbone, load_pictures
from data_scripts.printed_digits import load_printed_digits

name = choose_backbone(profile)
DIGITS = {"printed": load_printed_digits, "handwriting": load_handwriting}


def pictures(domain):
    """The domain's pictures, uint8 with three channels, decoded once."""
    if not quick:
        return load_pictures(profile, size=find_backbone(name, "torch").size, data=domain)
    task = DIGITS[domain]()
    return replace(task, inputs=np.repeat((255 * task.inputs).round().astype(np.uint8)[..., None], 3, axis=-1))


tasks = {domain: pictures(domain) for domain in FIRST["domains"]}
figure, axes = plt.subplots(2, 1, figsize=(9, 2.6))
for axis, (domain, task) in zip(axes, tasks.items()):
    shown = [np.flatnonzero(task.labels == label)[0] for label in range(len(task.class_names))]
    axis.imshow(np.hstack(list(task.inputs[shown])))
    axis.set(title=f"{domain}: one picture of each class", xticks=[], yticks=[])
    axis.grid(visible=False)

# %% [markdown]
# *Two rows of ten small pictures, one of each class in the same order: above the first domain, below the second.*
#
# A *draw* splits each domain: of the target, half is unlabelled rows to adapt to and 35 % test rows, which no method sees before they are scored (the *inductive* protocol); of the source, 15 % is held out. What does the shift cost a head that ignores it?

# %%
from types import SimpleNamespace

from sklearn.linear_model import LogisticRegression

from data_scripts.task import split_rows
from workbook.methods.torch.learning_curve import unit_length

backbone = load_backbone(name).to(device())


@torch.inference_mode()
def extract(images):
    parts = (as_pictures(images[start : start + 32]).to(device()) for start in range(0, len(images), 32))
    return unit_length(torch.cat([backbone(part).cpu() for part in parts]).double().numpy())


features = {domain: extract(task.inputs) for domain, task in tasks.items()}


def head(rows, labels, C=30.0):
    return LogisticRegression(C=C, max_iter=1000).fit(rows, labels).predict_proba


# %%
def sample(source, target, draw):
    """S, y to learn from; H, held: source rows held out; U to adapt to (hidden: for the oracle); X, x to score on."""
    train, held, spare = split_rows(tasks[source].labels, seed=seed + draw)
    adapt, _, test = split_rows(tasks[target].labels, seed=seed + draw)
    train, h, g = np.concatenate([train, spare]), features[source], features[target]
    y, z = tasks[source].labels, tasks[target].labels
    of_source = {"S": h[train], "y": y[train], "H": h[held], "held": y[held]}
    of_target = {"U": g[adapt], "hidden": z[adapt], "X": g[test], "x": z[test]}
    return SimpleNamespace(**of_source, **of_target, seed=seed + draw, made={})


domains = FIRST["domains"]
ways = {f"{a} → {b}": [sample(a, b, draw) for draw in range(draws)] for a, b in (domains, domains[::-1])}
loss = {}
for way, of_way in ways.items():
    fitted = [head(d.S, d.y) for d in of_way]
    loss[way] = {
        "held-out source rows": [np.mean(p(d.H).argmax(1) == d.held) for p, d in zip(fitted, of_way)],
        "target test rows": [np.mean(p(d.X).argmax(1) == d.x) for p, d in zip(fitted, of_way)],
    }
record_table("07e.loss", loss, corner="accuracy of a head trained on the source")

# %% [markdown]
# The difference of the columns is what these methods try to win back ($h$, $g$: a source and a target row; $\mu_S$, $C_S$: the source's mean and covariance):
#
# | name | what it does |
# |---|---|
# | source only | logistic regression on source features, $C = 30$ |
# | CORAL | the same on source rows moved to the target's mean and covariance ($A = C_S^{-1/2} C_T^{1/2}$, shrunk) |
# | subspace | turns the source's 40 main directions $P_S$ to the target's $P_T$: source rows become $(h - \mu_S) P_S P_S^\top P_T$, target rows $(g - \mu_T) P_T$ |
# | transport | sends every source row to the mean of where an entropic transport plan (最优传输) puts it |
# | MMD map | learns an affine map of the source rows that lowers the kernel distance (MMD) |
# | self-training | three rounds, with the target rows of which it is 0.8 sure |
# | DANN head | 64 hidden units, trained on source labels against a domain classifier (域对抗训练) |
# | SHOT head | the same layer trained on the source, then moved by target rows alone under a frozen head |
# | oracle | the regression on the *labels of the target's training rows*: a ceiling |
#
# Settings are those of lessons 07 to 07d, but the MMD map takes half the steps and SHOT 20 passes. **What was not blind:** settings were *looked at* on two draws with test scores, and the default or the middle one was kept. At quick this part first went from handwriting to photographed digits, which had almost no gap, and was changed to printed and handwriting; fog and blur were made stronger after mild ones had harmed nothing. Claims on accuracies were worded after such runs.

# %%
from workbook.methods.alignment import align, coral_map, gaussian_ot_map
from workbook.methods.moved_features import carried_rows, subspace_alignment
from workbook.methods.torch.feature_alignment import mmd_map


def subspace(d, dimensions):
    of_source, of_target = subspace_alignment(d.S, d.U, dimensions)
    answer = head(of_source(d.S), d.y)
    return lambda rows: answer(of_target(rows))


def kernel_map(d, rate):
    move = mmd_map(d.S, d.U, seed=d.seed, steps=100, learning_rate=rate)
    return head(move(d.S), d.y)


def self_trained(d, threshold):
    answer = head(d.S, d.y)
    for _ in range(3):
        p = answer(d.U)
        sure = p.max(1) >= threshold
        answer = head(np.concatenate([d.S, d.U[sure]]), np.concatenate([d.y, p.argmax(1)[sure]]))
    return answer


# %%
from workbook.methods.torch.feature_network import adapted_head
from workbook.methods.torch.source_free import shot


def scaled(rows):
    return torch.as_tensor(rows * np.sqrt(rows.shape[1]), dtype=torch.float32)  # about 1 an entry


def network_head(d, method="source only", weight=None, shot_rate=None):
    labels, settings = torch.as_tensor(d.y), {"classes": int(d.y.max()) + 1, "seed": d.seed, "weight": weight}
    if (method, weight) not in d.made:  # SHOT begins with a head that may be there already
        d.made[method, weight] = adapted_head(scaled(d.S), labels, scaled(d.U), method, **settings)
    network = d.made[method, weight]
    if shot_rate:
        network = shot(network, scaled(d.U), seed=d.seed, shift=0, epochs=20, learning_rate=shot_rate)

    def answer(rows):
        with torch.inference_mode():
            return network(scaled(rows)).softmax(1).numpy()

    return answer


# %% [markdown]
# **Predict:** which methods end below 'source only'?

# %%
METHODS = {
    "source only": lambda d: head(d.S, d.y),
    "CORAL": lambda d: head(align(d.S, d.U, matrix=coral_map)(d.S), d.y),
    "subspace": lambda d: subspace(d, 40),
    "transport": lambda d: head(carried_rows(d.S, d.U, strength=0.05), d.y),
    "MMD map": lambda d: kernel_map(d, 1e-2),
    "self-training": lambda d: self_trained(d, 0.8),
    "DANN head": lambda d: network_head(d, "DANN"),
    "SHOT head": lambda d: network_head(d, shot_rate=1e-3),
    "oracle": lambda d: head(d.U, d.hidden),
}
answers = {way: {m: [fit(d) for d in of_way] for m, fit in METHODS.items()} for way, of_way in ways.items()}


def accuracies(way, method):
    return [np.mean(p(d.X).argmax(1) == d.x) for p, d in zip(answers[way][method], ways[way])]


heads = {way: {m: accuracies(way, m) for m in METHODS} for way in ways}
table = {m: {way: scores[m] for way, scores in heads.items()} for m in METHODS}
for way, scores in heads.items():
    for m in METHODS:
        table[m][f"minus source only, {way}"] = np.subtract(scores[m], scores["source only"])
record_table("07e.heads", table, expected=expected("07e.heads", draws), corner="accuracy on target test rows")

# %% [markdown]
# The oracle says how much the features hold, the other rows how much of it can be had without labels.
#
# *One method stands out.* The SHOT head gains in both directions: a plain head whose hidden layer moves until the answers on target rows are sure, varied, and near their class's centroid.
#
# *Some do worse than nothing.* In the first direction CORAL and the DANN head make the domains look alike in their own terms, at the price of the classes: negative transfer (负迁移), made by the adaptation itself.
#
# *A setting does not travel.* The MMD map has $d^2$ free entries for $d$ features: 128 at quick, where its rate was found, 512 at public. Compare its row here with the public figure at the end, and with *a tenth of the rate* further down: **a table of methods is a table of settings on one pair.**
#
# Two cautions for photographs. Most of the ten kinds are classes of ImageNet, so SqueezeNet knew them. A webcam's test pictures show things that its training pictures show from another side: the oracle's ceiling is too high for new things.

# %%
from workbook.statistics import wilson_interval

forth, back = heads
hits = [round(heads[forth][m][0] * len(ways[forth][0].x)) for m in ("source only", "SHOT head", "oracle")]
wide = [wilson_interval(n, len(ways[forth][0].x)) for n in hits]
columns = ("accuracy", "from", "to")
rows = {m: dict(zip(columns, ([v] for v in w))) for m, w in zip(("source only", "SHOT head", "oracle"), wide)}
record_table("07e.wilson", rows, corner=f"first draw, {forth}: 95 % interval over test rows")
minus = {way: {m: np.subtract(scores[m], scores["source only"]) for m in METHODS} for way, scores in heads.items()}
claim(
    "07e.there-is-something-to-gain",
    "in both directions and in every draw a head that knows the target's labels beats the source's",
    all(minus[way]["oracle"].min() > 0 for way in ways),
)
claim(
    "07e.shot-head-gains",
    "in both directions the SHOT head is over two points above source only, on the mean of the draws",
    all(minus[way]["SHOT head"].mean() > 0.02 for way in ways),
)
claim(
    "07e.alignment-can-harm",
    "in the first direction CORAL and the DANN head are below source only, on the mean of the draws",
    max(minus[forth][m].mean() for m in ("CORAL", "DANN head")) < 0,
)
if not quick:
    claim(
        "07e.mmd-map-on-photographs",
        "at its old rate the MMD map makes fewer than half of the answers right, in both directions and every draw",
        all(max(heads[way]["MMD map"]) < 0.5 for way in ways),
    )

# %% [markdown]
# The large table's spread is over draws that share many rows; the small one has one test set's interval. Differences are paired.
#
# ## Two collections of digits
#
# Here pictures are small enough to train the network itself. At `public` the collections are MNIST and USPS (600 labelled rows as source, 600 unlabelled as target, 500 test rows); at `quick` the first part's pair, with fewer rows.
#
# Two baselines come before any adaptation: *regression on pixels*, and on *boxed pixels*, with each digit cut to its ink and scaled to 26 pixels. **Predict:** how much of the shift is nothing but where a digit stands, and how large?

# %%
from data_scripts.mnist import load_mnist_test
from data_scripts.usps import load_usps
from data_scripts.worn_pictures import to_box
from workbook.methods.torch.adaptation_table import AdaptationBench
from workbook.methods.torch.domains import DomainPair, train_source
from workbook.methods.torch.training import as_images

DIGITS |= {"MNIST": load_mnist_test, "USPS": load_usps}


def digit_pair(source, target, draw):
    """Source rows with labels, as many target rows without, and target test rows."""
    s, t = (DIGITS[which](split_seed=seed + draw) for which in (source, target))

    def some(task, rows, most):
        rows = np.random.default_rng(seed + draw).permutation(rows)[:most]
        return as_images(task.inputs[rows]), torch.from_numpy(task.labels[rows])

    n = FIRST["rows"]
    source_rows = (*some(s, s.train, n), *some(s, s.validation, n // 3))
    return DomainPair(
        "digits", *source_rows, some(t, t.train, n)[0], *some(t, t.validation, n // 3), *some(t, t.test, FIRST["test"])
    )


a, b = FIRST["digits"]
pairs = {(f"{s} → {t}", draw): digit_pair(s, t, draw) for s, t in ((a, b), (b, a)) for draw in range(digit_draws)}

# %%
from workbook.methods.torch.deep_alignment import adapt
from workbook.methods.torch.training import accuracy


def pixels(pair, prepare=lambda images: images):
    rows = [
        prepare(images.numpy()).reshape(len(images), -1) for images in (pair.source_images, pair.target_test_images)
    ]
    model = LogisticRegression(C=0.1, max_iter=300).fit(rows[0], pair.source_labels)
    return model.score(rows[1], pair.target_test_labels)


digits, trained = {}, {}
same = {"optimiser": "AdamW", "learning_rate": 3e-3, "steps": FIRST["steps"]}
for (way, draw), pair in pairs.items():
    trained[way, draw] = train_source(pair, seed=seed + draw, steps=FIRST["steps"])
    bench = AdaptationBench(pair, seed + draw, {"fine-tuned": (trained[way, draw], 0.0)})
    row = {"regression on pixels": pixels(pair), "regression on boxed pixels": pixels(pair, to_box)}
    h, y = bench.features, pair.source_labels.numpy()  # letter features of unit length
    moved = align(h["train"], h["target"], matrix=gaussian_ot_map)(h["train"])
    for m, rows in {"frozen probe": h["train"], "moved probe": moved}.items():
        row[m] = np.mean(head(rows, y)(h["test"]).argmax(1) == pair.target_test_labels.numpy())
    networks = {"network from scratch": adapt(pair, "source only", seed=seed + draw, start="scratch", **same)}
    networks["network from letters"] = trained[way, draw]
    networks |= {m: bench.network(m, {})[0] for m in ("AdaBN", "SHOT") + (() if quick else ("DAN", "DANN"))}
    row |= {m: accuracy(n, pair.target_test_images, pair.target_test_labels) for m, n in networks.items()}
    for m, value in row.items():
        digits.setdefault(m, {}).setdefault(way, []).append(value)
record_table("07e.digits", digits, expected=expected("07e.digits", digit_draws), corner="accuracy on target test rows")

# %% [markdown]
# Where one collection fills its frame and the other leaves a margin, a box does more for plain regression than adaptation does for anything; where both fill it already and differ in shape, it may help one way and harm the other. Do not credit a method with what preprocessing (预处理) would bring.
#
# In the same few steps, too few for random weights, a network from letters reads the other collection far better than one from scratch. Frozen, under a plain head (*frozen probe*), it does better still, and SHOT mends what fine-tuning spoilt. *Moved probe* is 07's closed-form transport map on frozen features. (DAN and DANN run at public only; see [07b](07b_deep_alignment.ipynb).)

# %%
gain = {m: {way: np.array(digits[m][way]) for way in digits[m]} for m in digits}
both = list(gain["frozen probe"])
claim(
    "07e.letters-carry-further",
    "in both directions and in every draw, the network from letters is over twenty points above the one from scratch",
    all(min(gain["network from letters"][w] - gain["network from scratch"][w]) > 0.2 for w in both),
)
claim(
    "07e.frozen-again",
    "in both directions the frozen probe is above the network fine-tuned on the source, on the mean of the draws",
    all(np.mean(gain["frozen probe"][w] - gain["network from letters"][w]) > 0 for w in both),
)
claim(
    "07e.shot-repairs-the-network",
    "in both directions SHOT is above the network it began with, on the mean of the draws",
    all(np.mean(gain["SHOT"][w] - gain["network from letters"][w]) > 0 for w in both),
)
if not quick:
    claim(
        "07e.a-box-is-worth-thirty-points",
        "in both directions and in every draw, boxed pixels are over thirty points above pixels",
        all(min(gain["regression on boxed pixels"][w] - gain["regression on pixels"][w]) > 0.3 for w in both),
    )

# %% [markdown]
# ## Where batch norm can help, and where it cannot
#
# AdaBN replaces the statistics of batch normalisation (批量归一化) by the target's; TENT also moves its scales and offsets. SqueezeNet has none. At `public` the backbone here is a ResNet-20, trained on CIFAR-10 *without* loss, that now meets test pictures as lossy JPG; at `quick` it is GlyphNet, fine-tuned on handwriting. Both meet noise, fog (all mixed with white) and blur; they adapt to one half of a draw's pictures and are scored on the other.
#
# **Predict:** in which of the four columns does AdaBN pay?

# %%
from data_scripts.cifar10 import load_cifar10
from data_scripts.cifar_resnet import load_cifar_resnet
from data_scripts.worn_pictures import blurred, foggy, noisy

damage = {
    "as they are": lambda x, s: x,
    "noise": lambda x, s: noisy(x, 0.4 if quick else 0.1, seed=s),
    "fog": lambda x, s: foggy(x, 0.8 if quick else 0.5),
    "blur": lambda x, s: blurred(x, 3 if quick else 1),
}
if quick:
    whole = load_handwriting(split_seed=seed)
    inputs, reader = whole.inputs[:, None], trained[f"{b} → {a}", 0]  # learnt from this split's training rows
else:
    whole, reader = load_cifar10("jpg"), load_cifar_resnet(20)
    inputs = np.float32(whole.inputs.transpose(0, 3, 1, 2)) / 255


def stream(kind, draw):
    """Damaged pictures to adapt to, and others to score on, with labels."""
    rows = np.random.default_rng(seed + draw).permutation(whole.test)[: 2 * FIRST["stream"]]
    images = torch.from_numpy(damage[kind](inputs[rows], seed + draw)).contiguous(memory_format=torch.channels_last)
    return [part for whole_part in (images, torch.from_numpy(whole.labels[rows])) for part in whole_part.chunk(2)]


# %%
from workbook.methods.torch.source_free import adabn, tent

streams = {}
for kind in damage:
    for draw in range(stream_draws):
        arriving, test, _, truth = stream(kind, draw)
        for m, network in {
            "left alone": reader,
            "AdaBN": adabn(reader, arriving),
            "TENT": tent(reader, arriving),
        }.items():
            streams.setdefault(m, {}).setdefault(kind, []).append(accuracy(network, test, truth))
record_table(
    "07e.streams", streams, expected=expected("07e.streams", stream_draws), corner="accuracy under the same damage"
)
left, ada = ({kind: np.array(values) for kind, values in streams[m].items()} for m in ("left alone", "AdaBN"))
claim(
    "07e.statistics-repair-noise",
    "under noise AdaBN is over twenty points above the network left alone, in every draw",
    min(ada["noise"] - left["noise"]) > 0.2,
)
claim(
    "07e.nothing-to-repair",
    "on pictures as they are, AdaBN gains less than two points on the mean of the draws",
    np.mean(ada["as they are"] - left["as they are"]) < 0.02,
)

# %% [markdown]
# *It pays* where the damage moves means and variances: under noise AdaBN brings back much of what was lost, without a gradient step. *It gains nothing to speak of* on pictures as they are: a few hundred pictures give rougher statistics than the training set, and what JPG costs does not come back by matching them. Adapt when something has changed that statistics can see.
#
# And without batch norm? (At quick SqueezeNet has random weights; nothing here depends on them.)

# %%
from workbook.methods.torch.source_free import tent_stream

squeeze = load_backbone("squeezenet", pretrained=not quick)
some = torch.rand(4, 3, 224, 224, generator=torch.Generator().manual_seed(seed))
try:
    tent_stream(squeeze, some)
    refused = False
except ValueError as error:
    refused, message = True, str(error)
    print(message)
with torch.inference_mode():
    unchanged = torch.equal(squeeze(some), adabn(squeeze, some)(some))
claim(
    "07e.no-batch-norm", "SqueezeNet: AdaBN leaves every output as it was, and TENT is refused", unchanged and refused
)

# %% [markdown]
# TENT refuses; AdaBN returned without a word and had done nothing. Ask `find_backbone(...).batch_norm` before you report it.
#
# ## Choosing without labels
#
# You have twenty candidates and no target label. One criterion of [07d](07d_choosing_without_labels.ipynb) is the *information* (互信息) between row and answer on the *unlabelled* rows the candidates adapted to,
#
# $$I = H(\bar p) - \frac1n \sum_i H(p_i), \qquad \bar p = \frac1n \sum_i p_i ,$$
#
# with $H$ the entropy and $p_i$ the candidate's probabilities for row $i$: large for answers that are sure and, together, varied. What does it keep of the gain of an oracle *choice*: from the mean candidate (a blind choice, 0) to the best by test accuracy (1)? SHOT is *trained* to maximise $I$, so the second row leaves it out.

# %%
CANDIDATES = METHODS | {
    "source only, C 3": lambda d: head(d.S, d.y, 3.0),
    "source only, C 300": lambda d: head(d.S, d.y, 300.0),
    "subspace 20": lambda d: subspace(d, 20),
    "subspace 80": lambda d: subspace(d, 80),
    "transport, twice the entropy": lambda d: head(carried_rows(d.S, d.U, strength=0.1), d.y),
    "self-training, all rows": lambda d: self_trained(d, 0.0),
    "MMD map, a tenth of the rate": lambda d: kernel_map(d, 1e-3),
    "plain head": lambda d: network_head(d),
    "deep CORAL head": lambda d: network_head(d, "deep CORAL"),
    "DAN head": lambda d: network_head(d, "DAN"),
    "DANN head, weight 1": lambda d: network_head(d, "DANN", weight=1.0),
    "SHOT head, rate 3e-3": lambda d: network_head(d, shot_rate=3e-3),
}
del CANDIDATES["oracle"]

# %%
from workbook.methods.selection import mutual_information, share_kept

way = next(iter(ways))
pool = {m: answers[way].get(m) or [fit(d) for d in ways[way]] for m, fit in CANDIDATES.items()}
right = {m: [p(d.X).argmax(1) == d.x for p, d in zip(of_m, ways[way])] for m, of_m in pool.items()}
information = {m: [mutual_information(p(d.U)) for p, d in zip(of_m, ways[way])] for m, of_m in pool.items()}
record_table(
    "07e.pool", {m: {"accuracy": [r.mean() for r in right[m]], "information": information[m]} for m in pool}, corner=way
)


def best(names, criterion, draw):
    return max(names, key=lambda m: criterion[m][draw])


without_shot = [m for m in pool if not m.startswith("SHOT")]
kept = {}
for label, names in {"all candidates": list(pool), "without SHOT": without_shot}.items():
    for draw in range(draws):
        scores = [right[m][draw].mean() for m in names]
        row = kept.setdefault(
            label, {"share of the oracle's gain kept": [], "chosen": [], "source only": [], "best": []}
        )
        row["share of the oracle's gain kept"].append(share_kept([information[m][draw] for m in names], scores))
        row["chosen"].append(right[best(names, information, draw)][draw].mean())
        row["source only"].append(right["source only"][draw].mean())
        row["best"].append(max(scores))
record_table("07e.kept", kept, corner=f"choosing by information, {way}")

# %% [markdown]
# On the mean it keeps more than half of the gain, with SHOT and without. It is no law: *source only, C 3* gets the lowest value, or nearly, though it is about as right as its surer siblings. $I$ compares *scales of confidence* too.

# %%
shares = {label: np.mean(row["share of the oracle's gain kept"]) for label, row in kept.items()}
claim(
    "07e.information-keeps-half",
    "choosing by information keeps more than half of the oracle's gain on the mean, with SHOT and without",
    min(shares.values()) > 0.5,
)

# %% [markdown]
# ### The mistake
#
# The common way out is to report the setting with the best *target test* accuracy. That uses labels the method is not supposed to have, and scores the winner on the rows that made it win (赢家诅咒). How much does the second flatter? Fifty random test rows choose the best candidate; it is scored on them and on the other test rows, which took no part, two hundred times a draw. (At first halves of the test rows chose; the number was set to fifty after that effect was seen to be small.)


# %%
def flattery(hits, repetitions, number):
    """Choose the best candidate on fifty random test rows; score it on them and on the others."""
    rows, chance, seen, fresh = np.stack(hits), np.random.default_rng(number), [], []
    for _ in range(repetitions):
        order = chance.permutation(rows.shape[1])
        one, other = order[:50], order[50:]
        chosen = rows[:, one].mean(1).argmax()
        seen.append(rows[chosen, one].mean())
        fresh.append(rows[chosen, other].mean())
    return np.mean(seen), np.mean(fresh)


measured = np.array([flattery([right[m][draw] for m in pool], 200, seed + draw) for draw in range(draws)])
record_table(
    "07e.flattery",
    {
        "the best on these rows": {
            "reported": measured[:, 0],
            "on fresh rows": measured[:, 1],
            "flattery": -np.diff(measured)[:, 0],
        }
    },
    corner="chosen by test accuracy",
)
claim(
    "07e.test-choice-flatters",
    "in every draw the candidate chosen on test rows scores higher on them than on test rows that took no part",
    bool((measured[:, 0] > measured[:, 1]).all()),
)

# %% [markdown]
# More choosing rows flatter less. **The repair** is the section before: choose by something that sees no target label, then score test rows once. If labels must choose, take target *validation* rows, and say so.
#
# ## The photographs' figures
#
# From a run at public (21 November 2026, two CPU cores, three to four minutes on one):

# %%
panels = {
    "07e.heads": "heads on photographs",
    "07e.digits": "two digit collections",
    "07e.streams": "ResNet-20 on a stream",
}
figure, axes = plt.subplots(1, 3, figsize=(13, 4.6))
for axis, (table_name, title) in zip(axes, panels.items()):
    found = {key: v for key, v in record_values(reference, "public", table_name).items() if "minus" not in key[1]}
    names, columns = (list(dict.fromkeys(key[place] for key in found)) for place in (0, 1))
    for column, colour, marker in zip(columns, ("blue", "vermilion", "green", "black"), "osD^"):
        means = [found[n, column][0] for n in names]
        axis.plot(means, range(len(names)), ls="", marker=marker, color=COLOURS[colour], label=column)
    axis.set(title=title, xlabel="accuracy on test rows", xlim=(0, 1.02), ylim=(len(names) - 0.5, -0.5))
    axis.set_yticks(range(len(names)), names)
    axis.legend(fontsize=9, loc="lower left")
means = {key: [v[0]] for key, v in record_values(reference, "public", "07e.kept").items() if "share" in key[1]}
record_table("07e.public", {row: {column: v} for (row, column), v in means.items()}, corner="public run")

# %% [markdown]
# *Three panels of points, one row a method. Left: most heads between 0.7 and 0.85, the MMD map below 0.2, the SHOT head ahead, the oracle near 1. Middle: pixels and the network from scratch on the left, boxed pixels between 0.7 and 0.85, what starts from letters near 0.9. Right: left alone, the points spread from below 0.2 to 0.8; adapted, all lie between 0.5 and 0.8.*
#
# ## What to take away
#
# - On frozen features adaptations cost seconds. SHOT on a head gained most here; CORAL and a DANN head could cost.
# - A setting found on one pair can be ruinous on the next: count the free entries of what is learnt without labels.
# - Before adapting, remove what preprocessing can remove: place, size, brightness.
# - Batch norm's statistics repair damage that moves statistics; they have little to give on healthy pictures.
# - Choose by information or another label-free score; score test rows once.
#
# > **Mistakes box.** *The best setting by target test accuracy.* *Trusting AdaBN on a backbone without batch norm*: it runs, and does nothing. *Crediting a method with what a bounding box does.* *Scoring the rows that were adapted to* without the word transductive. *A random split of a webcam's pictures* called new things.
#
# **A question left open.** Labels of the target's training rows all but end the problem. How few would? Ten labelled rows, well chosen, against all of this lesson: the lab of chapter 07 lets you try on digits.
#
# **Sources.** Saenko et al., *Adapting Visual Category Models to New Domains*, ECCV 2010 · Gong et al., *Geodesic Flow Kernel for Unsupervised Domain Adaptation*, CVPR 2012 · Fernando et al., *Unsupervised Visual Domain Adaptation Using Subspace Alignment*, ICCV 2013 · Sun, Feng and Saenko, *Return of Frustratingly Easy Domain Adaptation*, AAAI 2016 · Courty et al., *Optimal Transport for Domain Adaptation*, IEEE PAMI 39(9), 2017 · Liang, Hu and Feng, *Do We Really Need to Access the Source Data?*, ICML 2020.
