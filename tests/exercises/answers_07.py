"""Right and wrong answers of lab 07; the wrong ones with a part of what the learner is told."""

import numpy as np
import ot
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from workbook.exercises.lab_07 import draw_digits
from workbook.methods.alignment import align, coral_map, gaussian_ot_map
from workbook.methods.torch.deep_alignment import domain_loss, reversal_schedule, reverse_gradient
from workbook.methods.torch.source_free import entropy


def e(columns, width):
    return (width**2 / (width**2 + 2)) ** (columns / 2)


def by_counting_pairs(n, m, columns, width):
    within = sum((rows + rows * (rows - 1) * e(columns, width)) / rows**2 for rows in (n, m))
    return within - 2 * e(columns, width)


def simulated(n, m, columns, width):
    random, found = np.random.default_rng(), []
    for _ in range(20):
        both = random.normal(size=(n + m, columns))
        k = np.exp(-ot.dist(both, both) / (2 * width**2))
        found.append(k[:n, :n].mean() + k[n:, n:].mean() - 2 * k[:n, n:].mean())
    return np.mean(found)


def power(C, exponent):
    values, vectors = np.linalg.eigh(C)
    return (vectors * values**exponent) @ vectors.T


def shrunk(rows, share, unit=None):
    C = np.cov(rows.T)
    return (1 - share) * C + share * (np.trace(C) / len(C) if unit is None else unit) * np.eye(len(C))


def coral(source, target, share, *, shares=(1, 1), swap=False, order=1, colour=0.5, unit=None, to=1, start=1):
    S, T = (shrunk(x, share * use, unit) for x, use in zip((source, target), shares, strict=True))
    S, T = (T, S) if swap else (S, T)
    A = (power(S, -0.5) @ power(T, colour)) if order == 1 else (power(T, colour) @ power(S, -0.5))
    return lambda rows: (rows - start * source.mean(0)) @ A + to * target.mean(0)


def shrunk_by(formula):
    """CORAL with another formula, of a covariance, the share and the number of rows, in the place of shrinking."""

    def mended_map(source, target, share):
        S, T = (formula(np.cov(rows.T), share, len(rows)) for rows in (source, target))
        A = power(S, -0.5) @ power(T, 0.5)
        return lambda rows: (rows - source.mean(0)) @ A + target.mean(0)

    return mended_map


def variance(C):
    return np.trace(C) / len(C)


def least_movement(source, target, share):
    return align(source, target, matrix=gaussian_ot_map, shrinkage=share)


def map_in_place(source, target, share):
    move = coral(source.copy(), target, share)
    source -= source.mean(0)
    return move


def of_its_own_centre(source, target, share):
    A = coral_map(shrunk(source, share), shrunk(target, share))
    return lambda rows: (rows - rows.mean(0)) @ A + target.mean(0)


def turn(S, T):
    U, _, Vt = np.linalg.svd(S.T @ T)
    return U @ Vt


def turn_without_mirror(S, T):
    U, _, Vt = np.linalg.svd(S.T @ T)
    U[:, -1] *= np.linalg.det(U @ Vt)
    return U @ Vt


def transposed_once_more(S, T):
    U, _, V = np.linalg.svd(S.T @ T)
    return U @ V.T


def carried(source, target, weights, *, divide="own", masses=True, metric="sqeuclidean"):
    n, m = len(source), len(target)
    share = weights / weights.sum()
    plan = ot.emd(share if masses else ot.unif(n), ot.unif(m), ot.dist(source, target, metric))
    if divide == "plan":
        return plan
    if divide == "most":
        return target[plan.argmax(1)]
    if divide == "columns":
        return plan / plan.sum(0) @ target
    by = {"own": plan.sum(1), "mass": share, "n": np.full(n, 1 / n), "none": np.ones(n)}[divide]
    return plan @ target / by[:, None]


def squared_twice(source, target, weights):
    share = weights / weights.sum()
    return ot.emd(share, ot.unif(len(target)), ot.dist(source, target) ** 2) @ target / share[:, None]


def spread(source, target, weights):
    share, costs = weights / weights.sum(), ot.dist(source, target)
    plan = ot.sinkhorn(share, ot.unif(len(target)), costs, 0.1 * np.median(costs))
    return plan @ target / plan.sum(1, keepdims=True)


def carried_in_place(source, target, weights):
    weights /= weights.sum()
    return carried(source, target, weights)


def schedule(p):
    return np.tanh(5 * p)


def dann(phi, head, judge, x_S, y_S, x_T, progress, *, form=schedule, back=True, outside=1.0, pooled=False, flip=1):
    strength = form(progress)
    h_S, h_T = phi(x_S), phi(x_T)
    g_S, g_T = (reverse_gradient(h, strength) if back else h for h in (h_S, h_T))
    d_S, d_T = flip * judge(g_S), flip * judge(g_T)
    domain = torch.cat([F.softplus(d_S), F.softplus(-d_T)]).mean() if pooled else domain_loss(d_S, d_T)
    factor = outside(progress) if callable(outside) else outside
    return F.cross_entropy(head(h_S), y_S) + factor * domain


def dann_by_detaching(phi, head, judge, x_S, y_S, x_T, progress):
    strength, h = reversal_schedule(progress), phi(torch.cat([x_S, x_T]))
    d = judge((1 + strength) * h.detach() - strength * h)
    of_target = torch.cat([torch.zeros(len(x_S)), torch.ones(len(x_T))]).to(d.dtype)
    half = torch.cat([torch.full((len(x),), 0.5 / len(x)) for x in (x_S, x_T)]).to(d.dtype)
    domain = F.binary_cross_entropy_with_logits(d, of_target, half, reduction="sum")
    return F.cross_entropy(head(h[: len(x_S)]), y_S) + domain


def dann_in_two_terms(phi, head, judge, x_S, y_S, x_T, progress):
    """The judge's loss on features without a gradient; the features' on a judge without one."""
    h_S, h_T = phi(x_S), phi(x_T)
    learning = domain_loss(judge(h_S.detach()), judge(h_T.detach()))
    weights = {name: value.detach() for name, value in judge.named_parameters()}
    frozen = domain_loss(*(torch.func.functional_call(judge, weights, h) for h in (h_S, h_T)))
    return F.cross_entropy(head(h_S), y_S) + learning - reversal_schedule(progress) * frozen


def dann_and_a_step(phi, head, judge, x_S, y_S, x_T, progress):
    loss = dann(phi, head, judge, x_S, y_S, x_T, progress)
    optimiser = torch.optim.SGD([*phi.parameters(), *head.parameters(), *judge.parameters()], lr=0.1)
    loss.backward(retain_graph=True)
    optimiser.step()
    return loss


class ForgetsTheStrength(torch.autograd.Function):
    """A way back with one gradient for two inputs."""

    @staticmethod
    def forward(ctx, h, strength):
        ctx.strength = strength
        return h.view_as(h)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.strength * gradient


class Plus(ForgetsTheStrength):
    @staticmethod
    def backward(ctx, gradient):
        return ctx.strength * gradient, None


class Once(ForgetsTheStrength):
    @staticmethod
    def backward(ctx, gradient):
        return -gradient, None


def dann_through(layer):
    def loss(phi, head, judge, x_S, y_S, x_T, progress):
        h_S, h_T = phi(x_S), phi(x_T)
        d_S, d_T = (judge(layer.apply(h, schedule(progress))) for h in (h_S, h_T))
        return F.cross_entropy(head(h_S), y_S) + domain_loss(d_S, d_T)

    return loss


def dann_from(domain, *, S=1, T=1, head_too=False, twice=False):
    """DANN with another domain loss; S and T are 1, behind the layer, 0, before it, or None, without a gradient."""

    def loss(phi, head, judge, x_S, y_S, x_T, progress):
        strength, h_S, h_T = schedule(progress), phi(x_S), phi(x_T)
        through = {1: lambda h: reverse_gradient(h, strength), 0: lambda h: h, None: lambda h: h.detach()}
        z = head(reverse_gradient(h_S, strength) if head_too else h_S)
        z = z.softmax(1) if twice else z
        return F.cross_entropy(z, y_S) + domain(judge(through[S](h_S)), judge(through[T](h_T)))

    return loss


def summed(d_S, d_T):
    return F.softplus(d_S).sum() + F.softplus(-d_T).sum()


def kl(p, q):
    return (p * (p / q).log()).sum()


def sure(z, prior):
    log_p = z.log_softmax(1)
    log_mean = log_p.logsumexp(0) - np.log(len(z))
    return -(log_p.exp() * log_p).sum(1).mean() + (log_mean.exp() * (log_mean - prior.log())).sum()


def sure_by_library(z, prior):
    return entropy(z).mean() + F.kl_div(prior.log(), z.softmax(1).mean(0), reduction="sum")


def with_mean(function):
    return lambda z, prior: entropy(z).mean() + function(z.softmax(1).mean(0), prior)


def entropy_of(p):
    return torch.special.entr(p).sum()


def plan(pool, labels, test, draws, *, paired=True, fresh=True, blind=False, change=None):
    runs = []
    for draw in range(draws):
        for number, arm in enumerate(("none", "train", "choose", "both")):
            random = np.random.default_rng([draw * fresh, 0 if paired else number])
            ten = random.choice(pool, 10, False) if blind else [random.choice(pool[labels == c]) for c in range(10)]
            ten, none = random.permutation(ten), np.array([], int)
            run = {"arm": arm, "draw": draw, "adapt": np.setdiff1d(pool, ten), "report": test}
            run["train"] = {"train": ten, "both": ten[:5]}.get(arm, none)
            run["choose"] = {"choose": ten, "both": ten[5:]}.get(arm, none)
            runs.append(run | (change(run, ten, pool, test) if change else {}))
    return runs


def plan_in_lists(pool, labels, test, draws):
    random, runs = np.random.default_rng(), []
    for draw in range(draws):
        ten = []
        for c in range(10):
            of_class = [row for row, label in zip(pool.tolist(), labels.tolist(), strict=True) if label == c]
            ten.append(of_class[random.integers(len(of_class))])
        left = [row for row in pool.tolist() if row not in ten]
        for arm, cut in (("both", 4), ("choose", 0), ("train", 10)):
            run = {"arm": arm, "draw": draw, "train": ten[:cut], "choose": ten[cut:]}
            runs.append(run | {"adapt": left, "report": test.tolist()})
        runs.append({"arm": "none", "draw": draw, "train": [], "choose": [], "adapt": left, "report": test.tolist()})
    return runs


def planned(change, **options):
    return lambda *given: plan(*given, change=change, **options)


def in_both(name, value):
    """Change one entry of arm 'both' alone."""
    return planned(lambda run, ten, pool, test: {name: value(ten)} if run["arm"] == "both" else {})


def probe(h, y):
    return LogisticRegression(C=30, max_iter=1000).fit(h, y)


def middles_by_weight(number):
    def choose(doubt, p, h):
        found = KMeans(number, n_init=3, random_state=0).fit(h, sample_weight=doubt)
        return found.transform(h).argmin(0).tolist()

    return choose


def middles_of_doubt(number):
    def choose(doubt, p, h):
        rows = np.argsort(doubt)[-150:]
        found = KMeans(number, n_init=3, random_state=0).fit(h[rows])
        return rows[found.transform(h[rows]).argmin(0)].tolist()

    return choose


def from_the_probe(
    source_h, source_y, target_h, ask, *, loss=sure, first=60, then=60, rounds=2, choose=None, move=False
):
    """Train the probe without labels; then, round by round, ask for some rows and train on."""
    if move:
        source_h = align(source_h, target_h, matrix=gaussian_ot_map)(source_h)
    start = probe(source_h, source_y)
    W, b = (torch.tensor(part, requires_grad=True) for part in (start.coef_, start.intercept_))
    h, prior, rows = torch.tensor(target_h), torch.full((10,), 0.1, dtype=torch.float64), []
    optimiser = torch.optim.Adam([W, b], lr=0.05)
    for number in range(rounds + 1):
        if number:
            p = (h @ W.T + b).detach().softmax(1).numpy()
            second, best = np.sort(p)[:, -2:].T
            doubt = second / best
            doubt[rows] = 0
            rows += choose(doubt, p, target_h)
            truth = torch.tensor(ask(rows))
        for _ in range(then if number else first):
            z = h @ W.T + b
            value = loss(z, prior) + (F.cross_entropy(z[rows], truth) if rows else 0)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
    return lambda new: (torch.tensor(new) @ W.T + b).argmax(1)


def without_labels(*given, **options):
    return from_the_probe(*given, rounds=0, **options)


def ten_random_labels(source_h, source_y, target_h, ask):
    rows = np.random.default_rng(0).permutation(len(target_h))[:10]
    h, y = np.concatenate([source_h, target_h[rows]]), np.concatenate([source_y, ask(rows)])
    weights = np.repeat([1.0, 10.0], [len(source_h), 10])
    return LogisticRegression(C=30, max_iter=1000).fit(h, y, weights).predict


def transported(source_h, source_y, target_h, ask):
    return probe(align(source_h, target_h, matrix=gaussian_ot_map)(source_h), source_y).predict


def from_what_an_earlier_problem_told(source_h, source_y, target_h, ask):
    earlier = draw_digits(np.random.default_rng(0))
    known, names = (np.concatenate([earlier[f"{part}_{of}"] for part in ("target", "test")]) for of in "hy")
    return lambda new: names[ot.dist(new, known).argmin(1)]


def centred_on_what_is_scored(source_h, source_y, target_h, ask):
    model = probe(source_h - source_h.mean(0), source_y)
    return lambda new: model.predict(new - new.mean(0))


RIGHT = {
    "07.1": [lambda n, m, d, s: (1 / n + 1 / m) * (1 - e(d, s)), by_counting_pairs],
    "07.2": [coral, least_movement],
    "07.3": [turn, lambda S, T: orthogonal_procrustes(S, T)[0], lambda S, T: turn(*map(torch.tensor, (S, T)))],
    "07.4": [carried, lambda s, t, w: carried(s, t, w, divide="mass")],
    "07.5": [dann, dann_by_detaching, dann_in_two_terms],
    "07.6": [sure, sure_by_library],
    "07.7": [
        plan,
        plan_in_lists,
        planned(lambda run, *_: {part: set(run[part].tolist()) for part in ("train", "choose", "adapt")}),
    ],
    "07.8": [
        lambda *a: from_the_probe(*a, choose=middles_of_doubt(5)),
        lambda *a: from_the_probe(*a, loss=sure_by_library, choose=middles_by_weight(5)),
    ],
}

WRONG = {
    "07.1": [
        (lambda n, m, d, s: 0.0, "zero is the truth"),
        (lambda n, m, d, s: 1 / n + 1 / m, "an ordinary pair"),
        (lambda n, m, d, s: (1 / n + 1 / m) * e(d, s), "if they were ordinary ones"),
        (lambda n, m, d, s: 2 / n * (1 - e(d, s)), "the size of the first"),
        (lambda n, m, d, s: 2 / m * (1 - e(d, s)), "the size of the second"),
        (lambda n, m, d, s: (1 - e(d, s)) / n, "both samples have pairs"),
        (lambda n, m, d, s: (1 / n + 1 / m) * (e(d, s) - 1), "the sign"),
        (lambda n, m, d, s: 1 - e(d, s), "does not depend on the number of rows"),
        (lambda n, m, d, s: 0.037, "average a few simulations"),
        (lambda n, m, d, s: (1 / n + 1 / m - 1 / (n * m)) * (1 - e(d, s)), "a pair too many"),
        (lambda n, m, d, s: (1 / (n - 1) + 1 / (m - 1)) * (1 - e(d, s)), "not over n(n − 1)"),
        (lambda n, m, d, s: (1 / n - 1 / m) * (1 - e(d, s)), "merely share a number"),
        (lambda n, m, d, s: 2 / (n + m) * (1 - e(d, s)), "taken one by one"),
        (lambda n, m, d, s: 4 / (n + m) * (1 - e(d, s)), "taken one by one"),
        (lambda n, m, d, s: (1 / n + 1 / m) * (1 - (s**2 / (s**2 + 2)) ** d / 2), "half of a to the power"),
        (lambda n, m, d, s: (1 / n + 1 / m) * (1 - (s**2 / (s**2 + 2)) ** d), "not d"),
        (lambda n, m, d, s: (1 / n + 1 / m) * (1 - (s / (s + 2)) ** (d / 2)), "the formula squared"),
        (lambda n, m, d, s: round((1 / n + 1 / m) * (1 - e(d, s)), 3), "rounded"),
        (lambda n, m, d, s: f"{(1 / n + 1 / m) * (1 - e(d, s)):.2f}", "rounded"),
        (simulated, "that is a simulation"),
    ],
    "07.2": [
        (lambda s, t, a: lambda rows: rows @ power(np.cov(t.T), -0.5) @ power(np.cov(s.T), 0.5), "changed places"),
        (lambda s, t, a: coral(s, t, a, swap=True), "changed places"),
        (lambda s, t, a: coral(s, t, a, order=-1), "in the wrong order"),
        (lambda s, t, a: coral(s, t, a, shares=(0, 0)), "the covariances are not shrunk"),
        (lambda s, t, a: coral(s, t, a, shares=(1, 0)), "only one of the two"),
        (lambda s, t, a: coral(s, t, a, unit=1), "whatever the features' unit"),
        (lambda s, t, a: coral(s, t, a, colour=0), "never coloured"),
        (lambda s, t, a: coral(s, t, a, to=0), "does not arrive at the target's mean"),
        (lambda s, t, a: coral(s, t, a, start=0), "does not arrive at the target's mean"),
        (lambda s, t, a: lambda rows: rows - s.mean(0) + t.mean(0), "covariance stays what it was"),
        (lambda s, t, a: lambda rows: rows * t.std(0) / s.std(0), "do not have the target's"),
        (lambda s, t, a: lambda rows: rows, "covariance stays what it was"),
        (of_its_own_centre, "the rows that are moved with it"),
        (lambda s, t, a: coral(s, t, a)(s), "one that moves rows"),
        (lambda s, t, a: coral(s, t, a if len(s) > s.shape[1] else 0), "not finite"),
        (map_in_place, "changes the samples"),
        (lambda s, t, a: lambda rows: np.abs(coral(s, t, a)(rows)), "sums of rows"),
        (lambda s, t, a: coral(s, t, 1 - a), "the share has changed sides"),
        (shrunk_by(lambda C, a, n: (1 - a) * C + a * np.trace(C) * np.eye(len(C))), "the *sum* of the variances"),
        (shrunk_by(lambda C, a, n: (1 - a) * C + a * np.trace(C) / n * np.eye(len(C))), "the number of rows"),
        (shrunk_by(lambda C, a, n: (1 - a) * C + a * variance(C)), "the I is missing"),
        (shrunk_by(lambda C, a, n: C + a * variance(C) * np.eye(len(C))), "nothing taken away"),
        (lambda s, t, a: (coral(s, t, a), s), "one that moves rows"),
    ],
    "07.3": [
        (lambda S, T: np.eye(S.shape[1]), "CORAL's choice"),
        (lambda S, T: turn(S, T).T, "transpose"),
        (lambda S, T: np.linalg.lstsq(S, T, rcond=None)[0], "not orthogonal"),
        (turn_without_mirror, "mirrored matrices are shut out"),
        (lambda S, T: S.T @ T, "not orthogonal"),
        (lambda S, T: S @ turn(S, T), "are turned by one of"),
        (lambda S, T: np.linalg.qr(S.T @ T)[0], "another orthogonal matrix"),
        (lambda S, T: turn(S - S.mean(0), T - T.mean(0)), "centred first"),
        (transposed_once_more, "transposed once too often"),
        (lambda S, T: transposed_once_more(T, S), "transposed once too often"),
        (orthogonal_procrustes, "expected one matrix, got 2"),
    ],
    "07.4": [
        (lambda s, t, w: carried(s, t, w, divide="n"), "light rows are now drawn"),
        (lambda s, t, w: carried(s, t, w, divide="none"), "weighted by the row's mass"),
        (lambda s, t, w: carried(s, t, w, masses=False), "the weights play no part"),
        (lambda s, t, w: carried(s, t, w, masses=False, divide="mass"), "only in the division"),
        (lambda s, t, w: carried(s, t, w, divide="columns"), "each *target* row receives"),
        (lambda s, t, w: carried(s, t, w, divide="most"), "one target row only"),
        (lambda s, t, w: carried(s, t, w, divide="plan"), "that is a plan"),
        (lambda s, t, w: carried(s, t, w, metric="euclidean"), "squared ones are asked"),
        (lambda s, t, w: s, "do not arrive where"),
        (lambda s, t, w: carried(s, t, w) / w.sum(), "as they came"),
        (lambda s, t, w: t[ot.dist(s, t).argmin(1)], "nearest to it"),
        (squared_twice, "squared twice"),
        (spread, "not the cheapest"),
        (lambda s, t, w: carried(s, t, w)[:-1], "arrives somewhere"),
        (carried_in_place, "changes the arrays"),
    ],
    "07.5": [
        (lambda *a: dann(*a, back=False), "easier to tell apart"),
        (dann_through(ForgetsTheStrength), "the way back does not"),
        (dann_through(Plus), "easier to tell apart"),
        (dann_through(Once), "strength 1 whatever"),
        (lambda *a: dann(*a, back=False, outside=-1.0), "trained to be wrong"),
        (lambda *a: dann(*a, back=False, outside=lambda p: -schedule(p)), "trained to be wrong"),
        (lambda *a: dann(*a, outside=schedule), "with strength λ only"),
        (lambda *a: dann(*a, form=lambda p: 1.0), "strength 1 whatever"),
        (lambda *a: dann(*a, form=lambda p: p), "the progress itself"),
        (lambda *a: dann(*a, form=lambda p: 2 / (1 + np.exp(-10 * p))), "begins at 1"),
        (lambda *a: dann(*a, form=lambda p: schedule(p) ** 2), "applied twice"),
        (lambda *a: dann(*a, form=lambda p: -schedule(p)), "easier to tell apart"),
        (lambda *a: dann(*a, form=lambda p: 0.0), "not brought together"),
        (lambda *a: dann(*a, pooled=True), "the larger batch counts for more"),
        (lambda *a: dann(*a, outside=2.0), "both domains count half"),
        (lambda *a: dann(*a, flip=-1), "1 stands for the target"),
        (lambda *a: dann(*a).item(), "as a tensor"),
        (lambda *a: dann(*a).detach(), "carries no gradient"),
        (lambda phi, head, judge, x, y, *rest: F.cross_entropy(head(phi(x)), y), "nothing reaches the judge"),
        (lambda phi, head, judge, x, y, *rest: dann(phi, head, judge, x, 0 * y, *rest), "the head does not get"),
        (dann_and_a_step, "moves the weights"),
        (dann_from(summed), "summed up"),
        (dann_from(lambda d_S, d_T: summed(d_S, d_T) / 2), "summed up"),
        (dann_from(domain_loss, S=0), "only one of the two domains"),
        (dann_from(domain_loss, T=0), "only one of the two domains"),
        (dann_from(domain_loss, S=None), "only one of the two domains"),
        (dann_from(domain_loss, head_too=True), "from the head is turned over"),
        (dann_from(domain_loss, twice=True), "taken twice"),
        (lambda phi, head, judge, x, *rest: dann(phi, head, judge, x.mul_(2), *rest), "changes the batches"),
    ],
    "07.6": [
        (with_mean(lambda mean, prior: entropy_of(mean)), "both entropies are pushed down"),
        (with_mean(lambda mean, prior: -kl(mean, prior)), "*away* from the prior"),
        (with_mean(lambda mean, prior: 0), "nothing holds back"),
        (with_mean(lambda mean, prior: -entropy_of(mean)), "*equal* frequencies"),
        (with_mean(lambda mean, prior: kl(prior, mean)), "the other way round"),
        (lambda z, prior: kl(z.softmax(1).mean(0), prior), "may stay undecided"),
        (lambda z, prior: entropy(z).sum() + kl(z.softmax(1).mean(0), prior), "summed up"),
        (lambda z, prior: entropy(z).mean() + kl(z.mean(0).softmax(0), prior), "not the softmax of the mean logits"),
        (lambda z, prior: -sure(z, prior), "the sign of the whole"),
        (lambda z, prior: sure(z, prior) + np.log(len(prior)), "off by a constant"),
        (lambda z, prior: sure(z, prior).item(), "as a tensor"),
        (lambda z, prior: sure(z.detach(), prior), "carries no gradient"),
        (lambda z, prior: torch.zeros((), requires_grad=True), "does not look at the logits"),
        (lambda z, prior: entropy_of(z.softmax(1)) / len(z) + kl(z.softmax(1).mean(0), prior), "has met a log"),
        (lambda z, prior: z.mean(), "its gradient is not"),
        (lambda z, prior: kl(z.softmax(1).mean(0), prior) - entropy(z).mean(), "made unsure"),
        (lambda z, prior: entropy_of(z.softmax(0)) / len(z) + kl(z.softmax(0).mean(0), prior), "down the columns"),
    ],
    "07.7": [
        (lambda *a: plan(*a, paired=False), "buy different labels"),
        (lambda *a: plan(*a, fresh=False), "which ten are bought"),
        (lambda *a: plan(*a, blind=True), "one of each class"),
        (in_both("choose", lambda ten: ten[:5]), "learnt them by heart"),
        (in_both("train", lambda ten: ten), "learnt them by heart"),
        (in_both("train", lambda ten: ten[:4]), "the budgets differ"),
        (in_both("train", lambda ten: ten[:3]), "about half"),
        (in_both("adapt", lambda ten: np.array([], int)), "adapt to different rows"),
        (planned(lambda run, ten, pool, test: {"adapt": pool}), "in the end they serve twice"),
        (planned(lambda run, ten, pool, test: {"adapt": test}), "test rows are used for 'adapt'"),
        (planned(lambda run, ten, pool, test: {"adapt": run["adapt"][:40]}), "the pool's other rows"),
        (planned(lambda run, ten, pool, test: {"choose": test[:10]}), "test rows are used for 'choose'"),
        (planned(lambda run, ten, pool, test: {"train": ten}), "'none' reads labels"),
        (planned(lambda run, ten, pool, test: {"report": run["adapt"]}), "the whole test set"),
        (planned(lambda run, ten, pool, test: {"choose": ten} if run["arm"] == "train" else {}), "something else"),
        (lambda pool, *rest: plan(np.arange(len(pool)), *rest), "positions within the pool"),
        (lambda *a: plan(*a)[1:], "exactly once in each draw"),
        (lambda *a: [], "a run lacks arm"),
        (planned(lambda run, ten, pool, test: {"choose": None}), "an empty list is expected"),
        (planned(lambda run, ten, pool, test: {"train": [(row, 0) for row in run["train"]]}), "a plain list"),
        (lambda *a: plan(*a)[0], "a list of dictionaries"),
    ],
    "07.8": [
        (lambda h, y, t, ask: probe(h, y).predict, "the probe on its own"),
        (ten_random_labels, "of the handwriting is read rightly"),
        (without_labels, "without any label"),
        (lambda *a: without_labels(*a, move=True), "without any label"),
        (lambda *a: without_labels(*a, loss=lambda z, prior: entropy(z).mean()), "short of what is wanted"),
        (transported, "better than the probe alone"),
        (lambda h, y, t, ask: probe(t[:11], ask(range(11))).predict, "an eleventh label"),
        (lambda h, y, t, ask: probe(h, y).predict(t), "expected a function back"),
        (from_what_an_earlier_problem_told, "of the handwriting is read rightly"),
        (lambda h, y, t, ask: probe(h, y).predict_proba, "one label for each"),
        (centred_on_what_is_scored, "another protocol"),
        (lambda h, y, t, ask: lambda new: np.zeros(len(new)), "the probe on its own"),
    ],
}
