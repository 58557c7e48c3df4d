"""Right and wrong answers of lab 06; the wrong ones with a part of what the learner is told."""

import numpy as np
from scipy.optimize import brentq
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from workbook.methods.label_shift import em_frequencies
from workbook.methods.reweighting import logistic_ratio


def target_scale(scale, share):
    return scale * np.sqrt(1 + np.sqrt(1 - share**2))


def by_root_finding(scale, share):
    return scale * np.sqrt(brentq(lambda t: np.sqrt(t * (2 - t)) - share, 1, 2))


def ratio(source, target, *, scalers=1, column=1, factor=1.0):
    rows = np.concatenate([source, target])
    rows = StandardScaler().fit_transform(rows)
    if scalers == 2:
        rows = np.concatenate([StandardScaler().fit_transform(part) for part in (source, target)])
    domain = np.repeat([0, 1], [len(source), len(target)])
    p = LogisticRegression(max_iter=1000).fit(rows, domain).predict_proba(rows[: len(source)])[:, column]
    return p / (1 - p) * (len(source) / len(target)) ** factor


def ratio_with_mean_one(source, target):
    w = ratio(source, target, factor=0)
    return w / w.mean()


def ratio_in_place(source, target):
    source -= source.mean(axis=0)
    return ratio(source, target)


def ratio_without_scaler(source, target):
    rows, domain = np.concatenate([source, target]), np.repeat([0, 1], [len(source), len(target)])
    p = LogisticRegression(max_iter=1000).fit(rows, domain).predict_proba(source)[:, 1]
    return p / (1 - p) * len(source) / len(target)


def odds_to_probability(w, source, target):
    odds = w * len(target) / len(source)
    return odds / (1 + odds)


def simulated(n, columns, shift):
    x = np.random.default_rng(0).normal(size=(200_000, columns))
    w = np.exp(shift * x.sum(axis=1))
    return n * w.sum() ** 2 / (w @ w) / len(x)


def columns(x):
    return np.column_stack([np.ones(len(x)), x])


def solve(A, y):
    return np.linalg.lstsq(A, y, rcond=None)[0]


def weighted_line(x, y, w):
    root = np.sqrt(w)
    return solve(columns(x) * root[:, None], y * root)


def line_of_normal_equations(x, y, w):
    A = columns(x)
    return np.linalg.solve(A.T @ (w[:, None] * A), A.T @ (w * y))


def line_of_scikit(x, y, w):
    model = LinearRegression().fit(x, y, sample_weight=w)
    return [model.intercept_, *model.coef_]


def cap_by_bisection(w, bound):
    c = brentq(lambda c: np.minimum(c * w, bound).mean() - 1, 0, bound / w.min() + 1, xtol=1e-12)
    return np.minimum(c * w, bound)


def cap_by_repeating(w, bound):
    w, at = w / w.mean(), np.zeros(len(w), bool)
    while (w > bound * (1 + 1e-12)).any():
        at |= w >= bound
        w = np.where(at, bound, w * (len(w) - bound * at.sum()) / w[~at].sum())
    return w


def cut_then_scaled(w, bound):
    cut = np.minimum(w / w.mean(), bound)
    return cut / cut.mean()


def cap_by_subtracting(w, bound):
    w = w / w.mean()
    t = brentq(lambda t: np.clip(w - t, 0, bound).mean() - 1, -bound, w.max())
    return np.clip(w - t, 0, bound)


def cap_in_place(w, bound):
    w /= w.mean()
    return cap_by_bisection(w, bound)


def target_risk(x, y, w, gamma, folds, *, inside=None, outside=1.0, held_out=True, by_fold=False, **also):
    losses = np.empty(len(y))
    for k in np.unique(folds):
        held = folds == k
        kept = ~held if held_out else np.full(len(y), True)
        if also.get("on_the_fold"):
            kept = held
        model = LinearRegression().fit(x[kept], y[kept], w[kept] ** (gamma if inside is None else inside))
        losses[held] = np.abs(model.predict(x[held]) - y[held]) ** also.get("power", 2)
    if also.get("mean_of_means"):
        return np.mean([np.mean((w * losses)[folds == k]) for k in np.unique(folds)])
    if "without" in also:
        losses[folds == also["without"]] = 0
    if by_fold:
        return np.mean([np.average(losses[folds == k], weights=w[folds == k]) for k in np.unique(folds)])
    return np.mean(w**outside * losses)


def risk_with_scikit(x, y, w, gamma, folds):
    total = 0.0
    for kept, held in LeaveOneGroupOut().split(x, y, folds):
        b = weighted_line(x[kept], y[kept], w[kept] ** gamma)
        total += w[held] @ (columns(x[held]) @ b - y[held]) ** 2
    return total / w.sum()


def plan(source, register, test, arms, draws, *, paired=True, fresh=True, change=None):
    runs = []
    for draw in range(draws):
        for number, arm in enumerate(arms):
            order = np.random.default_rng([draw * fresh, 0 if paired else number]).permutation(source)
            fifth = len(order) // 5
            run = {"arm": arm, "draw": draw, "ratio_source": source, "ratio_target": register}
            run |= {"choose": order[:fifth], "train": order[fifth:], "report": test}
            runs.append(run | (change(run, source, register, test) if change else {}))
    return runs


def plan_shuffled_in_place(source, register, test, arms, draws):
    np.random.default_rng(0).shuffle(source)
    return plan(source, register, test, arms, draws)


def plan_in_positions(source, register, test, arms, draws):
    return plan(np.arange(len(source)), register, test, arms, draws)


def plan_in_sets(*given):
    return plan(*given, change=lambda run, s, r, t: {part: set(run[part].tolist()) for part in ("train", "choose")})


def plan_in_lists(source, register, test, arms, draws):
    random, runs = np.random.default_rng(), []
    for draw in range(draws):
        held = random.choice(source, len(source) // 5, replace=False)
        train = sorted(set(source.tolist()) - set(held.tolist()))
        for arm in reversed(arms):
            run = {"arm": arm, "draw": draw, "ratio_source": train, "ratio_target": list(register)}
            runs.append(run | {"train": train, "choose": list(held), "report": list(test)})
    return runs


def planned(change, **options):
    return lambda *given: plan(*given, change=lambda run, s, r, t: change(run, s, r, t), **options)


def squares(x):
    return PolynomialFeatures(2, include_bias=False).fit_transform(x)


def by_columns(x, y, target):
    return cap_by_bisection(ratio(squares(x), squares(target)), 5)


def by_label(x, y, target):
    prior = np.bincount(y) / len(y)
    return (em_frequencies(LogisticRegression().fit(x, y).predict_proba(target), prior) / prior)[y]


def by_moments(x, y, target):
    w = by_label(x, y, target)
    left = np.average(squares(x), axis=0, weights=w) - squares(target).mean(axis=0)
    return w if np.max(np.abs(left) / squares(target).std(axis=0)) < 0.2 else by_columns(x, y, target)


def by_picking_again(x, y, target):
    """Draw a source by the label's weights; can a classifier of the domain, of degree 2, tell it from the target?"""
    w = by_label(x, y, target)
    both = StandardScaler().fit_transform(np.concatenate([squares(x), squares(target)]))
    domain, weights = np.repeat([0, 1], [len(x), len(target)]), np.append(w / w.mean(), np.ones(len(target)))
    halves, found = np.random.default_rng(0).permutation(len(both)) % 2, []
    for k in (0, 1):
        kept, held = halves != k, halves == k
        model = LogisticRegression(C=0.05, max_iter=1000).fit(both[kept], domain[kept], weights[kept])
        p = model.predict_proba(both[held])[np.arange(held.sum()), domain[held]]
        found.append(np.average(np.log(p), weights=weights[held]))
    if np.mean(found) < -np.log(2):
        return w
    w = logistic_ratio(x, target, degree=2, strengths=(0.1,))(x)
    return np.minimum(w / w.mean(), 8)


RIGHT = {
    "06.1": [lambda n, d, s: n * np.exp(-d * s**2), lambda n, d, s: n / np.prod(np.exp(np.full(d, s) ** 2))],
    "06.2": [target_scale, by_root_finding],
    "06.3": [
        ratio,
        ratio_with_mean_one,
        lambda s, t: logistic_ratio(s, t)(s),
        lambda s, t: ratio(squares(s), squares(t)),
    ],
    "06.4": [weighted_line, line_of_normal_equations, line_of_scikit, lambda *a: tuple(weighted_line(*a))],
    "06.5": [cap_by_bisection, cap_by_repeating],
    "06.6": [target_risk, risk_with_scikit],
    "06.7": [plan, plan_in_lists, plan_in_sets],
    "06.8": [by_moments, by_picking_again],
}

WRONG = {
    "06.1": [
        (lambda n, d, s: n, "counts fully only if"),
        (lambda n, d, s: np.exp(-d * s**2), "how many are that"),
        (lambda n, d, s: n * np.exp(-(s**2)), "one moved column"),
        (lambda n, d, s: n * np.exp(-((d * s) ** 2)), "the distance between the two centres"),
        (lambda n, d, s: n * np.exp(-d * s**2 / 2), "work it out again"),
        (lambda n, d, s: n * np.exp(-d * s), "with the square of the shift"),
        (lambda n, d, s: n * np.exp(d * s**2), "more rows than there are"),
        (lambda n, d, s: 150.5, "rows, "),
        (lambda n, d, s: round(n * np.exp(-d * s**2)), "rounded to whole rows"),
        (lambda n, d, s: int(n * np.exp(-d * s**2)), "rounded to whole rows"),
        (lambda n, d, s: n * np.exp(-np.sqrt(d) * s**2), "the root of the columns"),
        (lambda n, d, s: n * d * np.exp(-(s**2)), "added up over the columns"),
        (lambda n, d, s: n / d * np.exp(-(s**2)), "divided by the number of columns"),
        (simulated, "the limit has a formula"),
    ],
    "06.2": [
        (lambda s, a: s * np.sqrt(1 - np.sqrt(1 - a**2)), "narrower than the source"),
        (lambda s, a: target_scale(s, a) ** 2, "that is the target's variance"),
        (lambda s, a: target_scale(1, a), "a source of scale 1"),
        (lambda s, a: -target_scale(s, a), "above zero"),
        (lambda s, a: np.sqrt(2) * s, "beyond repair"),
        (lambda s, a: s * np.sqrt(1 + np.sqrt(1 - a)), "your target leaves"),
        (lambda s, a: s, "your target leaves"),
    ],
    "06.3": [
        (lambda s, t: ratio(s, t, scalers=2, column=0, factor=0), "nearly the same"),
        (lambda s, t: np.ones(len(s)), "nearly the same"),
        (lambda s, t: ratio(s, t, column=0, factor=0), "upside down"),
        (lambda s, t: ratio(s, t, factor=0), "the mean weight is not 1"),
        (lambda s, t: ratio(s, t, factor=-1), "the wrong way round"),
        (lambda s, t: ratio(s, t) * 20, "by a common factor"),
        (lambda s, t: ratio(s, t) ** 2, "more extreme"),
        (lambda s, t: np.sqrt(ratio(s, t)), "more timid"),
        (lambda s, t: np.random.default_rng(0).exponential(size=len(s)), "do not follow"),
        (lambda s, t: ratio(t, s), "one weight for each"),
        (lambda s, t: np.log(ratio(s, t)), "positive and finite"),
        (ratio_in_place, "changes the samples"),
        (ratio_without_scaler, "depends on units"),
        (lambda s, t: odds_to_probability(ratio(s, t), s, t), "not odds"),
        (lambda s, t: ratio(s[:500], t[:500]), "one weight for each"),
    ],
    "06.4": [
        (lambda x, y, w: solve(columns(x), y), "play no part"),
        (lambda x, y, w: solve(columns(x * w[:, None]), y), "the *values* are scaled"),
        (lambda x, y, w: solve(columns(x) * w[:, None], y), "the *values* are scaled"),
        (lambda x, y, w: solve(columns(x) * np.sqrt(w)[:, None], y), "the *values* are scaled"),
        (lambda x, y, w: solve(columns(x) * w[:, None], y * w), "the square of its weight"),
        (lambda x, y, w: weighted_line(x, y, np.sqrt(w)), "the root of its weight"),
        (lambda x, y, w: solve(columns(x * np.sqrt(w)[:, None]), y * np.sqrt(w)), "the constant is not"),
        (lambda x, y, w: np.roll(weighted_line(x, y, w), -1), "the constant comes first"),
        (lambda x, y, w: solve(x * np.sqrt(w)[:, None], y * np.sqrt(w)), "the constant is missing"),
        (lambda x, y, w: np.zeros(x.shape[1] + 1), "a smaller weighted sum"),
        (lambda x, y, w: solve(columns(x), y * w), "y is multiplied, the columns are not"),
        (lambda x, y, w: weighted_line(x, y, w > 0), "all others count alike"),
        (lambda x, y, w: np.linalg.lstsq(columns(x), y, rcond=None), "one array of"),
        (lambda x, y, w: (weighted_line(x, y, w)[0], weighted_line(x, y, w)[1:]), "one array of"),
    ],
    "06.5": [
        (lambda w, b: np.minimum(w / w.mean(), b), "their mean is not 1: it is below"),
        (cut_then_scaled, "the mean is 1, but the largest"),
        (lambda w, b: w / w.mean(), "the mean is 1, but the largest"),
        (lambda w, b: np.minimum(w, b) / np.minimum(w, b).max() * b * 2, "the largest weight is above the bound"),
        (lambda w, b: np.minimum(cut_then_scaled(w, b), b), "it is below"),
        (cap_by_subtracting, "have lost their proportions"),
        (lambda w, b: np.ones(len(w)), "making all weights equal"),
        (lambda w, b: 2 - cap_by_subtracting(w, b) * 3, "are negative"),
        (lambda w, b: cap_by_bisection(w, b)[:-1], "for each weight"),
        (cap_in_place, "changes the weights"),
        (lambda w, b: np.sort(cap_by_bisection(w, b)), "in another order"),
    ],
    "06.6": [
        (lambda *a: target_risk(*a, outside=0), "chooses for the source"),
        (lambda x, y, w, g, f: target_risk(x, y, w, g, f, outside=g), "a measure of its own"),
        (lambda *a: target_risk(*a, inside=1.0), "as a common factor"),
        (lambda *a: target_risk(*a, held_out=False), "have also trained it"),
        (lambda x, y, w, g, f: len(y) * target_risk(x, y, w, g, f), "the risk is a mean"),
        (lambda *a: target_risk(*a, by_fold=True), "as loudly as any other"),
        (lambda *a: target_risk(*a, inside=0.0), "without weights"),
        (lambda *a: 1.0, "not the weighted mean"),
        (lambda *a: target_risk(*a, mean_of_means=True), "a mean of the folds' means"),
        (lambda *a: target_risk(*a, on_the_fold=True), "on the fold that judges it"),
        (lambda *a: target_risk(*a, power=1), "not squared"),
        (lambda *a: np.sqrt(target_risk(*a)), "a root has been taken"),
        (lambda *a: target_risk(*a, outside=2), "squared with the error"),
        (lambda *a: target_risk(*a, without=0), "one fold are missing"),
        (lambda *a: target_risk(*a, without=4), "one fold are missing"),
        (lambda x, y, w, g, f: target_risk(x, y, w, g, np.arange(len(y))), "held out alone"),
    ],
    "06.7": [
        (planned(lambda run, s, r, t: {"ratio_target": t}), "test rows are used for 'ratio_target'"),
        (planned(lambda run, s, r, t: {"ratio_target": np.append(r, t)}), "test rows are used for 'ratio_target'"),
        (planned(lambda run, s, r, t: {"choose": t}), "test rows are used for 'choose'"),
        (planned(lambda run, s, r, t: {"choose": r}), "have no labels"),
        (planned(lambda run, s, r, t: {"ratio_target": s}), "nothing would tell of the target"),
        (planned(lambda run, s, r, t: {"choose": run["train"][:25]}), "rows that train also choose"),
        (planned(lambda run, s, r, t: {"train": run["train"][:25]}), "four fifths"),
        (planned(lambda run, s, r, t: {"choose": run["choose"][:1]}), "about a fifth"),
        (planned(lambda run, s, r, t: {"report": t[:20]}), "the whole test set"),
        (lambda *a: plan(*a, paired=False), "luck of the draw"),
        (lambda *a: plan(*a, fresh=False), "far too narrow"),
        (lambda *a: plan(*a)[1:], "exactly once in each draw"),
        (lambda *a: [], "a run lacks arm"),
        (lambda *a: plan(*a)[0], "a list of dictionaries"),
        (plan_in_positions, "positions in `source`"),
        (plan_shuffled_in_place, "changes the row numbers"),
        (planned(lambda run, s, r, t: {"ratio_source": None}), "is None"),
        (planned(lambda run, s, r, t: {"train": len(run["train"])}), "a single number"),
        (planned(lambda run, s, r, t: {"choose": np.isin(s, run["choose"])}), "a mask of True and False"),
    ],
    "06.8": [
        (lambda x, y, t: np.ones(len(x)), "no better than"),
        (lambda x, y, t: (1 / np.bincount(y))[y], "no better than"),
        (by_label, "not where by their columns"),
        (by_columns, "not where by their label"),
        (lambda x, y, t: ratio(x, t), "in both kinds"),
        (lambda x, y, t: by_columns(x, y, t)[:-1], "for each of"),
        (lambda x, y, t: -by_label(x, y, t), "not negative"),
        (lambda x, y, t: 1 / by_columns(x, y, t), "no better than"),
    ],
}
