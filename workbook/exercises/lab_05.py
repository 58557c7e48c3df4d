"""Lab 05, feature extraction: checkers. The lab is ``labs/05_feature_extraction.ipynb``."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy import stats
from scipy.linalg import eigh
from torch import nn

from data_scripts.corrupt import CONFUSED_DIGITS, flip_labels
from data_scripts.handwriting import digit_images
from data_scripts.photo_digits import blend
from data_scripts.photographs import photo_patches
from data_scripts.pretrained_torch import load_glyphnet
from workbook.exercises.exercise import Lab, Wrong
from workbook.exercises.values import as_array, as_number, from_set, is_close, must_return, tell_apart

LAB = Lab("05")


@LAB.exercise(
    "05.1",
    "Where does a number land?",
    minutes=6,
    points=2,
    expects="a function of four indices and three sizes that returns a row and a column",
    hints=[
        "A reshape leaves the numbers where they are in memory. At which place of the memory, counted from 0, stands "
        "`maps[i, c, h, w]`? The last index runs fastest.",
        "Place = ((i · C + c) · H + h) · W + w. The new array is filled row by row, with C numbers in each.",
    ],
)
def check_lands(draw: np.random.Generator, lands: Callable) -> str:
    """The quotient and the remainder of the place in memory by C."""
    for _ in range(2):
        H, W = map(int, draw.choice([2, 3, 4, 5], 2, replace=False))
        shape = int(draw.integers(2, 4)), int(draw.choice([7, 9])), H, W  # C is never H · W
        C = shape[1]
        pairs = []
        for index in np.ndindex(shape):
            pair = as_array(must_return(lands(*index, C, H, W))).ravel()
            if pair.size != 2:
                raise Wrong(f"expected two numbers, a row and a column; got {pair.size}")
            pairs.append(pair)
        found = np.transpose(pairs)
        i, c, h, w = np.indices(shape).reshape(4, -1)
        right = np.stack(np.divmod(np.arange(i.size), C))
        if np.array_equal(found, right):
            continue
        turned = ((i * C + c) * W + w) * H + h
        known = (
            (np.stack([i * H * W + h * W + w, c]), "that is what was *meant*: a row for each place and a column for "
             "each channel. A reshape moves nothing, and in memory all places of one channel lie side by side"),
            (right[::-1], "row and column have changed places", 0.5),
            (right + 1, "both are one too large: rows and columns are counted from 0", 0.5),
            (np.stack(np.divmod(np.arange(i.size), H * W)), "so it would be if a row of the result held H · W numbers; "
             "what does `reshape(-1, C)` put in a row?", 0.5),
            (np.stack(np.divmod(turned, C)), "within one map, which index runs fastest: the row's or the column's?",
             0.5),
        )  # fmt: skip
        tell_apart(found, known)
        if np.array_equal(found[0], i):
            raise Wrong("every image would keep a single row; count how many rows the result has")
        if not np.array_equal(found, found.astype(int)):
            raise Wrong("rows and columns are whole numbers: a place within a row does not count as part of a row")
        if np.array_equal(found[0], right[0]):
            raise Wrong("the row is right, the column is not", share=0.5)
        if np.array_equal(found[1], right[1]):
            raise Wrong("the column is right, the row is not", share=0.5)
        first = tuple(map(int, np.unravel_index((found != right).any(axis=0).argmax(), shape)))
        raise Wrong(
            f"not for maps of shape {shape}: maps[{', '.join(map(str, first))}] lands elsewhere. Fill an array of this "
            "shape with np.arange, reshape it, and look where the numbers are"
        )
    return (
        "nothing complains, since the numbers are all there. But a column stands for other channels in every one of "
        "an image's rows, and what a linear model learns of a column is true of none of them"
    )


@LAB.exercise(
    "05.2",
    "One pass, three mistakes",
    minutes=12,
    points=3,
    expects="a function of a network and batches that returns features (n, C) and labels (n,)",
    hints=[
        "Ask for the shape first: which of the four axes of `maps` are places? Then run one image by itself and again "
        "among others: does it get the same features?",
        "The network was handed over as training left it. Which layer looks at the whole batch in that mode, and "
        "remembers what it saw?",
        "Collect `rows` as well, join everything, and sort features *and* labels by it: np.argsort.",
    ],
)
def check_extract(draw: np.random.Generator, extract: Callable) -> str:
    """Evaluation mode, averaged over places, in the order of the data set, and the network left as it was."""
    n = int(draw.integers(21, 31))
    torch.manual_seed(int(draw.integers(2**31)))
    norm = nn.BatchNorm2d(6)
    norm.running_mean.uniform_(-1, 1), norm.running_var.uniform_(0.5, 2)
    network = nn.Sequential(nn.Conv2d(1, 6, 3), norm, nn.ReLU())
    images = 2 * torch.rand(n, 1, 1, 1) * torch.randn(n, 1, 7, 10) + torch.randn(n, 1, 1, 1)
    labels, order = torch.randint(0, 7, (n,)), torch.randperm(n)

    def batches() -> list[tuple]:
        return [(images[rows].clone(), labels[rows].clone(), rows.clone()) for rows in order.split(8)]

    def in_loaders_order(training: bool, pool: Callable) -> np.ndarray:
        frozen = copy.deepcopy(network).train(training)
        with torch.no_grad():
            return torch.cat([pool(frozen(part)) for part, *_ in batches()]).numpy()

    def average(maps: torch.Tensor) -> torch.Tensor:
        return maps.mean(dim=(2, 3))

    variants = {training: in_loaders_order(training, average) for training in (False, True)}
    largest = in_loaders_order(False, lambda maps: maps.amax(dim=(2, 3)))
    total = in_loaders_order(False, lambda maps: maps.sum(dim=(2, 3)))
    back, before = np.argsort(order.numpy()), copy.deepcopy(network.state_dict())
    found = must_return(extract(network.train(), batches()))
    if not isinstance(found, Sequence) or len(found) != 2:
        raise Wrong("expected two things back: features and labels")
    features, told = as_array(found[0]), as_array(found[1])
    if features.ndim == 1 and told.ndim > 1:
        raise Wrong("the labels come first; asked are the features, then the labels")
    told = told.ravel()
    _refuse_shape(features.shape, n, (6, 5, 8))
    if told.shape != (n,):
        raise Wrong(f"expected {n} labels, one for each image, got {told.size}")
    matches = [
        (training, sort)
        for training, rows in variants.items()
        for sort, seen in ((True, rows[back]), (False, rows))
        if is_close(features, seen, rtol=1e-3, atol=1e-4)
    ]
    if not matches:
        for pooled, name in ((largest, "maximum"), (total, "sum")):
            if any(is_close(features, rows, rtol=1e-3, atol=1e-4) for rows in (pooled[back], pooled)):
                raise Wrong(f"that is the {name} over places; the average is asked", share=1 / 3)
        for training, rows in variants.items():
            nearest = np.abs(features[:, None] - rows).max(axis=2).argmin(axis=1)
            if np.unique(nearest).size == n and is_close(features, rows[nearest], rtol=1e-3, atol=1e-4):
                raise Wrong(
                    "all averages are there, but neither in the order of the data set nor in the loader's: `rows` says "
                    "where each image that came belongs, and not which of them to take"
                    + "; and the network still runs in training mode"
                    * training,
                    share=1 / 3 if training else 2 / 3,
                )
        raise Wrong("of the right shape, but not the averages over places of what this network says of these images")
    training, sort = matches[0]
    faults = []
    if training:
        faults.append("an image's features depend on the others in its batch: the network still runs in training mode")
    sorted_labels = np.array_equal(told, labels.numpy())
    if not sort and not sorted_labels and np.array_equal(told, labels[order].numpy()):
        faults.append(
            "features and labels belong together, but come as the loader had them: what you extract tomorrow, in "
            "another shuffle, will not fit"
        )
    else:
        if not sort:
            faults.append("the features come in the loader's order, so row i does not belong to label i")
        if not sorted_labels:
            faults.append("the labels are not in the order of the data set")
    if faults:
        raise Wrong("; and ".join(faults), share=max(0.0, 1 - (1 + len(faults)) / 3) if training else 2 / 3)
    if any(not torch.equal(before[name], value) for name, value in network.state_dict().items()):
        raise Wrong(
            "the features are right, but the network is not as it was: its weights or running statistics have moved",
            share=2 / 3,
        )
    return (
        "run one image by itself and compare it with its row in the cache: a line that would have caught the mode and "
        "the order, in any project"
    )


def _refuse_shape(shape: tuple[int, ...], n: int, maps: tuple[int, int, int]) -> None:
    channels, height, width = maps
    if shape == (n, channels):
        return
    if shape in ((n, height), (n, width)):
        raise Wrong(
            f"shape {shape}: you averaged over the channels and one direction of the picture. What is left are "
            "places; the places are what should go"
        )
    if shape == (n, channels * height * width):
        raise Wrong(f"shape {shape}: every place is kept; the average over places is asked")
    if len(shape) == 2 and shape[0] in (n * height * width, n * height, n * width):
        raise Wrong(f"shape {shape}: {n} images went in, so {n} rows must come out")
    raise Wrong(f"shape {shape}: expected one row an image and one column a channel, ({n}, {channels})")


CACHES = ("strong", "weak", "units", "unequal")
"""Kinds of caches in 05.3: clear features, hardly any, a column in large units, one class much more frequent."""


def draw_cache(draw: np.random.Generator, kind: str, *, belongs: bool) -> dict[str, np.ndarray]:
    """Return features and labels, in order or scrambled.

    Args:
        draw: of everything.
        kind: one of `CACHES`.
        belongs: whether row i of the features belongs to label i.
    """
    n, d, classes = 240, 12, 8 if kind == "weak" else 4
    labels = draw.permutation(np.arange(n) % classes)
    if kind == "unequal":
        labels = draw.choice(classes, n, p=[0.8, 0.08, 0.06, 0.06])
    features = draw.normal(0, 0.4 if kind == "weak" else 1.0, (classes, d))[labels] + draw.normal(size=(n, d))
    if kind == "units":
        features[:, int(draw.integers(d))] = draw.normal(2e4, 1e4, n)
    if not belongs:  # a loader that shuffled, or one picture that was dropped on the way
        labels = draw.permutation(labels) if draw.random() < 0.5 else np.roll(labels, 1)
    return {"features": features, "labels": labels}


_MISJUDGED = {
    ("unequal", False): "scrambled caches pass where one class is frequent: guessing it is right most of the time, and "
    "a class of few rows fits by luck. What would your number be there by chance?",
    ("units", True): "a cache in order is called scrambled if one of its columns has large numbers: that column alone "
    "decides who is near to whom",
    ("weak", True): "the cache of a weak network is called scrambled: its features say little, but not nothing",
    ("strong", False): "scrambled caches pass: how far does your number scatter by chance?",
    ("strong", True): "caches in order are called scrambled",
    ("unequal", True): "caches in order are called scrambled where one class is frequent",
    ("weak", False): "scrambled caches pass where there are many classes: how far does your number scatter by chance?",
    ("units", False): "scrambled caches pass: how far does your number scatter by chance?",
}


@LAB.exercise(
    "05.3",
    "Do these rows belong to these labels?",
    minutes=15,
    points=3,
    expects="a function of features (n, d) and labels (n,) that returns True or False",
    hints=[
        "If the rows belong to their labels, images of one class are more alike than others. Turn that into a number: "
        "how often has the nearest *other* row the same label? Mind the units of the columns.",
        "What would that number be if the rows did not belong? You can find out: shuffle the labels yourself, some "
        "hundred times, and count it each time.",
        "True if the number for the labels as given is larger than (nearly) all those for shuffled labels. The "
        "neighbours need be found only once.",
    ],
    seconds=30,
)
def check_belongs(draw: np.random.Generator, belongs: Callable) -> str:
    """At most two of thirty-two caches misjudged."""
    cases = [(kind, truth) for kind in CACHES for truth in (True, False)] * 4
    verdicts = []
    for place in draw.permutation(len(cases)):
        cache = draw_cache(draw, cases[place][0], belongs=cases[place][1])
        found = must_return(belongs(cache["features"], cache["labels"]))
        said = np.asarray(found)
        if said.dtype != bool or said.size != 1:
            raise Wrong(f"expected True or False, got {type(found).__name__}")
        verdicts.append((cases[place], bool(found)))
    if len({said for _, said in verdicts}) == 1:
        raise Wrong(
            f"your verdict is {verdicts[0][1]} whatever the cache: does your number change if you shuffle the labels?"
        )
    missed = [case for case, said in verdicts if said != case[1]]
    if len(missed) <= 2:
        return (
            "labels that you shuffle yourself say what chance gives, whatever the classes and their numbers: with them "
            "no threshold need be chosen. A test cannot see rows that are exchanged *within* a class, and hardly a few "
            "that moved"
        )
    said, worst = f"{len(missed)} of {len(cases)} misjudged", max(_MISJUDGED, key=missed.count)
    if len(missed) > 0.8 * len(cases):
        raise Wrong(f"{said}: your verdict seems to be upside down", share=1 / 3)
    if 3 * missed.count(worst) < len(missed):
        raise Wrong(f"{said}, caches of every kind: is it the rows and *their* labels that your number looks at?")
    passed = {kind for kind, truth in missed if not truth}
    if len(passed) > 2 and all(not truth for _, truth in missed) and missed.count(worst) < 4:
        raise Wrong(f"{said}, scrambled ones of several kinds: what does your number give by chance, and how far does "
                    "it scatter from one shuffle of the labels to the next?", share=1 / 3)  # fmt: skip
    raise Wrong(f"{said}; {_MISJUDGED[worst]}", share=1 / 3 if len(missed) < 10 else 0)


@LAB.exercise(
    "05.4",
    "The nearest mean, as a linear classifier",
    minutes=8,
    points=2,
    expects="a function of features (n, d) and labels (n,) that returns W (K, d) and b (K,)",
    hints=[
        "Write ‖h − μ‖² out. Which of the three terms is the same for every class?",
        "What is left is 2 μ·h − ‖μ‖²: read off W and b. And μ is a mean: divide by the rows of *that* class.",
    ],
)
def check_linear(draw: np.random.Generator, linear: Callable) -> str:
    """W = 2μ and b = −‖μ‖², with each class's own count."""
    K, d = int(draw.integers(3, 6)), int(draw.integers(6, 9))
    y = draw.permutation(np.repeat(np.arange(K), draw.permutation([3, 9, 20, 6, 14])[:K]))
    x = draw.normal(0, 1.5, (K, d))[y] + draw.normal(0.7, 1, (len(y), d))
    found = must_return(linear(x.copy(), y.copy()))
    if not isinstance(found, Sequence) or len(found) != 2:
        raise Wrong("expected two things back, W and b")
    W, b = map(as_array, found)
    if W.shape == (d, K) != (K, d):
        raise Wrong(f"W has shape {W.shape}: one row for each class is asked, so that the logits are h @ W.T + b", 0.5)
    if W.shape != (K, d) or b.shape != (K,):
        raise Wrong(f"W has shape {W.shape} and b {b.shape}; expected {(K, d)} and {(K,)}")
    sums, counts = np.eye(K)[y].T @ x, np.bincount(y)[:, None]
    mean, same = sums / counts, sums / (len(y) / K)
    unit = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    h = draw.normal(0.7, 2, (40, d))

    def logits(W: np.ndarray, b: np.ndarray) -> np.ndarray:
        z = h @ W.T + b
        return z - z.mean(axis=1, keepdims=True)

    def square(rows: np.ndarray) -> np.ndarray:
        return np.square(rows).sum(axis=1)

    found = logits(W, b)
    if is_close(found, logits(2 * mean, -square(mean))):
        return (
            "so a linear layer measures distances if b = −‖w‖²/4 for every row w of W, and a mean of a few rows is a "
            "trained classifier without training. Class frequencies play no part in it: a rare class gets no less room"
        )
    mistakes = (
        ((mean, -square(mean) / 2), "the nearest mean wins, but all differences are half of what they should be: "
         "softmax would be too flat", 0.5),
        ((2 * mean, 0 * square(mean)), "without the squared lengths a mean far from zero wins too often", 0.25),
        ((2 * mean, square(mean)), "the sign of b: a mean far from zero is not nearer for that", 0.25),
        ((mean, -square(mean)), "h and μ meet twice when the square is written out", 0.25),
        ((-2 * mean, square(mean)), "these are the squared distances themselves: the *furthest* mean would win", 0.25),
        ((2 * same, -square(same)), "every sum is divided by the same number, but classes have different numbers of "
         "rows", 0.25),
        ((2 * sums, -square(sums)), "these are sums over a class, not means: frequent classes lie far out", 0.0),
        ((2 * unit, -square(unit)), "the means have been brought to length one, which was not asked", 0.25),
        ((unit, 0 * square(unit)), "that is the nearest *direction*: lengths play no part in it", 0.0),
        ((2 * mean, -np.sqrt(square(mean))), "b holds lengths; it is their squares that are left over", 0.25),
        ((2 * mean, -square(mean) + np.log(counts[:, 0] / len(y))), "a frequent class gets more room; the nearest mean "
         "knows nothing of frequencies", 0.25),
    )  # fmt: skip
    tell_apart(found, ((logits(*answer), *said) for answer, *said in mistakes))
    length = (W * mean).sum(axis=1, keepdims=True) / square(mean)[:, None]
    if is_close(W, length * mean) and not is_close(length, np.full((K, 1), length.mean()), rtol=1e-2):
        raise Wrong("every row of W points the right way, but some are too long beside others: is each sum divided by "
                    "the rows of its own class?", share=0.25)  # fmt: skip
    raise Wrong("the differences between your logits are not those of −‖h − μ‖²")


RANKED = 0.85
"""What 05.5 asks for: the rank correlation of score and probe, in the mean over `SOURCE_PROBLEMS` problems."""
SOURCE_PROBLEMS = 8
PATIENCE = 15
"""Seconds in 05.5 after which no further problem is begun."""


def draw_sources(draw: np.random.Generator) -> dict[str, object]:
    """Return eight sources' features of the same hundred labelled images, and the probe's accuracy with each.

    The probe is a ridge regression of the one-hot labels on standardised columns; its accuracy comes from five
    hundred other images.

    Returns:
        ``"features"``, a list of eight arrays ``(100, d)`` of different widths; ``"labels"`` ``(100,)``; ``"probe"``,
        eight accuracies.
    """
    labels, others = draw.permutation(np.repeat(np.arange(5), 20)), draw.integers(0, 5, 500)
    features, probe = [], []
    strengths = draw.permutation(np.linspace(0.9, 5, 7)).tolist()
    # The source that knows nothing is a wide one.
    for d, strength in zip([150, *draw.permutation([6, 10, 20, 40, 80, 120, 160])], [0.0, *strengths], strict=True):
        centres = draw.normal(size=(5, d))
        centres *= strength / np.linalg.norm(centres, axis=1, keepdims=True)
        units = np.exp(draw.normal(0, 5, d))
        x, new = ((centres[y] + draw.normal(size=(len(y), d))) * units for y in (labels, others))
        features.append(x)
        probe.append(_ridge_accuracy(x, labels, new, others))
    order = draw.permutation(8)
    return {"features": [features[i] for i in order], "labels": labels, "probe": np.array(probe)[order]}


def _ridge_accuracy(x: np.ndarray, y: np.ndarray, new: np.ndarray, new_y: np.ndarray) -> float:
    mean, spread = x.mean(axis=0), x.std(axis=0)
    x, new = (x - mean) / spread, (new - mean) / spread
    target = np.eye(y.max() + 1)[y]
    weights = np.linalg.solve(x.T @ x + 50 * np.eye(x.shape[1]), x.T @ (target - target.mean(axis=0)))
    return float(((new @ weights).argmax(axis=1) == new_y).mean())


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    return 0.0 if np.ptp(a) == 0 else float(stats.spearmanr(a, b).statistic)


@LAB.exercise(
    "05.5",
    "A score of your own",
    minutes=15,
    points=3,
    expects="a function of features (n, d) and labels (n,) that returns a number",
    hints=[
        "What is to be predicted is how a classifier does on images that it has *not* seen. What can a hundred "
        "labelled rows tell of that, without deceiving themselves?",
        "A classifier scored on the rows that trained it is nearly always right if the columns are many. Leave rows "
        "out: one by one, or fold by fold. And the columns have different units.",
        "Any of these will do: a cross-validated probe with its scaler inside the pipeline, the nearest *other* row on "
        "standardised columns, a classifier that learns from one half and is scored on the other.",
    ],
    seconds=30,
)
def check_score(draw: np.random.Generator, score: Callable) -> str:
    """A Spearman correlation of `RANKED` with the probe on unseen rows, in the mean."""
    rho, with_one_unit, nothings, widths, same = [], [], [], [], True
    started = time.monotonic()
    for done in range(SOURCE_PROBLEMS):
        if time.monotonic() - started > PATIENCE:
            raise Wrong(f"{done} of {SOURCE_PROBLEMS} problems have taken {PATIENCE} seconds, and a score should cost "
                        "little. (Where columns have very different units, many fits take long.)")  # fmt: skip
        problem = draw_sources(draw)
        labels, probe = problem["labels"], problem["probe"]
        ours = np.array([as_number(must_return(score(x.copy(), labels.copy()))) for x in problem["features"]])
        same = same and np.ptp(ours) == 0
        rho.append(_spearman(ours, probe))
        nothings.append(stats.rankdata(ours)[probe.argmin()] - 0.5)
        widths.append(_spearman(ours, np.array([x.shape[1] for x in problem["features"]])))
        if rho[-1] < RANKED:
            alike = [as_number(score(x / x.std(axis=0), labels.copy())) for x in problem["features"]]
            with_one_unit.append(_spearman(np.array(alike), probe))
        else:
            with_one_unit.append(rho[-1])
    if np.mean(rho) >= RANKED:
        return (
            "and on problems that it was not made for, which is what makes a score worth believing. Now ask of it what "
            "lesson 05b asks: does it still rank the best few, and does it cost less than trying them?"
        )
    if same:
        raise Wrong("every source gets the same score")
    if np.mean(rho) < -RANKED:
        raise Wrong("it ranks well, but upside down: the *larger* score should mean the better source", share=2 / 3)
    if np.mean(with_one_unit) >= RANKED:
        raise Wrong("it would rank well if all columns had the same units: as it is, large numbers drown the rest", 0.5)
    if np.mean(widths) > 0.995:
        raise Wrong("sources with more columns score higher, and nothing else counts")
    if np.mean(nothings) > 5:
        raise Wrong("a source of many columns that knows nothing of the classes is ranked among the best: with more "
                    "columns than rows, everything can be explained")  # fmt: skip
    if np.mean(rho) > 0.5:
        mean = np.floor(100 * np.mean(rho)) / 100
        raise Wrong(f"it ranks: {mean:.2f} in the mean over {SOURCE_PROBLEMS} problems. {RANKED} is wanted", share=0.5)
    raise Wrong("it hardly ranks the sources at all")


def draw_views(draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return two views ``(n, 8)`` of the same pictures: some hidden directions survive from one to the other."""
    n = 600
    agree = np.sqrt([0.9, 0.8, 0.7, 0.4, 0.3, 0.2, 0.1, 0.05])
    shared = draw.normal(size=(n, 8))
    mix, scale, offset = _mixing(draw), np.exp(draw.normal(0, 0.3, 8)), draw.uniform(2, 5, 8)
    # Of the directions that hardly agree one is large and one is tiny.
    scale *= np.array([0.7, 0.7, 0.7, 1, 1, 1, 2.5, 0.1])
    first, second = (agree * shared + np.sqrt(1 - agree**2) * draw.normal(size=(n, 8)) for _ in range(2))
    return (first * scale) @ mix + offset, (second * scale) @ mix + offset


def _mixing(draw: np.random.Generator) -> np.ndarray:
    left, right = (np.linalg.qr(draw.normal(size=(8, 8)))[0] for _ in range(2))
    return left @ np.diag(draw.uniform(0.6, 1.6, 8)) @ right


def _span(a: np.ndarray, b: np.ndarray) -> float:
    """Return the overlap of two column spaces: 1 if they are the same."""
    return float(np.square(np.linalg.qr(a)[0].T @ np.linalg.qr(b)[0]).sum() / a.shape[1])


def _covariances(first: np.ndarray, second: np.ndarray, *, centre: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return the covariance of all views and the symmetrised one between partners."""
    mean = (first + second).mean(axis=0) / 2 if centre else 0.0
    a, b = first - mean, second - mean
    return (a.T @ a + b.T @ b) / (2 * len(a)), (a.T @ b + b.T @ a) / (2 * len(a))


@LAB.exercise(
    "05.6",
    "What two views agree on",
    minutes=12,
    points=3,
    expects="a function of two arrays (n, D) and a number d that returns a matrix (D, d)",
    hints=[
        "Lagrange: the derivative of uᵀC₁₂u − λ (uᵀCu − 1) is zero. That is a generalised eigenvalue problem, and λ is "
        "the agreement itself.",
        "`scipy.linalg.eigh(A, B)` solves A u = λ B u and scales every u to uᵀBu = 1. In which order do its "
        "eigenvalues come?",
        "Subtract one mean, that of all views, from both. C = (aᵀa + bᵀb) / 2n and C₁₂ = (aᵀb + bᵀa) / 2n; take the "
        "*last* d columns of what eigh returns.",
    ],
)
def check_agreeing(draw: np.random.Generator, agreeing: Callable) -> str:
    """The generalised eigenvectors of the cross-covariance with the largest eigenvalues."""
    (first, second), d = draw_views(draw), int(draw.integers(2, 4))
    U = as_array(must_return(agreeing(first.copy(), second.copy(), d)))
    if U.shape == (len(first), d):
        raise Wrong("those are the features; asked is the matrix that makes them, for pictures that come later", 1 / 3)
    if U.shape == (d, 8):
        raise Wrong("a direction should be a column of the matrix, not a row", share=2 / 3)
    if U.shape != (8, d):
        raise Wrong(f"expected a matrix of shape (8, {d}), got {U.shape}")
    C, between = _covariances(first, second)
    best = eigh(between, C)
    gram = U.T @ C @ U
    variance = np.diag(gram)
    if (variance < 1e-9).any() or not np.isfinite(U).all():
        raise Wrong("a feature of yours is the same for every picture, or not a number")
    off = gram / np.sqrt(np.outer(variance, variance)) - np.eye(d)
    agreement = np.diag(U.T @ between @ U) / variance
    if np.abs(off).max() < 0.1 and agreement.sum() > best[0][-d:].sum() - 0.02 * d:
        if not np.allclose(variance, 1, rtol=0.06):
            raise Wrong("the right directions, but the features do not have variance 1", share=2 / 3)
        return (
            "no label, and no network: whoever chose the views chose the features. A contrastive network does the same "
            "with curved features in the place of straight ones"
        )
    flat = _covariances(first, second, centre=False)
    one_way = (first - first.mean(axis=0)).T @ (second - second.mean(axis=0)) / len(first)
    triangles = [np.tril(part) + np.tril(part, -1).T for part in (one_way, one_way.T)]
    for known, said in (
        (best[1][:, :d], "these agree *least*: eigenvalues come in rising order"),
        (eigh(C)[1][:, -d:], "these are the directions of largest spread (principal components); whether the views "
         "agree there plays no part"),
        (eigh(C)[1][:, :d], "these are the directions of least spread; whether the views agree there plays no part"),
        (eigh(between)[1][:, -d:], "that is the largest *covariance* of the views: a direction with large numbers wins "
         "though the views agree less there. Where is C?"),
        (eigh(2 * C - 2 * between)[1][:, :d], "the views differ least there, measured in the picture's own units; a "
         "direction in which hardly anything varies wins. Where is C?"),
        *((eigh(part, C)[1][:, -d:], "aᵀb / n is not symmetric, and eigh reads only one half of it: which view is "
           "first must not matter") for part in triangles),
        (eigh(flat[1], flat[0])[1][:, -d:], "the mean of all pictures has not been taken off, and a mean agrees with "
         "itself"),
    ):  # fmt: skip
        if _span(U, known) > 0.999:
            raise Wrong(said, share=1 / 3)
    if np.abs(off).max() >= 0.1:
        raise Wrong(
            "two of your features say partly the same: what one has told, the next should not tell again", 1 / 3
        )
    raise Wrong("there are directions in which the views agree more")


DISTORTIONS = ("slant", "thickness", "background")


def draw_target(draw: np.random.Generator, carrier: str) -> dict[str, object]:
    """Return pictures without labels as a function of the views wanted, and a few labelled rows of a target.

    Args:
        draw: of everything.
        carrier: where the target's classes show: one of `DISTORTIONS`, or ``"none"`` of them.

    Returns:
        ``"views"``, a function of the distortion that is left out (or ``"none"``), which returns two views ``(500,
        8)``; ``"x"`` and ``"y"``, 45 labelled rows of three classes.
    """
    mix, seed, n = _mixing(draw), int(draw.integers(2**31)), 500
    blocks = {"none": slice(0, 2)} | {name: slice(2 * i + 2, 2 * i + 4) for i, name in enumerate(DISTORTIONS)}

    def views(without: str = "none") -> tuple[np.ndarray, np.ndarray]:
        if without not in blocks:
            raise ValueError(f"{without!r} is none of {', '.join(blocks)}")
        noise = np.random.default_rng(seed)
        shared, made = noise.normal(size=(n, 8)), []
        for _ in range(2):
            hidden = noise.normal(size=(n, 8))
            hidden[:, blocks["none"]] = 0.9 * shared[:, blocks["none"]] + 0.44 * hidden[:, blocks["none"]]
            if without != "none":  # not redrawn: both views keep the picture's own
                hidden[:, blocks[without]] = shared[:, blocks[without]]
            made.append(hidden @ mix)
        return made[0], made[1]

    y = draw.permutation(np.repeat(np.arange(3), 15))
    hidden = draw.normal(size=(45, 8))
    second = draw.choice([name for name in blocks if name != carrier])
    for name, radius in ((carrier, 2.2), (second, 0.7)):
        angle = 2 * np.pi * (y / 3 + draw.random())
        hidden[:, blocks[name]] += radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return {"views": views, "x": hidden @ mix, "y": y}


@LAB.exercise(
    "05.7",
    "One distortion left out",
    minutes=12,
    points=3,
    expects="a function of views, names, x and y that returns one of the names or 'none'",
    hints=[
        "There are as many experiments as names, and one more in which nothing is left out. Each makes features with "
        "`agreeing(*views(name), 2)`. By which number do you compare them?",
        "Agreement cannot decide, for it rises with whatever is left out. The target's labels can: how well does a "
        "classifier do, on rows held out, with the features of each experiment?",
        "For each name: U = agreeing(*views(name), 2), then sklearn's cross_val_score of a simple classifier on "
        "x @ U and y. Return the name with the best mean.",
    ],
    seconds=30,
)
def check_leave_out(draw: np.random.Generator, leave_out: Callable) -> str:
    """At least seven of eight targets get the views that serve them."""
    asked = draw.permutation(2 * ("none", *DISTORTIONS)).tolist()
    chosen = []
    for carrier in asked:
        target = draw_target(draw, carrier)
        names = draw.permutation(DISTORTIONS).tolist()
        found = leave_out(target["views"], names, target["x"].copy(), target["y"].copy())
        if found is None:
            raise Wrong("for one target at least your function returns nothing: is a `return` missing? (Where nothing "
                        "should be left out the answer is the text 'none'.)")  # fmt: skip
        if found not in ("none", *DISTORTIONS):
            raise Wrong(f"{found!r} is neither one of the names nor 'none'")
        chosen.append(found)
    right = sum(a == b for a, b in zip(asked, chosen, strict=True))
    if right >= 7:
        return (
            "a handful of the target's labels had to say which views were right: without labels in pre-training does "
            "not mean without knowledge. The rows that chose cannot also be the test"
        )
    if len(set(chosen)) == 1:
        raise Wrong(f"you answer {chosen[0]!r} whatever the target: but targets differ in what carries their "
                    "classes. Do your experiments get different marks?")  # fmt: skip
    said = f"{right} of {len(asked)} targets get the views that serve them"
    if "none" not in chosen and right >= 5:
        raise Wrong(f"{said}, but something is left out every time, also where nothing should be: is that among your "
                    "experiments?", share=1 / 3)  # fmt: skip
    if "none" not in chosen:
        raise Wrong(
            f"{said}. Something is left out every time, also where nothing should be: is it chosen by how well the "
            "views agree, or on rows that the classifier has learned from?"
        )
    if right >= 5:
        raise Wrong(f"{said}: better than chance, but the choice hangs on luck", share=1 / 3)
    raise Wrong(f"{said}: do the target's labels decide, on rows that the classifier did not learn from? And is your "
                "`agreeing` accepted in 05.6?")  # fmt: skip


FOUND = 0.9
"""Of challenge 05.8: the share of the wrong labels to be found, for either kind of mistake."""
MISTAKES = ("any", "pairs")
"""A wrong label is any other digit, or always the digit that this one is confused with."""


def draw_mislabelled(draw: np.random.Generator, kinds: Sequence[str] = MISTAKES) -> Iterator[dict[str, np.ndarray]]:
    """Yield a problem for each kind of mistake: GlyphNet's features of digits over photographs, some labels wrong.

    The digits are laid over other pieces of photographs than in photo_digits, so that nobody has seen the pictures.
    """
    n, (ink, digits) = 300, digit_images()
    rows = np.concatenate([draw.choice(len(digits), n, replace=False) for _ in kinds])
    seeds = draw.integers(0, 2**31, 2 + len(kinds)).tolist()
    patches = photo_patches(len(rows), half="task", seed=seeds[0]).astype(np.float32) / 255
    pictures = torch.from_numpy(blend(ink[rows], patches, seed=seeds[1]))[:, None]
    network = load_glyphnet()
    with torch.inference_mode():
        features = torch.cat([network.features(part) for part in pictures.split(256)]).numpy()
    for place, kind in enumerate(kinds):
        mine = slice(place * n, (place + 1) * n)
        truth = digits[rows[mine]]
        partner = CONFUSED_DIGITS if kind == "pairs" else None
        labels = truth.copy()
        for digit in range(10):  # a third of every digit: were it more than half of one, nobody could say which
            same = truth == digit
            labels[same] = flip_labels(truth[same], 1 / 3, classes=10, seed=seeds[2 + place] + digit, partner=partner)
        yield {"features": features[mine], "labels": labels, "truth": truth}


@LAB.exercise(
    "05.8",
    "Open challenge: the wrong labels",
    minutes=25,
    points=4,
    expects="a function of features (n, d), labels (n,) and a count that returns so many row numbers",
    hints=[
        "What does a classifier think of the label that a row was given? Do not ask one that has learned those very "
        "labels by heart: judge every row by one that has not seen it, or take one that can remember little.",
        "The nearest mean of 05.4 learns one mean for each class and nothing else, and a wrong label is one among "
        "thirty there. How much nearer is a row to the mean of another class than to that of its label? Bring all rows "
        "to length one first.",
        "Then repeat: leave out the rows that you suspect most, make the means again from the others, and judge all "
        "rows again.",
    ],
    seconds=30,
)
def check_challenge(draw: np.random.Generator, find_wrong: Callable) -> str:
    """At least `FOUND` of the wrong labels, for both kinds of mistakes."""
    kinds = 3 * MISTAKES
    shares = {kind: [] for kind in MISTAKES}
    for kind, one in zip(kinds, draw_mislabelled(draw, kinds), strict=True):
        wrong = np.flatnonzero(one["labels"] != one["truth"])
        found = must_return(find_wrong(one["features"].copy(), one["labels"].copy(), len(wrong)))
        found = as_array(from_set(found)).ravel()
        if len(found) == len(one["labels"]) and np.isin(found, (0, 1)).all():
            raise Wrong("that says yes or no of every row; asked are the numbers of the rows: np.flatnonzero")
        if len(found) != len(wrong):
            raise Wrong(f"asked for {len(wrong)} row numbers, {len(found)} came back")
        if not np.isin(found, np.arange(len(one["labels"]))).all() or np.unique(found).size < found.size:
            raise Wrong("expected row numbers: whole, from 0 on, each of them once")
        shares[kind].append(np.isin(wrong, found).mean())
    share = {kind: float(np.mean(values)) for kind, values in shares.items()}
    if min(share.values()) >= FOUND:
        return (
            "and that without one clean label. Which of them are *right* and merely hard, only a look at the picture "
            "can say: show the suspects to a person, do not delete them unseen"
        )
    if max(share.values()) < 0.2:
        raise Wrong("fewer wrong labels than by pointing at random: are these the rows that you trust *most*?")
    if min(share.values()) < 0.4:
        raise Wrong("hardly more wrong labels found than by pointing at random")
    told = f"{int(100 * share['any'])}% found where a wrong label is any digit, {int(100 * share['pairs'])}% in pairs"
    if share["any"] < 0.75:
        raise Wrong(
            f"{told}. Many are missed even where the wrong labels do not agree with each other: whoever has learned "
            "a wrong label does not doubt it, and whoever has learned next to nothing does not either",
            share=0.25,
        )
    if share["any"] >= FOUND:
        raise Wrong(
            f"{told}, where digits are taken for *one* other: there a third of a class says the same wrong thing, and "
            "a classifier believes it",
            share=0.5,
        )
    raise Wrong(f"{told}; {FOUND:.0%} of each kind are wanted", share=0.5)
