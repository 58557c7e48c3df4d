"""Right and wrong answers of lab 01; the wrong ones with a part of what the learner is told."""

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

FACTS = {
    "A": ("other", "other", "both"),
    "B": ("other", "same", "source"),
    "C": ("same", "other", "both"),
    "D": ("other", "other", "target"),
    "E": ("same", "same", "source"),
    "F": ("other", "other", "none"),
}


def kind(domain, task, labels):
    if (domain, task) == ("same", "same"):
        return "no transfer"
    if task == "same":
        return "transductive"
    return "unsupervised" if labels == "none" else "inductive"


def kind_by_table(*facts):
    table = {("other", "same", "source"): "transductive"}
    for domain in ("same", "other"):
        table |= {(domain, "other", "none"): "unsupervised"}
        table |= {(domain, "other", labels): "inductive" for labels in ("target", "both")}
    return table.get(facts, "no transfer")


def kind_by_source(domain, task, labels):
    """Takes a source without labels for unsupervised transfer."""
    found = kind(domain, task, labels)
    return "unsupervised" if found == "inductive" and labels == "target" else found


def crossing(floor, frozen, trained):
    if trained <= frozen:
        return 0
    return ((trained - frozen) / floor) ** 2 if floor else np.inf


def crossing_by_bisection(floor, frozen, trained):
    def ahead(k):
        return np.float64(trained) / np.sqrt(k) < floor + frozen / np.sqrt(k)

    low, high = 1e-9, 1e12
    if ahead(low):
        return np.array([0.0])
    if not ahead(high):
        return np.array([np.inf])
    for _ in range(200):
        middle = np.sqrt(low * high)
        low, high = (low, middle) if ahead(middle) else (middle, high)
    return np.array([high])


def sample(labels, train, k, seed, *, cut=None, start=None):
    generator = np.random.default_rng(seed if start is None else start(seed, k))
    drawn = []
    for label in np.unique(labels):
        rows = train[labels[train] == label]
        drawn.append((cut or (lambda g, rows, k: g.permutation(rows)[:k]))(generator, rows, k))
    return np.concatenate(drawn)


def sample_by_keys(labels, train, k, seed):
    table = pd.DataFrame({"row": train, "label": labels[train]})
    table["key"] = np.random.RandomState(seed).random_sample(len(train))
    return table.sort_values("key").groupby("label").head(k).row.tolist()


def sample_places(labels, train, k, seed):
    generator = np.random.default_rng(seed)
    places = [generator.permutation(np.flatnonzero(labels[train] == label))[:k] for label in np.unique(labels)]
    return np.concatenate(places)


def sample_with_global_numbers(labels, train, k, seed):
    np.random.seed(seed)
    return np.concatenate([np.random.permutation(train[labels[train] == c])[:k] for c in np.unique(labels)])


def sample_without_seed(labels, train, k, seed):
    return sample(labels, train, k, None)


def sample_any_class(labels, train, k, seed):
    return np.random.default_rng(seed).permutation(train)[: k * (labels.max() + 1)]


def sample_all_rows(labels, train, k, seed):
    return sample(labels, np.arange(len(labels)), k, seed)


def sample_stratified(labels, train, k, seed):
    """As many in all as asked for, in proportion to the classes."""
    wanted = k * len(np.unique(labels))
    return train_test_split(train, train_size=wanted, stratify=labels[train], random_state=seed)[0]


def sample_shuffling_train(labels, train, k, seed):
    np.random.default_rng(seed).shuffle(train)
    return np.concatenate([train[labels[train] == c][:k] for c in np.unique(labels)])


def student(ours, base):
    return stats.t.ppf(0.975, len(ours) - 1) * (ours - base).std(ddof=1) / np.sqrt(len(ours))


def effects(accuracies, *, half=None, base=None, word=None, sign=1):
    found = {}
    for (learner, source), values in accuracies.items():
        if source is None:
            continue
        other = accuracies[base or learner, None]
        gain = sign * (values - other)
        reach = (half or student)(values, other)
        low, high = gain.mean() - reach, gain.mean() + reach
        said = "helps" if low > 0 else "hurts" if high < 0 else "cannot tell"
        found[learner, source] = (low, high, word(gain) if word else said)
    return found


def effects_by_scipy(accuracies):
    found = {}
    for key in accuracies:
        if key[1] is not None:
            interval = stats.ttest_rel(accuracies[key], accuracies[key[0], None]).confidence_interval()
            signs = np.sign([interval.low, interval.high]).sum()
            found[key] = [interval.low, interval.high, {2: "helps", -2: "hurts", 0: "cannot tell"}[int(signs)]]
    return found


def effects_told(accuracies, tell):
    return {key: (*tell(low, high), word) for key, (low, high, word) in effects(accuracies).items()}


def separate(ours, base):
    n = len(ours)
    return np.hypot(*(stats.t.ppf(0.975, n - 1) * a.std(ddof=1) / np.sqrt(n) for a in (ours, base)))


def best_of(settings, rows, accuracy):
    return np.random.default_rng().binomial(rows, accuracy, (3000, settings)).max(1).mean() / rows


def best_of_exactly(settings, rows, accuracy):
    return sum(1 - stats.binom.cdf(t, rows, accuracy) ** settings for t in range(rows)) / rows


def best_of_one_world(settings, rows, accuracy):
    return np.random.default_rng().binomial(rows, accuracy, settings).max() / rows


def with_errors(factor):
    return lambda m, n, p: p + factor(m) * np.sqrt(p * (1 - p) / n)


def guesses(x, y, folds, *, scale="train", choose="train", keep=20):
    found = np.empty_like(y)
    every = np.arange(len(y))
    for test in folds:
        train = np.setdiff1d(every, test)
        rows = {"train": train, "all": every}
        scaler = StandardScaler().fit(x[rows.get(scale, train)])
        scaled = scaler.transform(x)
        if scale == "each":
            scaled[test] = StandardScaler().fit_transform(x[test])
        chosen = SelectKBest(k=keep).fit(scaled[rows[choose]], y[rows[choose]])
        model = LogisticRegression(max_iter=1000).fit(chosen.transform(scaled[train]), y[train])
        found[test] = model.predict(chosen.transform(scaled[test]))
    return found


def guesses_by_pipeline(x, y, folds):
    found = np.full(len(y), -1)
    for test in folds:
        train = ~np.isin(np.arange(len(y)), test)
        model = make_pipeline(StandardScaler(), SelectKBest(f_classif, k=20), LogisticRegression())
        found[test] = model.fit(x[train], y[train]).predict(x[test])
    return found


def guesses_in_fold_order(x, y, folds):
    found = guesses(x, y, folds)
    return np.concatenate([found[test] for test in folds])


def guesses_of_the_first_fold(x, y, folds):
    found = np.zeros_like(y)
    found[folds[0]] = guesses(x, y, folds)[folds[0]]
    return found


def guesses_with_own_folds(x, y, folds):
    steps = make_pipeline(StandardScaler(), SelectKBest(k=20), LogisticRegression())
    return cross_val_predict(steps, x, y, cv=4)


def guesses_by_hand(x, y, folds):
    found = np.zeros(len(y))
    for test in folds:
        train = np.setdiff1d(np.arange(len(y)), test)
        z = (x - x[train].mean(0)) / x[train].std(0)
        best = np.argsort(f_classif(z[train], y[train])[0])[-20:]
        found[test] = LogisticRegression(max_iter=500).fit(z[train][:, best], y[train]).predict(z[test][:, best])
    return found


def plan(candidates, budget, draws, *, seeds=3, rows="validation", each=None, only=None, reported=None, own=False):
    search_draws = [max(draws) + 1 + i for i in range(seeds)]
    most = min(budget // (len(candidates) * seeds), *map(len, candidates.values()))
    search = [
        (arm, setting, draw + (1000 * place if own else 0), rows)
        for arm, settings in candidates.items()
        if only is None or arm == list(candidates)[only]
        for place, setting in enumerate(settings[: each(most, settings) if each else most])
        for draw in search_draws
    ]
    report = [(arm, draw, "test") for arm in candidates for draw in (reported(arm, draws) if reported else draws)]
    return {"search": search, "report": report}


def plan_of_two(candidates, budget, draws):
    """Two settings, two draws, lists in place of tuples, another order."""
    found = {"search": [], "report": []}
    for seed in (10_001, 10_002):
        for arm, settings in candidates.items():
            found["search"] += [[arm, settings[i], seed, "validation"] for i in (0, -1)]
    for draw in draws[::-1]:
        found["report"] += [[arm, draw, "test"] for arm in candidates]
    return found


def plan_on_reported_draws(candidates, budget, draws):
    found = plan(candidates, budget, draws)
    fresh = sorted({draw for *_, draw, _ in found["search"]})
    found["search"] = [(arm, setting, draws[fresh.index(draw)], rows) for arm, setting, draw, rows in found["search"]]
    return found


def colleagues_plan(candidates, budget, draws):
    favourite = next(iter(candidates))
    return {
        "search": [(favourite, setting, draws[0], "test") for setting in candidates[favourite]],
        "report": [(arm, draw, "test") for arm in candidates for draw in draws],
    }


def plan_without_the_last_arm(candidates, budget, draws):
    found = plan(candidates, budget, draws)
    last = list(candidates)[-1]
    return {**found, "report": [run for run in found["report"] if run[0] != last]}


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def by_seeded_means(x, y, pool, rounds=10):
    x, pool = unit(x), unit(pool)
    centres = np.stack([x[y == c].mean(0) for c in range(10)])
    for _ in range(rounds):
        nearest = (pool @ unit(centres).T).argmax(1)
        centres = np.stack([np.concatenate([x[y == c], pool[nearest == c]]).mean(0) for c in range(10)])
    return lambda rows: (unit(rows) @ centres.T / np.linalg.norm(centres, axis=1)).argmax(1)


def by_spreading(x, y, pool):
    both = unit(np.concatenate([x, pool]))
    spread = LabelSpreading(gamma=20, alpha=0.8, max_iter=100).fit(both, np.append(y, -np.ones(len(pool), int)))
    model = LogisticRegression(C=30, max_iter=1000).fit(both, spread.transduction_)
    return lambda rows: model.predict(unit(rows))


def probe(x, y, pool):
    model = LogisticRegression(C=30, max_iter=1000).fit(unit(x), y)
    return lambda rows: model.predict(unit(rows))


def plain_probe(x, y, pool):
    return LogisticRegression(max_iter=1000).fit(x, y).predict


def by_own_guesses(x, y, pool):
    guess = probe(x, y, pool)
    return probe(np.concatenate([x, pool]), np.append(y, guess(pool)), pool)


def by_surest_guesses(x, y, pool):
    model = SelfTrainingClassifier(LogisticRegression(C=30, max_iter=1000), criterion="k_best", k_best=100, max_iter=4)
    model.fit(unit(np.concatenate([x, pool])), np.append(y, -np.ones(len(pool), int)))
    return lambda rows: model.predict(unit(rows))


def from_test_rows(x, y, pool):
    return lambda rows: by_seeded_means(x, y, rows)(rows)


RIGHT = {
    "01.1": [(FACTS, kind), ({**FACTS, "E": ["same", "same", "source"]}, kind_by_table)],
    "01.2": [crossing, crossing_by_bisection],
    "01.3": [sample, sample_by_keys],
    "01.4": [effects, effects_by_scipy],
    "01.5": [best_of, best_of_exactly],
    "01.6": [guesses, guesses_by_pipeline, guesses_by_hand],
    "01.7": [plan, plan_of_two],
    "01.8": [by_seeded_means, by_spreading],
}

WRONG = {
    "01.1": [
        ((FACTS, kind_by_source), "overlooks that the target has labels"),
        ((FACTS, lambda d, t, w: "transductive" if d == "other" else kind(d, t, w)), "that kind keeps the task"),
        ((FACTS, lambda d, t, w: "inductive"), "ordinary learning"),
        ((FACTS, lambda d, t, w: "no transfer" if d == "same" else kind(d, t, w)), "though domain or task"),
        ((FACTS, lambda d, t, w: "supervised"), "is none of"),
        (({**FACTS, "D": ("other", "other", "both")}, kind), "did the pictures supply the answers"),
        (({**FACTS, "C": ("other", "other", "both")}, kind), "situation C"),
        (({**FACTS, "E": ("other", "same", "source")}, kind), "shuffled before it was divided"),
        (({**FACTS, "E": ("same", "same", "both")}, kind), "has anybody labelled the other"),
        (({**FACTS, "E": ("same", "same", "none")}, kind), "has anybody labelled the other"),
        ((FACTS, lambda d, t, w: None if (t, w) == ("other", "target") else kind(d, t, w)), "return` for these words"),
        (({"A": FACTS["A"]}, kind), "situation B: expected three words"),
        (({**FACTS, "B": ("different", "same", "source")}, kind), "none of the words"),
    ],
    "01.2": [
        (lambda f, a, b: (b - a) / f if f else np.inf, "that is √k"),
        (lambda f, a, b: (b / f) ** 2 if f else np.inf, "come down to the floor"),
        (lambda f, a, b: ((a + b) / f) ** 2 if f else np.inf, "a sign went wrong"),
        (lambda f, a, b: (f / (b - a)) ** 2, "upside down"),
        (lambda f, a, b: ((b - a) / f) ** 2 if f else np.inf, "ahead from the first example on"),
        (lambda f, a, b: ((b - a) / max(f, 1e-9)) ** 2 if b > a else 0, "do they ever cross"),
        (lambda f, a, b: int(np.ceil(crossing(f, a, b))) if f else np.inf, "but for rounding"),
        (lambda f, a, b: int(crossing(f, a, b)) if f else np.inf, "but for rounding"),
        (lambda f, a, b: 25, "put it into both formulas"),
        (lambda f, a, b: np.nan, "expected one number"),
    ],
    "01.3": [
        (sample_places, "places within `train`"),
        (sample_all_rows, "rows outside `train`"),
        (sample_without_seed, "other rows the second time"),
        (lambda y, t, k, s: sample(y, t, k, 0), "the very same rows"),
        (lambda y, t, k, s: sample(y, t, k, s, cut=lambda g, r, k: np.repeat(r[:1], k)), "one row comes twice"),
        (lambda y, t, k, s: sample(y, t, k, s, start=lambda s, k: [s, k]), "are not nested"),
        (lambda y, t, k, s: sample(y, t, k, s, cut=lambda g, r, k: g.permutation(r[:8])[:k]), "were never drawn"),
        (sample_with_global_numbers, "global random numbers"),
        (sample_any_class, "the classes get"),
        (sample_shuffling_train, "changes the arrays"),
        (sample_stratified, "the classes get"),
        (lambda y, t, k, s: y[sample(y, t, k, s)], "the classes of the drawn rows"),
        (lambda y, t, k, s: np.isin(np.arange(len(y)), sample(y, t, k, s)), "one entry for every row"),
        (lambda y, t, k, s: sample(y, t, 1, s), "5 rows came back"),
    ],
    "01.4": [
        (lambda a: effects(a, half=separate), "two separate means"),
        (lambda a: effects(a, half=lambda o, b: 1.96 * (o - b).std(ddof=1) / len(o) ** 0.5), "1.96 promises too much"),
        (lambda a: effects(a, half=lambda o, b: stats.t.ppf(0.975, len(o) - 1) * (o - b).std() / len(o) ** 0.5), "1/n"),
        (lambda a: effects(a, half=lambda o, b: stats.t.ppf(0.975, len(o) - 1) * (o - b).std(ddof=1)), "√n is missing"),
        (lambda a: effects(a, half=lambda o, b: stats.t.ppf(0.95, len(o) - 1) * (o - b).std(ddof=1) / len(o) ** 0.5),
         "on *each* side"),
        (lambda a: effects(a, sign=-1), "the sign is turned round"),
        (lambda a: effects_told(a, lambda low, high: (high, low)), "have changed places"),
        (lambda a: effects_told(a, lambda low, high: (100 * low, 100 * high)), "in per cent"),
        (lambda a: effects_told(a, lambda low, high: ((low + high) / 2, (high - low) / 2)), "and the half-width"),
        (lambda a: effects(a, half=lambda o, b: stats.t.ppf(0.975, 8 if len(o) < 8 else 5) * (o - b).std(ddof=1)
                           / len(o) ** 0.5), "Student's factor for"),
        (lambda a: effects(a, base="fine-tuned"), "another learner or source"),
        (lambda a: effects(a, word=lambda gain: "helps" if gain.mean() > 0 else "hurts"), "a mean is not a verdict"),
        (lambda a: effects(a, word=lambda gain: "cannot tell"), "on one side of zero"),
        (lambda a: dict.fromkeys(a, (0, 0, "cannot tell")), "no effect of its own"),
        (lambda a: {}, "nothing is said of"),
    ],
    "01.5": [
        (lambda m, n, p: p, "worth in truth"),
        (with_errors(lambda m: 1), "the number of settings plays no part"),
        (with_errors(lambda m: 1.96), "the number of settings plays no part"),
        (with_errors(lambda m: np.sqrt(2 * np.log(m))), "is a bound"),
        (lambda m, n, p: best_of(m, n, p) * n, "divide the count"),
        (lambda m, n, p: best_of(m, n, p) - p, "how far the best of them is flattered"),
        (lambda m, n, p: best_of(n, m, p), "have changed places"),
        (lambda m, n, p: np.random.default_rng(0).binomial(n, p, (3000, m)).max() / n, "always too large"),
        (best_of_one_world, "another one each time"),
        (lambda m, n, p: 0.95, "the same whatever the settings"),
        (lambda m, n, p: best_of(20, n, p), "try two settings, and a hundred"),
    ],
    "01.6": [
        (lambda x, y, f: guesses(x, y, f, scale="all", choose="all"), "I turned round the labels"),
        (lambda x, y, f: guesses(x, y, f, choose="all"), "I turned round the labels"),
        (lambda x, y, f: guesses(x, y, f, scale="all"), "guesses for *others*"),
        (lambda x, y, f: guesses(x, y, f, scale="each"), "guesses for *others*"),
        (lambda x, y, f: guesses(x, y, f, keep="all"), "mend the evaluation, not the method"),
        (lambda x, y, f: y, "I turned round the labels"),
        (guesses_in_fold_order, "in the order of the folds"),
        (guesses_of_the_first_fold, "does the loop end too early"),
        (guesses_with_own_folds, "is `folds` used?"),
        (lambda x, y, f: guesses(x, y, f) + 0.25, "none of the labels"),
        (lambda x, y, f: np.zeros_like(y), "mend the evaluation, not the method"),
        (lambda x, y, f: (guesses(x, y, f) == y).mean(), "a guess for each"),
    ],
    "01.7": [
        (colleagues_plan, "more of the rules are broken"),
        (lambda c, b, d: plan(c, b, d, rows="test"), "the report will be flattered"),
        (plan_on_reported_draws, "have a say in the choice"),
        (lambda c, b, d: plan(c, 10**6, d, seeds=30), "more runs than the budget"),
        (lambda c, b, d: plan(c, b, d, each=lambda most, s: len(s)), "a tuned arm against an untuned one"),
        (lambda c, b, d: plan(c, b, d, only=0), "a tuned arm against an untuned one"),
        (lambda c, b, d: plan(c, b, d, seeds=1), "on a single draw"),
        (lambda c, b, d: plan(c, b, d, each=lambda most, s: 1), "nothing to choose from"),
        (lambda c, b, d: plan(c, b, d, own=True), "the luckier draw wins"),
        (lambda c, b, d: plan(c, b, d, reported=lambda arm, d: [x + len(arm) for x in d]), "no complete pairs"),
        (lambda c, b, d: plan(c, b, d, reported=lambda arm, d: d[:3]), "no complete pairs"),
        (plan_without_the_last_arm, "even a weak baseline is told"),
        (lambda c, b, d: {"search": [], "report": []}, "nothing to choose from"),
        (lambda c, b, d: plan(c, b, d)["search"], "expected a dictionary"),
    ],
    "01.8": [
        (probe, "of any use to your answer"),
        (plain_probe, "of any use to your answer"),
        (by_own_guesses, "better than the linear probe"),
        (by_surest_guesses, "worse than a linear probe"),
        (from_test_rows, "transductive"),
        (lambda x, y, pool: lambda rows: np.zeros(len(rows)), "worse than a linear probe"),
        (lambda x, y, pool: probe(x, y, pool)(pool), "must return another function"),
        (lambda x, y, pool: lambda rows: y, "one label for each"),
    ],
}  # fmt: skip
