"""Right and wrong answers of lab 02; the wrong ones with a part of what the learner is told."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F


def softmax(z, axis=1):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def onehot(z, y):
    return np.eye(z.shape[1])[y]


def gradient(z, y):
    return (softmax(z) - onehot(z, y)) / len(z)


def autograd(z, y):
    z = torch.tensor(z, requires_grad=True)
    F.cross_entropy(z, torch.from_numpy(y)).backward()
    return z.grad


def features_by_autograd(W, b, h, y):
    W, b, h = (torch.from_numpy(np.asarray(a, float)) for a in (W, b, h))
    h.requires_grad_()
    F.cross_entropy(h @ W.T + b, torch.from_numpy(y)).backward()
    return h.grad


def one_in_whole_columns(z, y):
    p = softmax(z)
    p[:, y] -= 1
    return p / len(z)


def with_the_largest_of_all(z, y):
    e = np.exp(z - z.max())
    return (e / e.sum(axis=1, keepdims=True) - onehot(z, y)) / len(z)


def batch_norm(
    x,
    state,
    training,
    *,
    m=0.1,
    ddof=1,
    rows_ddof=0,
    tiny=(1e-5, 0),
    train_with_batch=True,
    eval_with_batch=False,
    move=(True, False),
):
    mean, var = x.mean(0), x.var(0, ddof=rows_ddof)
    batch = train_with_batch if training else eval_with_batch
    use = (mean, var) if batch else (state["mean"], state["var"])
    new = dict(state)
    if move[0] if training else move[1]:
        new = {"mean": (1 - m) * state["mean"] + m * mean, "var": (1 - m) * state["var"] + m * x.var(0, ddof=ddof)}
    return (x - use[0]) / (np.sqrt(use[1] + tiny[0]) + tiny[1]), new


def by_what_has_just_moved(x, state, training):
    new = batch_norm(x, state, training)[1]
    return (x - new["mean"]) / np.sqrt(new["var"] + 1e-5), new


def batch_norm_in_torch(x, state, training):
    mean, var = (torch.tensor(state[name]) for name in ("mean", "var"))
    rows = F.batch_norm(torch.from_numpy(x), mean, var, training=training)
    return rows, {"mean": mean, "var": var}


def batch_norm_in_place(x, state, training):
    rows, new = batch_norm(x, state, training)
    state.update(new)
    return rows, state


def optimum(H, w_hat, w_0, strength):
    return np.linalg.solve(H + strength * np.eye(len(H)), H @ w_hat + strength * w_0)


def adjust(p, source, target):
    raw = p * target / source
    return raw / raw.sum(1, keepdims=True)


def by_em(source_x, source_y, target_x, rounds=50):
    model = LogisticRegression(max_iter=1000).fit(source_x, source_y)
    p = model.predict_proba(target_x)
    source = frequencies = np.bincount(source_y) / len(source_y)
    for _ in range(rounds):
        frequencies = adjust(p, source, frequencies).mean(0)
    return adjust(p, source, frequencies).argmax(1)


def by_counts(source_x, source_y, target_x):
    p = LogisticRegression(max_iter=1000).fit(source_x, source_y).predict_proba(target_x)
    return adjust(p, np.full(3, 1 / 3), np.bincount(p.argmax(1), minlength=3) / len(p)).argmax(1)


def by_its_own_labels(source_x, source_y, target_x):
    model = LogisticRegression(max_iter=1000).fit(source_x, source_y)
    for _ in range(5):
        model.fit(target_x, model.predict(target_x))
    return model.predict(target_x)


def by_confusion(source_x, source_y, target_x):
    from sklearn.model_selection import cross_val_predict

    model = LogisticRegression(max_iter=1000)
    held = cross_val_predict(model, source_x, source_y)
    confusion = np.array([[(held[source_y == j] == i).mean() for j in range(3)] for i in range(3)])
    model.fit(source_x, source_y)
    counted = np.bincount(model.predict(target_x), minlength=3) / len(target_x)
    frequencies = np.clip(np.linalg.solve(confusion, counted), 1e-3, None)
    return adjust(model.predict_proba(target_x), np.full(3, 1 / 3), frequencies / frequencies.sum()).argmax(1)


RIGHT = {
    "02.1": [np.log, lambda K: -np.log(1 / K), lambda K: torch.tensor(float(K)).log()],
    "02.2": [gradient, autograd],
    "02.3": [lambda W, b, h, y: gradient(h @ W.T + b, y) @ W, features_by_autograd],
    "02.4": [lambda K: np.log((np.e + K - 1) / np.e), lambda K: -np.log(softmax(np.eye(K)[:1])[0, 0])],
    "02.5": [batch_norm, batch_norm_in_torch],
    "02.6": [
        optimum,
        lambda H, a, b, s: b + np.linalg.inv(H + s * np.eye(len(H))) @ H @ (a - b),
    ],
    "02.7": [
        adjust,
        lambda p, s, t: softmax(np.log(p) + np.log(t) - np.log(s)),
    ],
    "02.8": [by_em, by_confusion],
}

WRONG = {
    "02.1": [
        (lambda K: 1 / K, "the probability of each class"),
        (lambda K: 1 - 1 / K, "the error rate of guessing"),
        (np.log2, "in bits"),
        (lambda K: 0.0, "certain and right"),
        (lambda K: np.log(10), "not for"),
        (lambda K: -np.log(K), "never negative"),
        (lambda K: np.log(1 / K), "never negative"),
        (np.log10, "to the base ten"),
        (lambda K: K * np.log(K), "the terms of all classes"),
        (lambda K: np.log(K) / K, "a mean over the classes"),
    ],
    "02.2": [
        (lambda z, y: softmax(z) - onehot(z, y), "of the sum of the losses"),
        (lambda z, y: -gradient(z, y), "the sign is turned round"),
        (lambda z, y: softmax(z) / len(z), "but the label is not"),
        (lambda z, y: softmax(z), "neither the label nor the mean"),
        (lambda z, y: (softmax(z, 0) - onehot(z, y)) / len(z), "over the rows of a class"),
        (lambda z, y: (np.exp(z) / np.exp(z).sum(1, keepdims=True) - onehot(z, y)) / len(z), "exp has overflowed"),
        (lambda z, y: gradient(z, y).sum(0), "one derivative for each logit"),
        (lambda z, y: np.zeros_like(z), "taken numerically"),
        (lambda z, y: (softmax(z) - y[:, None]) / len(z), "not an amount"),
        (one_in_whole_columns, "whole columns"),
        (lambda z, y: gradient(z, y) * len(z) / z.size, "the number of logits"),
        (lambda z, y: gradient(z, y) * onehot(z, y), "the other logits as well"),
        (lambda z, y: -onehot(z, y) / softmax(z) / len(z), "one step further back"),
        (with_the_largest_of_all, "every exp of that row is zero"),
        (lambda z, y: gradient(np.clip(z, -50, 50), y), "not alike"),
        (lambda z, y: gradient(np.clip(z, -700, 700), y), "not alike"),
    ],
    "02.3": [
        (lambda W, b, h, y: gradient(h @ W.T + b, y).T @ h, "the head's own weights"),
        (lambda W, b, h, y: len(h) * gradient(h @ W.T + b, y) @ W, "n times too large"),
        (lambda W, b, h, y: gradient(h @ W.T, y) @ W, "the bias is missing"),
        (lambda W, b, h, y: h, "numerical derivative"),
        (lambda W, b, h, y: gradient(h @ W.T + b, y), "each feature of each row"),
        (lambda W, b, h, y: -gradient(h @ W.T + b, y) @ W, "the sign is turned round"),
        (lambda W, b, h, y: gradient(h @ W.T + b, y) @ W / len(h), "n times too small"),
        (lambda W, b, h, y: softmax(h @ W.T + b) @ W / len(h), "the labels play no part"),
        (lambda W, b, h, y: (gradient(h @ W.T + b, y) * np.eye(len(W))[y]) @ W, "only the row of W"),
    ],
    "02.4": [
        (lambda K: 0, "zero is the floor of the right loss"),
        (np.log, "knows nothing"),
        (lambda K: np.log((np.e + K) / np.e), "how many other classes"),
        (lambda K: -1.0, "never negative"),
        (lambda K: 1.4612, "the loss never gets down to your 1.461"),
        (lambda K: -np.log(softmax(softmax(np.eye(K)[:1]))[0, 0]), "logits of 1 and 0"),
        (lambda K: -np.log(softmax(softmax(3 * np.eye(K)[:1]))[0, 0]), "gets lower than your"),
        (lambda K: np.log(np.e + K - 1), "certain, and wrong"),
        (lambda K: np.e / (np.e + K - 1), "that is a probability"),
        (lambda K: np.log2((np.e + K - 1) / np.e), "in bits"),
        (lambda K: np.log10((np.e + K - 1) / np.e), "to the base ten"),
    ],
    "02.5": [
        (lambda x, s, t: batch_norm(x, s, t, train_with_batch=False), "the batch has its own"),
        (lambda x, s, t: batch_norm(x, s, t, eval_with_batch=True), "depends on the others"),
        (lambda x, s, t: batch_norm(x, s, t, m=0.9), "m is the share of the new"),
        (lambda x, s, t: batch_norm(x, s, t, ddof=0), "PyTorch takes 1/(n − 1)"),
        (lambda x, s, t: batch_norm(x, s, t, move=(False, False)), "do not move in training"),
        (lambda x, s, t: batch_norm(x, s, t, move=(True, True)), "test rows leak"),
        (batch_norm_in_place, "changes the state that it was given"),
        (lambda x, s, t: batch_norm(x, s, t)[0], "expected two things back"),
        (lambda x, s, t: (x, s), "mean zero and variance one"),
        (lambda x, s, t: batch_norm(x, s, t, rows_ddof=1), "divided by the root of the variance with 1/(n − 1)"),
        (by_what_has_just_moved, "that have just moved"),
        (lambda x, s, t: ((x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True), s), "layer normalisation"),
        (lambda x, s, t: ((x - x.mean(0)) / (x.var(0) + 1e-5), s), "the formula has its root"),
        (lambda x, s, t: batch_norm(x, s, t, tiny=(0, 0)), "10⁻⁵ belongs"),
        (lambda x, s, t: batch_norm(x, s, t, tiny=(0, 1e-5)), "10⁻⁵ belongs"),
        (lambda x, s, t: batch_norm(x, s, t) if t else None, "in evaluation your function returns nothing"),
        (lambda x, s, t: batch_norm(x, s, t)[::-1], "must be a dictionary"),
    ],
    "02.6": [
        (lambda H, a, b, s: np.linalg.solve(H + s * np.eye(len(H)), H @ a), "weight decay"),
        (lambda H, a, b, s: optimum(H, b, a, s), "have changed places"),
        (lambda H, a, b, s: np.linalg.solve(H + s * np.eye(len(H)), H @ a) + s * b, "belongs to both terms"),
        (lambda H, a, b, s: optimum(H, a, b, 2 * s), "twice too strong"),
        (lambda H, a, b, s: (a + s * b) / (1 + s), "where is H?"),
        (lambda H, a, b, s: a - b, "is not zero there"),
        (lambda H, a, b, s: a, "nothing pulls"),
        (lambda H, a, b, s: b, "the data play no part"),
        (lambda H, a, b, s: optimum(H, a, b, s / 2), "only half as strong"),
        (lambda H, a, b, s: np.linalg.solve(H + s, H @ a + s * b), "every entry of the matrix"),
        (lambda H, a, b, s: np.linalg.solve(H + s * np.eye(len(H)), a + s * b), "H multiplies ŵ as well"),
        (lambda H, a, b, s: np.linalg.solve(H + s * np.eye(len(H)), H @ a - s * b), "the sign of w₀"),
        (lambda H, a, b, s: optimum(H, a, b, s) - b, "where does the way begin"),
    ],
    "02.7": [
        (lambda p, s, t: p * t / s, "do not add up to one"),
        (lambda p, s, t: p * t / (p * t).sum(1, keepdims=True), "must be taken out"),
        (lambda p, s, t: adjust(p, t, s), "upside down"),
        (lambda p, s, t: p, "plays no part"),
        (lambda p, s, t: softmax(p + t - s), "not what Bayes' rule gives"),
        (lambda p, s, t: adjust(p, s, np.ones(len(t))), "the target's are not in"),
        (lambda p, s, t: p * t / s / (p * t / s).sum(0), "the columns add up to one"),
        (lambda p, s, t: p * t / s / (p * t / s).sum(), "the whole table"),
        (lambda p, s, t: adjust(p, p.mean(0), t), "the mean of p"),
        (lambda p, s, t: p + t - s, "are not added"),
    ],
    "02.8": [
        (lambda x, y, t: LogisticRegression(max_iter=1000).fit(x, y).predict(t), "no better than"),
        (lambda x, y, t: LogisticRegression(max_iter=1000, class_weight="balanced").fit(x, y).predict(t), "no better"),
        (lambda x, y, t: np.zeros(len(t), int), "worse than"),
        (lambda x, y, t: by_em(x, y, t, rounds=1), "of what knowing the frequencies would gain"),
        (by_counts, "of what knowing the frequencies would gain"),
        (by_its_own_labels, "the source's"),
        (lambda x, y, t: by_em(x, y, t)[:, None], "one label for each"),
        (lambda x, y, t: np.random.default_rng(0).integers(0, 3, len(t)), "worse than"),
        (lambda x, y, t: LogisticRegression(max_iter=1000).fit(x, y).predict_proba(t), "one label for each"),
    ],
}
