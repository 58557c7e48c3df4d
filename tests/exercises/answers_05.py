"""Right and wrong answers of lab 05; the wrong ones with a part of what the learner is told."""

import numpy as np
import torch
from scipy.linalg import eigh
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from workbook.methods.features import NearestPrototype, prototypes
from workbook.methods.torch.features import extract_layers
from workbook.methods.transferability import h_score, shrunk_h_score


def lands(i, c, h, w, C, H, W):
    return divmod(((i * C + c) * H + h) * W + w, C)


def lands_by_looking(i, c, h, w, C, H, W):
    counted = np.arange((i + 1) * C * H * W).reshape(-1, C, H, W)
    return np.argwhere(counted.reshape(-1, C) == counted[i, c, h, w])[0]


def extract(network, batches, *, training=False, dims=(2, 3), sort=True, sort_labels=True, pool=torch.mean):
    network.train(training)
    with torch.no_grad():
        features = torch.cat([pool(network(images), dim=dims) for images, *_ in batches])
    labels, rows = (torch.cat([batch[i] for batch in batches]) for i in (1, 2))
    order = rows.argsort()
    return features[order] if sort else features, labels[order] if sort_labels else labels


def extract_into_place(network, batches):
    network.eval()
    total = sum(len(rows) for *_, rows in batches)
    features, labels = None, np.zeros(total, int)
    for images, targets, rows in batches:
        mean = network(images).flatten(2).mean(2).detach().numpy()
        features = np.zeros((total, mean.shape[1])) if features is None else features
        features[rows], labels[rows] = mean, targets
    return features, labels


def extract_as_the_course(network, batches):
    found = extract_layers(torch.nn.Sequential(network), ["0"], batches)
    return found.layers["0"], found.labels


def extract_rows_of_places(network, batches):
    network.eval()
    maps = torch.cat([network(images) for images, *_ in batches]).detach()
    return maps.reshape(-1, maps.shape[1]), torch.zeros(len(maps))


def extract_and_spoil(network, batches):
    found = extract(network, batches)
    extract(network, batches, training=True)
    return found


def extract_in_neither_order(network, batches, *, training=False, labels_too=True):
    """``features[rows]``: the inverse of what is wanted."""
    features, labels = extract(network, batches, training=training, sort=False, sort_labels=False)
    rows = torch.cat([batch[2] for batch in batches])
    return features[rows], labels[rows] if labels_too else labels[rows.argsort()]


def standardised(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)


def nearest_other(x):
    square = np.square(x).sum(axis=1)
    distance = square[:, None] + square - 2 * x @ x.T
    np.fill_diagonal(distance, np.inf)
    return distance.argmin(axis=1)


def by_permutation(x, y, *, scale=standardised):
    near, random = nearest_other(scale(x)), np.random.default_rng(0)
    shuffled = [random.permutation(y) for _ in range(300)]
    by_chance = [(one[near] == one).mean() for one in shuffled]
    return (y[near] == y).mean() > np.quantile(by_chance, 0.995)


def by_mean_of_the_shuffles(x, y):
    near, random = nearest_other(standardised(x)), np.random.default_rng(0)
    shuffled = [random.permutation(y) for _ in range(100)]
    return (y[near] == y).mean() > np.mean([(one[near] == one).mean() for one in shuffled])


def by_the_row_itself(x, y):
    square = np.square(x := standardised(x)).sum(axis=1)
    return (y[(square[:, None] + square - 2 * x @ x.T).argmin(axis=1)] == y).mean() > 0.5


def by_analysis_of_variance(x, y):
    return bool(f_classif(x, y)[1].min() < 0.01 / x.shape[1])


def by_threshold(threshold):
    def belongs(x, y):
        return (y[nearest_other(standardised(x))] == y).mean() > threshold

    return belongs


def by_most_frequent_class(x, y):
    return (y[nearest_other(standardised(x))] == y).mean() > np.bincount(y).max() / len(y)


def means(x, y, *, scale=None):
    K = y.max() + 1
    sums = np.eye(K)[y].T @ x
    return sums / (np.bincount(y)[:, None] if scale is None else scale)


def linear(x, y, *, times=2.0, sign=-1.0, half=1.0, scale=None):
    mu = means(x, y, scale=scale)
    return times * mu, sign * half * np.square(mu).sum(axis=1)


def linear_in_torch(x, y):
    mu = torch.stack([torch.from_numpy(x[y == c]).mean(0) for c in range(y.max() + 1)])
    # Something that is the same for every class may be added.
    return 2 * mu + 1, -mu.square().sum(1)


def linear_of_the_course(x, y):
    mu = prototypes(x, y, y.max() + 1)
    return [2 * mu, -(mu**2).sum(1)]


def linear_of_directions(x, y):
    mu = means(x, y)
    return mu / np.linalg.norm(mu, axis=1, keepdims=True), np.zeros(len(mu))


def linear_with(x, y, b):
    mu = means(x, y)
    return 2 * mu, b(mu)


def by_cross_validation(x, y):
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return cross_val_score(make_pipeline(StandardScaler(), RidgeClassifier(50)), x, y, cv=folds).mean()


def by_one_half(x, y):
    """Nearest mean of one half of the rows, scored on the other."""
    x, first = torch.from_numpy(standardised(x)), np.arange(len(y)) % 2 == 0
    W, b = linear(x[first].numpy(), y[first])
    return torch.tensor(((x[~first].numpy() @ W.T + b).argmax(axis=1) == y[~first]).mean())


def by_neighbours(x, y, *, scale=standardised):
    return (y[nearest_other(scale(x))] == y).mean()


def by_share_between_classes(x, y):
    x = standardised(x)
    return means(x, y)[y].var(axis=0).mean()


def by_training_rows(x, y):
    x = standardised(x)
    onehot = np.eye(y.max() + 1)[y]
    weights = np.linalg.solve(x.T @ x + 1e-3 * np.eye(x.shape[1]), x.T @ (onehot - onehot.mean(axis=0)))
    return ((x @ weights).argmax(axis=1) == y).mean()


def covariances(first, second, centre=True):
    mean = (first + second).mean(axis=0) / 2 if centre else 0
    a, b = first - mean, second - mean
    return (a.T @ a + b.T @ b) / (2 * len(a)), (a.T @ b + b.T @ a) / (2 * len(a))


def agreeing(first, second, d, *, centre=True, largest=True):
    C, between = covariances(first, second, centre)
    u = eigh(between, C)[1]
    return u[:, -d:] if largest else u[:, :d]


def agreeing_by_whitening(first, second, d):
    C, between = covariances(first, second)
    values, vectors = np.linalg.eigh(C)
    white = vectors / np.sqrt(values)
    return white @ np.linalg.eigh(white.T @ between @ white)[1][:, ::-1][:, :d]


def agreeing_in_the_other_order(first, second, d):
    """As many would write it: NumPy's covariance, and the best direction first."""
    C, D = np.cov(np.concatenate([first, second]).T), first.shape[1]
    between = np.cov(first.T, second.T)[:D, D:]
    return eigh((between + between.T) / 2, C)[1][:, ::-1][:, :d].tolist()


def one_way_only(first, second, d):
    C = covariances(first, second)[0]
    return eigh((first - first.mean(axis=0)).T @ (second - second.mean(axis=0)) / len(first), C)[1][:, -d:]


def agreeing_by_difference(first, second, d):
    C, _ = covariances(first, second)
    difference = first - second
    u = eigh(difference.T @ difference / len(first), C)[1][:, :d]
    return torch.from_numpy(u.copy())


def principal(first, second, d):
    return eigh(covariances(first, second)[0])[1][:, -d:]


def largest_covariance(first, second, d):
    return eigh(covariances(first, second)[1])[1][:, -d:]


def least_difference(first, second, d):
    return eigh(np.cov((first - second).T))[1][:, :d]


def one_direction_repeated(first, second, d):
    return np.repeat(agreeing(first, second, 1), d, axis=1)


def leave_out(views, names, x, y, *, model=None, options=("none",)):
    scores = {}
    for name in [*options, *names]:
        u = agreeing(*views(name), 2)
        scores[name] = cross_val_score(model or NearestPrototype(), x @ u, y, cv=5).mean()
    return max(scores, key=scores.get)


def leave_out_by_neighbours(views, names, x, y):
    best = {}
    for name in [*names, "none"]:
        h = x @ agreeing(*views(name), 2)
        best[name] = (y[nearest_other(h)] == y).mean()
    return sorted(best, key=lambda name: best[name])[-1]


def leave_out_by_agreement(views, names, x, y):
    def agreement(name):
        C, between = covariances(*views(name))
        return eigh(between, C, eigvals_only=True)[-2:].sum()

    return max(["none", *names], key=agreement)


def leave_out_by_memory(views, names, x, y):
    def accuracy(name):  # one nearest neighbour on the very rows that it learned from: always right
        h = x @ agreeing(*views(name), 2)
        return (y[np.square(h[:, None] - h).sum(-1).argmin(1)] == y).mean()

    return max([*names, "none"], key=accuracy)


def leave_out_none_as_none(views, names, x, y):
    found = leave_out(views, names, x, y)
    return None if found == "none" else found


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def find_by_memory(features, labels, count, C=1000.0):
    p = LogisticRegression(C=C, max_iter=1000).fit(features, labels).predict_proba(features)
    return np.argsort(p[np.arange(len(labels)), labels])[:count]


def find_once(features, labels, count):
    p = cross_val_predict(LogisticRegression(C=1.0, max_iter=1000), unit(features), labels, method="predict_proba")
    return np.argsort(p[np.arange(len(labels)), labels])[:count]


def find_by_means(features, labels, count, *, rounds=5, bias=1.0):
    x, rows, keep = unit(features), np.arange(len(labels)), np.full(len(labels), True)
    for _ in range(rounds):
        W, b = linear(x[keep], labels[keep])
        z = x @ W.T + bias * b
        own = z[rows, labels].copy()
        z[rows, labels] = -np.inf
        order = np.argsort(own - z.max(axis=1))
        keep = np.full(len(labels), True)
        keep[order[:count]] = False
    return order[:count]


def find_by_clusters(features, labels, count):
    """k-means that starts from the classes' means; its opinion of a row owes nothing to the row's label."""
    x, belongs = unit(torch.from_numpy(features).double().numpy()), labels
    for _ in range(10):
        centres = np.stack([x[belongs == digit].mean(axis=0) for digit in range(10)])
        distance = np.square(x[:, None] - centres).sum(axis=2)
        belongs = distance.argmin(axis=1)
    own = distance[np.arange(len(labels)), labels]
    return torch.from_numpy(own - distance.min(axis=1)).argsort(descending=True)[:count]


def find_as_a_set(features, labels, count):
    return set(find_by_means(features, labels, count).tolist())


def find_as_a_mask(features, labels, count):
    return np.isin(np.arange(len(labels)), find_by_means(features, labels, count))


def find_most_trusted(features, labels, count):
    return find_by_means(features, labels, len(labels), rounds=1)[-count:]


def find_by_neighbours(features, labels, count):
    x = unit(features)
    near = (x @ x.T).argsort(axis=1)[:, -11:-1]
    return np.argsort((labels[near] == labels[:, None]).mean(axis=1), kind="stable")[:count]


RIGHT = {
    "05.1": [lands, lands_by_looking],
    "05.2": [extract, extract_into_place, extract_as_the_course],
    "05.3": [by_permutation, by_analysis_of_variance],
    "05.4": [linear, linear_in_torch, linear_of_the_course],
    "05.5": [by_cross_validation, by_one_half, by_neighbours, lambda x, y: shrunk_h_score(standardised(x), y)],
    "05.6": [agreeing, agreeing_by_whitening, agreeing_by_difference, agreeing_in_the_other_order],
    "05.7": [leave_out, leave_out_by_neighbours],
    "05.8": [find_as_a_set, find_by_clusters],
}

WRONG = {
    "05.1": [
        (lambda i, c, h, w, C, H, W: (i * H * W + h * W + w, c), "what was *meant*"),
        (lambda i, c, h, w, C, H, W: lands(i, c, h, w, C, H, W)[::-1], "have changed places"),
        (lambda i, c, h, w, C, H, W: divmod(((i * C + c) * W + w) * H + h, C), "runs fastest"),
        (lambda i, c, h, w, C, H, W: (i, (c * H + h) * W + w), "keep a single row"),
        (lambda i, c, h, w, C, H, W: (((i * C + c) * H + h) * W + w) // C, "expected two numbers"),
        (lambda i, c, h, w, C, H, W: ((((i * C + c) * H + h) * W + w) / C, c), "whole numbers"),
        (lambda i, c, h, w, C, H, W: (lands(i, c, h, w, C, H, W)[0], c), "the row is right, the column is not"),
        (lambda i, c, h, w, C, H, W: np.add(lands(i, c, h, w, C, H, W), 1), "counted from 0"),
        (lambda i, c, h, w, C, H, W: divmod(((i * C + c) * H + h) * W + w, H * W), "put in a row?"),
        (lambda i, c, h, w, C, H, W: lands(0, c, h, w, C, H, W), "the column is right, the row is not"),
        (lambda i, c, h, w, C, H, W: divmod(((i * C + c) * H + h) * H + w, C), "lands elsewhere"),
        (lambda i, c, h, w, C, H, W: print(i), "returns nothing"),
        (lambda i, c, h, w, C, H, W: (0, 3), "not for maps of shape"),
    ],
    "05.2": [
        (lambda net, b: extract(net, b, training=True), "still runs in training mode"),
        (lambda net, b: extract(net, b, sort=False), "row i does not belong to label i"),
        (lambda net, b: extract(net, b, sort=False, sort_labels=False), "in another shuffle"),
        (lambda net, b: extract(net, b, training=True, sort=False), "in training mode; and"),
        (lambda net, b: extract(net, b, sort_labels=False), "the labels are not in the order"),
        (lambda net, b: extract(net, b, dims=(1, 2)), "the places are what should go"),
        (lambda net, b: extract(net, b, pool=torch.amax), "the maximum over places"),
        (lambda net, b: extract(net, b, pool=torch.sum), "the sum over places"),
        (lambda net, b: extract(net, b)[::-1], "the labels come first"),
        (extract_in_neither_order, "neither in the order"),
        (lambda net, b: extract_in_neither_order(net, b, labels_too=False), "neither in the order"),
        (lambda net, b: extract_in_neither_order(net, b, training=True), "and the network still runs in training"),
        (extract_rows_of_places, "rows must come out"),
        (extract_and_spoil, "statistics have moved"),
        (lambda net, b: extract(net, b)[0], "two things back"),
        (lambda net, b: (torch.zeros(sum(len(r) for *_, r in b), 6), extract(net, b)[1]), "but not the averages"),
    ],
    "05.3": [
        (lambda x, y: True, "whatever the cache"),
        (lambda x, y: len(x) == len(y), "whatever the cache"),
        (by_threshold(0.5), "misjudged"),
        (by_threshold(0.7), "a weak network"),
        (by_threshold(0.2), "misjudged"),
        (lambda x, y: by_permutation(x, y, scale=lambda x: x), "large numbers"),
        (by_most_frequent_class, "misjudged"),
        (by_mean_of_the_shuffles, "misjudged"),
        (by_the_row_itself, "does your number change"),
        (lambda x, y: f_classif(x, y)[1].min() < 0.05, "misjudged"),
        (lambda x, y: not by_permutation(x, y), "upside down"),
        (lambda x, y: "in order", "expected True or False"),
        (lambda x, y: (y[nearest_other(standardised(x))] == y).mean(), "expected True or False"),
    ],
    "05.4": [
        (lambda x, y: linear(x, y, times=1, half=0.5), "softmax would be too flat"),
        (lambda x, y: linear(x, y, half=0), "wins too often"),
        (lambda x, y: linear(x, y, sign=1), "the sign of b"),
        (lambda x, y: linear(x, y, times=1), "meet twice"),
        (lambda x, y: linear(x, y, times=-2, sign=1), "the *furthest* mean"),
        (lambda x, y: linear(x, y, scale=len(y) / (y.max() + 1)), "different numbers of"),
        (lambda x, y: linear(x, y, scale=1), "not means"),
        (lambda x, y: linear(x, y, scale=len(y) // (y.max() + 1)), "the rows of its own class"),
        (lambda x, y: linear_with(x, y, lambda mu: -np.linalg.norm(mu, axis=1)), "it is their squares"),
        (lambda x, y: linear_with(x, y, lambda mu: -(mu**2).sum(1) + np.log(np.bincount(y))), "more room"),
        (lambda x, y: linear_with(x, y, lambda mu: -(mu**2).sum(1, keepdims=True)), "expected"),
        (linear_of_directions, "nearest *direction*"),
        (lambda x, y: (linear(x, y)[0].T, linear(x, y)[1]), "one row for each class is asked"),
        (lambda x, y: means(x, y), "W and b"),
    ],
    "05.5": [
        (lambda x, y: x.shape[1], "more columns score higher"),
        (lambda x, y: by_neighbours(x, y, scale=lambda x: x), "the same units"),
        (by_training_rows, "everything can be explained"),
        (lambda x, y: h_score(standardised(x), y), "everything can be explained"),
        (lambda x, y: -by_neighbours(x, y), "upside down"),
        (lambda x, y: 1.0, "the same score"),
        (lambda x, y: x[0, 0], "hardly ranks"),
        (by_share_between_classes, "0.85 is wanted"),
        (lambda x, y: shrunk_h_score(x, y), "the same units"),
        (lambda x, y: np.eye(5)[y], "a single number"),
    ],
    "05.6": [
        (principal, "principal components"),
        (lambda a, b, d: agreeing(a, b, d, largest=False), "agree *least*"),
        (largest_covariance, "Where is C?"),
        (least_difference, "own units"),
        (lambda a, b, d: agreeing(a, b, d, centre=False), "has not been taken off"),
        (lambda a, b, d: 3 * agreeing(a, b, d), "do not have variance 1"),
        (lambda a, b, d: a @ agreeing(a, b, d), "those are the features"),
        (lambda a, b, d: agreeing(a, b, d).T, "a column of the matrix"),
        (one_way_only, "only one half of it"),
        (one_direction_repeated, "say partly the same"),
        (lambda a, b, d: np.zeros((8, d)), "the same for every picture"),
    ],
    "05.7": [
        (leave_out_by_agreement, "how well the views agree"),
        (lambda v, n, x, y: "none", "whatever the target"),
        (lambda v, n, x, y: "background", "whatever the target"),
        (lambda v, n, x, y: leave_out(v, n, x, y, options=()), "is that among your experiments"),
        (leave_out_none_as_none, "the text 'none'"),
        (lambda v, n, x, y: leave_out_by_memory(v, sorted(n)[:0], x, y), "different marks"),
        (lambda v, n, x, y: n[0], "also where nothing should be"),
        (leave_out_by_memory, "the classifier has learned from"),
        (lambda v, n, x, y: n, "neither one of the names"),
    ],
    "05.8": [
        (find_by_memory, "does not doubt it"),
        (find_once, "for *one* other"),
        (find_by_neighbours, "for *one* other"),
        (find_as_a_mask, "yes or no of every row"),
        (find_most_trusted, "trust *most*"),
        (lambda x, y, count: np.arange(count), "pointing at random"),
        (lambda x, y, count: find_by_means(x, y, count // 2), "came back"),
        (lambda x, y, count: np.zeros(count), "whole, from 0 on, each of them once"),
    ],
}  # fmt: skip
