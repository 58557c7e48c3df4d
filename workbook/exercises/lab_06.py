"""Lab 06, instance reweighting: checkers. The lab is ``labs/06_instance_reweighting.ipynb``."""

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LinearRegression, LogisticRegression

from workbook.exercises.exercise import Lab, Wrong
from workbook.exercises.values import as_array, as_number, from_set, is_close, must_return, tell_apart

LAB = Lab("06")


@LAB.exercise(
    "06.1",
    "Rows that count",
    minutes=4,
    points=1,
    expects="a function of n, columns and shift that returns a number",
    hints=[
        "Lesson 06 has one column: a shift by δ leaves the share exp(−δ²). What is the weight of a row whose columns "
        "are independent?",
        "The weight is a product over the columns, so the mean of its square is one too: multiply the shares.",
    ],
)
def check_rows_that_count(draw: np.random.Generator, rows_that_count) -> str:
    """n·exp(−columns·shift²)."""
    for _ in range(3):
        n, columns = int(draw.integers(200, 2000)), int(draw.choice([3, 5, 6, 7]))  # at 4 two mistakes coincide
        shift = float(draw.uniform(0.3, 0.7))
        square = shift**2
        right = n * np.exp(-columns * square)
        found = as_number(must_return(rows_that_count(n, columns, shift)))
        if found == round(found) and abs(found - right) < 1:
            raise Wrong("rounded to whole rows; return the number as it is, since the limit need not be whole", 0.5)
        if is_close(found, right, rtol=1e-3):
            continue
        mistakes = (
            (n, "every row counts fully only if no weight differs from another: here the target has moved"),
            (np.exp(-columns * square), "that is the share of the rows that counts; how many are that, of n?"),
            (n * np.exp(-square), "that is what one moved column leaves; every column has moved"),
            (n * np.exp(-((columns * shift) ** 2)), "as if a single column had moved by columns · shift: the distance "
             "between the two centres is shorter than that"),
            (n * np.exp(-columns * square / 2), "as if the mean of w² were exp(δ²/2); work it out again"),
            (n * np.exp(-columns * shift), "the share falls with the square of the shift"),
            (n * np.exp(-np.sqrt(columns) * square), "the distance between the two centres grows with the root of the "
             "columns, but it is the distance squared that counts"),
            (n * np.exp(-square) * columns, "what one column leaves, added up over the columns: more columns would "
             "leave more rows"),
            (n * np.exp(-square) / columns, "what one column leaves, divided by the number of columns"),
        )  # fmt: skip
        tell_apart(found, mistakes, rtol=1e-3)
        if found > n:
            raise Wrong("more rows than there are? Weights never add any")
        case = f"for {n} rows, {columns} columns and a shift of {shift:.2f}"
        if abs(found / right - 1) < 0.25:
            raise Wrong(f"near, but not it, {case}; simulations only come near, and the limit has a formula")
        raise Wrong(f"not {case}, where you find {found:.4g}")
    return (
        "a shift that nobody would notice in one column is ruinous in fifty: this is why ratios are estimated on few "
        "columns, and why caps and smooth weights pay"
    )


@LAB.exercise(
    "06.2",
    "To break a ratio",
    minutes=8,
    points=2,
    expects="a function of source_scale and share that returns a number",
    hints=[
        "The share of rows that counts is 1/E[w²]. Write it with t = σ_T²/σ_S², the ratio of the variances: "
        "only t remains.",
        "The share is √(t (2 − t)). Square both sides: a quadratic equation for t, with one solution below 1 and one "
        "above.",
    ],
)
def check_target_scale(draw: np.random.Generator, target_scale) -> str:
    """σ_S √(1 + √(1 − share²))."""
    for _ in range(3):
        scale, share = float(draw.uniform(1.5, 6)), float(draw.uniform(0.3, 0.9))
        root = np.sqrt(1 - share**2)
        found = as_number(must_return(target_scale(scale, share)))
        if is_close(found, scale * np.sqrt(1 + root), rtol=1e-3):
            continue
        if is_close(found, scale * np.sqrt(1 - root), rtol=1e-3):
            raise Wrong("that target leaves this share, but it is narrower than the source; a wider one is asked", 0.5)
        if is_close(found, scale**2 * (1 + root), rtol=1e-3):
            raise Wrong("that is the target's variance; the standard deviation is asked", share=0.5)
        if is_close(found, np.sqrt(1 + root), rtol=1e-3):
            raise Wrong("right for a source of scale 1; this one has another", share=0.5)
        if found <= 0:
            raise Wrong("a standard deviation is above zero")
        t = (found / scale) ** 2
        if t > 2 - 1e-6:
            raise Wrong("beyond repair: the mean of w² is infinite there, and in the end no share of the rows counts")
        raise Wrong(f"with a share of {share:.2f} asked, your target leaves {np.sqrt(t * (2 - t)):.2f} of the rows")
    return (
        "for any share, however small, the answer stays below √2 times the source's scale; there the ratio breaks, "
        "although it exists everywhere and has mean 1. A narrower target never breaks it"
    )


def _two_clouds(draw: np.random.Generator, sizes: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a source, a target moved by about 1.2 standard deviations, and the true log ratio."""
    columns = int(draw.integers(2, 5))
    move = draw.normal(size=columns)
    move *= 1.2 / np.linalg.norm(move)
    units, offset = draw.uniform(0.5, 3, columns), draw.uniform(-3, 3, columns)
    source, target = (draw.normal(size=(n, columns)) for n in sizes)
    log_ratio = source @ move - move @ move / 2
    return source * units + offset, (target + move) * units + offset, log_ratio


@LAB.exercise(
    "06.3",
    "To mend a ratio",
    minutes=12,
    points=3,
    expects="a function of source (n, d) and target (m, d) that returns n positive weights",
    hints=[
        "There are three mistakes, and the first hides the others. What are the mean and the spread of each sample "
        "after its scaler?",
        "One scaler for both. Then look at the direction: `predict_proba` has a column for each domain, in the order "
        "0, 1. Which rows should lead?",
        "Last, the sizes: Bayes' rule turns odds of 'target' into p_T/p_S with the factor n_S/n_T. The mean weight "
        "tells whether it is there.",
    ],
)
def check_mended(draw: np.random.Generator, mended_ratio) -> str:
    """(n_S/n_T)·odds of 'target', on common columns."""
    for sizes in draw.permutation([(1500, 500), (500, 1500)]):
        source, target, truth = _two_clouds(draw, sizes)
        given = source.copy(), target.copy()
        found = as_array(must_return(mended_ratio(*given)))
        if not (np.array_equal(given[0], source) and np.array_equal(given[1], target)):
            raise Wrong("your function changes the samples that it was given; work on copies")
        if found.shape != truth.shape:
            raise Wrong(f"expected one weight for each of the {len(source)} source rows, got shape {found.shape}")
        if not np.isfinite(found).all() or (found <= 0).any():
            raise Wrong("a ratio of two densities is positive and finite for these rows; some of yours are not")
        if np.log(found).std() < 0.1 * truth.std():
            raise Wrong(
                "all weights are nearly the same, though the target has moved by more than a standard deviation"
            )
        agreement = np.corrcoef(np.log(found), truth)[0, 1]
        if agreement < -0.5:
            raise Wrong(
                "the rows *least* like the target get the largest weights: the ratio is upside down", share=1 / 3
            )
        if agreement < 0.9:
            raise Wrong("the weights do not follow the true ratio, which is known for these samples")
        if found.max() < 1:
            odds = np.log(found / (1 - found)) + np.log(len(source) / len(target))
            if np.abs(np.median(odds - truth)) < 0.35 and odds.std() < 1.4 * truth.std():
                raise Wrong("the right rows lead, but these are probabilities of 'target', not odds", share=1 / 3)
        slope = np.cov(np.log(found), truth)[0, 1] / truth.var()
        if not 0.7 < slope < 1.4:
            raise Wrong("the right rows lead, but the weights are much more " + ("timid" if slope < 1 else "extreme")
                        + " than the true ratio", share=2 / 3)  # fmt: skip
        away = np.median(np.log(found) - truth) / np.log(len(source) / len(target))
        if -1.35 < away < -0.65:
            raise Wrong("the right rows lead, but the mean weight is not 1: it depends on how large the two samples "
                        "happen to be", share=2 / 3)  # fmt: skip
        if -2.35 < away < -1.65:
            raise Wrong("the sizes of the samples are in, the wrong way round", share=2 / 3)
        if abs(away) > 0.35:
            raise Wrong(
                "the right rows lead, but all weights are too large or too small by a common factor", share=2 / 3
            )
        again = as_array(mended_ratio(source / 1000, target / 1000))
        if again.shape != found.shape or (again <= 0).any() or np.abs(np.log(again / found)).max() > 0.2 * truth.std():
            raise Wrong("right in these units, but the same columns in units a thousand times larger get other "
                        "weights: the penalty of a logistic regression depends on units", share=2 / 3)  # fmt: skip
    return (
        "three looks find all three mistakes, without a label: do the weights differ, do the right rows lead, and is "
        "their mean 1?"
    )


def _line(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
    fitted = LinearRegression().fit(x, y, sample_weight=w)
    return np.append(fitted.intercept_, fitted.coef_)


@LAB.exercise(
    "06.4",
    "Losses, not values",
    minutes=8,
    points=2,
    expects="a function of x (n, d), y (n,) and w (n,) that returns an array (d + 1,)",
    hints=[
        "`lstsq` minimises Σ (A b − y)². Which A and which right-hand side make that equal to Σ w (…)²?",
        "w r² = (√w r)²: the residual is multiplied as a whole, what belongs to y and to the constant column included.",
    ],
)
def check_weighted_line(draw: np.random.Generator, weighted_line) -> str:
    """Weighted least squares, with an intercept."""
    n, d = 60, int(draw.integers(3, 5))
    x, w = draw.normal(1, 1, (n, d)), draw.exponential(size=n)
    w[draw.integers(0, n, 6)] = 0
    w *= 3 / w.max()
    y = 2 + x @ draw.normal(size=d) + draw.normal(size=n) + x[:, 0] ** 2
    answer = must_return(weighted_line(x.copy(), y.copy(), w.copy()))
    try:
        found = as_array(answer).ravel()
    except Wrong:
        raise Wrong(f"expected one array of {d + 1} numbers, the constant first; yours does not fit into one") from None
    if found.shape == (d,):
        raise Wrong("one number for each column; the constant is missing")
    if found.shape != (d + 1,):
        raise Wrong(f"expected {d + 1} numbers, the constant and {d} slopes, got {len(found)}")
    if is_close(found, _line(x, y, w)):
        return (
            "a weight of 2 does what a row that stands there twice does, a weight of 0 what a deleted one does, and a "
            "common factor does nothing: three tests for any code that claims to weight"
        )
    A, root = np.column_stack([np.ones(n), x]), np.sqrt(w)

    def solved(rows: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.linalg.lstsq(rows, right, rcond=None)[0]

    values = "the *values* are scaled, and y is not: a row is moved to a place where nobody measured anything"
    mistakes = (
        (solved(A, y), "the weights play no part: this is the unweighted line", 0.0),
        (_line(x * w[:, None], y, np.ones(n)), values, 0.0),
        (solved(A * w[:, None], y), values, 0.0),
        (_line(x * root[:, None], y, np.ones(n)), values, 0.0),
        (solved(A * root[:, None], y), values, 0.0),
        (
            _line(x, y, w**2),
            "every row counts with the square of its weight: the solver squares what you multiply",
            0.5,
        ),
        (_line(x, y, root), "every row counts with the root of its weight only", 0.5),
        (_line(x * root[:, None], y * root, np.ones(n)), "slopes and y are weighted, the constant is not", 0.5),
        (_line(x * w[:, None], y * w, np.ones(n)), "slopes and y are multiplied by w, the constant is not", 0.0),
        (solved(A, y * w), "y is multiplied, the columns are not: rows are moved in place of weighted", 0.0),
        (solved(A, y * root), "y is multiplied, the columns are not: rows are moved in place of weighted", 0.0),
        (_line(x, y, w > 0), "rows of weight zero are left out, and all others count alike", 0.0),
    )
    tell_apart(found, mistakes)
    if is_close(np.roll(found, 1), _line(x, y, w)):
        raise Wrong("the right numbers in another order: the constant comes first", share=0.5)
    raise Wrong("another line has a smaller weighted sum of squares")


def _capped(w: np.ndarray, bound: float) -> np.ndarray:
    low, high = 0.0, bound / w[w > 0].min()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(middle * w, bound).mean() < 1 else (low, middle)
    return np.minimum(high * w, bound)


@LAB.exercise(
    "06.5",
    "A cap and a mean",
    minutes=10,
    points=3,
    expects="a function of w (n,) and a bound that returns an array (n,)",
    hints=[
        "Cut, and the mean falls; scale up again, and some weights are above the bound. Which single number is free?",
        "All answers are min(c · w, bound) for some c, and their mean only grows with c. The c with mean 1 can be "
        "cornered by halving an interval.",
        "Or repeat: keep those at the bound there, and scale the others so that the whole has mean 1, until none of "
        "them exceeds the bound.",
    ],
)
def check_cap(draw: np.random.Generator, cap) -> str:
    """min(c·w, bound) with mean 1."""
    for trial in range(4):
        n, bound = int(draw.integers(60, 120)), float(draw.uniform(1.5, 2.5))
        w = np.exp(draw.normal(draw.uniform(-2, 2), 1.5, n))
        if trial == 3:  # nothing to cut
            w, bound = draw.uniform(0.8, 1.2, n), 10.0
        given = w.copy()
        found = as_array(must_return(cap(given, bound)))
        if not np.array_equal(given, w):
            raise Wrong("your function changes the weights that it was given; return new ones")
        if found.shape != w.shape or not np.isfinite(found).all():
            raise Wrong("expected one finite number for each weight")
        right = _capped(w, bound)
        if is_close(found, right, rtol=2e-3):
            continue
        if is_close(np.sort(found), np.sort(right), rtol=2e-3):
            raise Wrong("the right numbers in another order: each weight belongs to its row", share=2 / 3)
        if (found < 0).any():
            raise Wrong("some weights are negative: those rows would be learnt backwards")
        if found.max() > bound * (1 + 1e-3):
            restored = "the mean is 1, but " if abs(found.mean() - 1) < 1e-3 else ""
            raise Wrong(restored + "the largest weight is above the bound", share=1 / 3)
        if abs(found.mean() - 1) > 2e-3:
            side = "below" if found.mean() < 1 else "above"
            raise Wrong(f"no weight is above the bound, but their mean is not 1: it is {side}", share=1 / 3)
        if np.ptp(found) < 1e-6:
            raise Wrong("bound and mean are kept by making all weights equal: the ratio is gone")
        raise Wrong("bound and mean are kept, but rows below the cap have lost their proportions to each other", 2 / 3)
    return (
        "a cap trades variance for bias: more rows count, and the target's rarest places are under-represented. Kernel "
        "mean matching has the same two constraints, 0 ≤ β ≤ B and a mean near 1, built in"
    )


@LAB.exercise(
    "06.6",
    "The weight inside, the weight outside",
    minutes=12,
    points=3,
    expects="a function of x (n, d), y, w, gamma and folds (n,) that returns a number",
    hints=[
        "For each fold: fit on the other rows, predict on those of the fold, keep their squared errors in place.",
        "Two weights are in play. Which one belongs to the model that is being tried, and which to the question, how "
        "well it does in the target?",
        "Inside w[kept] ** gamma, as sample_weight; outside the full w of the *held-out* rows: (w * losses).mean().",
    ],
)
def check_target_risk(draw: np.random.Generator, target_risk) -> str:
    """Importance-weighted cross-validation."""
    n = 60
    x = draw.normal(size=(n, 2))
    y = x[:, 0] - x[:, 1] + x[:, 0] ** 2 + draw.normal(0, 0.5, n)
    w = np.exp(1.2 * x[:, 0])
    w /= w.mean()
    folds = draw.permutation(np.repeat(np.arange(5), [6, 9, 12, 15, 18]))

    def residuals(power: float, folds: np.ndarray, train: str = "the others") -> np.ndarray:
        found = np.empty(n)
        for k in np.unique(folds):
            held = folds == k
            kept = {"the others": ~held, "all": np.full(n, True), "the fold": held}[train]
            b = _line(x[kept], y[kept], w[kept] ** power)
            found[held] = b[0] + x[held] @ b[1:] - y[held]
        return found

    own_measure = "outside stands the flattened weight: each γ is judged by a measure of its own"
    for gamma in (0.5, 0.0, 1.0):
        found = as_number(must_return(target_risk(x.copy(), y.copy(), w.copy(), gamma, folds.copy())))
        losses = residuals(gamma, folds) ** 2
        if is_close(found, (w * losses).mean()):
            continue
        by_fold = np.mean([np.average(losses[folds == k], weights=w[folds == k]) for k in range(5)])
        of_folds = np.mean([(w * losses)[folds == k].mean() for k in range(5)])
        one_missing = "the losses of one fold are missing"
        mistakes = (
            (losses.mean(), "the held-out losses are not weighted: this chooses for the source", 1 / 3),
            ((w**gamma * losses).mean(), own_measure, 1 / 3),
            (np.average(losses, weights=w**gamma), own_measure, 1 / 3),
            (by_fold, "each fold is divided by the weights that happen to be in it, so a fold of unwanted rows speaks "
             "as loudly as any other", 2 / 3),
            (of_folds, "a mean of the folds' means: a row of a small fold counts more than one of a large fold", 2 / 3),
            ((w * residuals(1.0, folds) ** 2).mean(), "γ plays no part in training; as a common factor of all "
             "weights it would not either", 1 / 3),
            ((w * residuals(0.0, folds) ** 2).mean(), "the models are trained without weights, whatever γ", 1 / 3),
            ((w * residuals(gamma, folds, "all") ** 2).mean(), "the rows that judge a model have also trained it",
             1 / 3),
            ((w * residuals(gamma, folds, "the fold") ** 2).mean(), "each model is trained on the fold that judges it, "
             "and on nothing else", 1 / 3),
            ((w * residuals(gamma, np.arange(n)) ** 2).mean(), "each row is held out alone; `folds` says which rows "
             "are held out together", 2 / 3),
            ((w * np.abs(residuals(gamma, folds))).mean(), "the errors are not squared", 2 / 3),
            ((w**2 * losses).mean(), "the weight is squared with the error", 1 / 3),
            (np.sqrt((w * losses).mean()), "a root has been taken: the risk is the mean of the squares itself", 2 / 3),
            ((w * losses)[folds > 0].sum() / n, one_missing, 1 / 3),
            ((w * losses)[folds < 4].sum() / n, one_missing, 1 / 3),
            ((w * losses).sum(), "that is a sum; the risk is a mean over rows", 2 / 3),
        )  # fmt: skip
        tell_apart(found, mistakes)
        raise Wrong("not the weighted mean of the held-out squared errors")
    return (
        "everything in it comes from labelled source rows and from weights made without labels, and yet it speaks of "
        "the target; it believes the weights, though, and shares their variance"
    )


def _row_numbers(part: str, value: object) -> np.ndarray:
    if value is None:
        raise Wrong(f"{part!r} is None: every run names these rows, whether its arm needs them or not")
    rows = as_array(from_set(value))
    if rows.ndim == 0:
        raise Wrong(f"{part!r} is a single number; an array or a list of row numbers is asked")
    if np.asarray(value).dtype == bool:
        raise Wrong(f"{part!r} is a mask of True and False; row numbers are asked")
    return rows.ravel()


@LAB.exercise(
    "06.7",
    "A plan before the run",
    minutes=12,
    points=3,
    expects="a function of source, register, test, arms and draws that returns a list of dictionaries",
    hints=[
        "Which of the rows have labels that you may use before the end? Those can train and choose. The ratio needs "
        "no labels, but rows that stand for the target all the same.",
        "Deal the source's rows once a draw, *outside* the loop over the arms, so that all arms of a draw get the "
        "same rows.",
        "`order = random.permutation(source)`, then a fifth of it to choose on, and the rest to train with.",
    ],
)
def check_plan(draw: np.random.Generator, plan) -> str:
    """Paired, disjoint, and the test rows used once."""
    sizes = draw.integers(100, 160), draw.integers(150, 250), draw.integers(80, 120)
    cuts = np.cumsum(sizes)
    source, register, test, _ = np.split(draw.permutation(1000), cuts)
    arms, draws = ("none", "full", "flattened"), int(draw.integers(4, 8))
    given = [rows.copy() for rows in (source, register, test)]
    runs = must_return(plan(*given, arms, draws))
    if not all(map(np.array_equal, given, (source, register, test))):
        raise Wrong("your function changes the row numbers that it was given: what a run holds may change with them")
    if not isinstance(runs, list | tuple) or not all(isinstance(run, dict) for run in runs):
        raise Wrong("expected a list of dictionaries, one for each arm in each draw")
    parts = ("ratio_source", "ratio_target", "train", "choose", "report")
    missing = {"arm", "draw", *parts} - set.intersection(*map(set, runs)) if runs else {"arm"}
    if missing:
        raise Wrong("a run lacks " + ", ".join(sorted(missing)))
    if sorted((run["arm"], run["draw"]) for run in runs) != sorted((arm, d) for arm in arms for d in range(draws)):
        raise Wrong("each arm must come exactly once in each draw, with draws counted from 0")
    dealt = {d: [] for d in range(draws)}
    for run in runs:
        rows = {part: _row_numbers(part, run[part]) for part in parts}
        dealt[run["draw"]].append(rows)
        for part in ("train", "choose", "ratio_source"):
            if np.isin(rows[part], np.arange(len(source))).all() and not np.isin(rows[part], source).all():
                raise Wrong(f"{part!r} seems to hold positions in `source`; the row numbers that stand there are asked")
        for part in parts[:4]:
            if not len(rows[part]):
                raise Wrong(f"nothing is left for {part!r}")
            if np.isin(rows[part], test).any():
                raise Wrong(f"test rows are used for {part!r}: they have entered what they are to judge")
        for part in ("train", "choose"):
            if np.isin(rows[part], register).any():
                raise Wrong(f"{part!r} holds rows of the register, which have no labels")
        if not np.isin(rows["ratio_target"], register).all():
            raise Wrong("the ratio's target rows do not come from the register: nothing would tell of the target")
        if not all(np.isin(rows[part], source).all() for part in ("ratio_source", "train", "choose")):
            raise Wrong("some rows are used as source rows that are not in the source")
        if np.isin(rows["train"], rows["choose"]).any():
            raise Wrong("rows that train also choose: the setting that fits them best would win", share=1 / 3)
        if len(np.unique(rows["train"])) < len(rows["train"]) or not 0.7 < len(rows["train"]) / len(source) < 0.9:
            raise Wrong("'train' should hold about four fifths of the source's rows, each once", share=1 / 3)
        if not 0.1 < len(rows["choose"]) / len(source) < 0.3:
            raise Wrong("'choose' should hold about a fifth of the source's rows", share=1 / 3)
        if not np.array_equal(np.sort(rows["report"]), np.sort(test)):
            raise Wrong("every run reports on the whole test set, and on nothing else", share=1 / 3)
    for many in dealt.values():
        if any(not np.array_equal(np.sort(one[part]), np.sort(many[0][part])) for one in many for part in parts):
            raise Wrong("arms of one draw get different rows: their difference is then luck of the draw as well", 2 / 3)
    if len({tuple(np.sort(many[0]["train"])) for many in dealt.values()}) < draws:
        raise Wrong("different draws train on the same rows: the interval would be far too narrow", share=2 / 3)
    return (
        "with paired draws the difference of two arms has an interval of its own, much narrower than those of the "
        "arms; and the rows of 'choose' need weights, since they are source rows that speak for the target"
    )


def draw_picked(draw: np.random.Generator, kind: str) -> dict[str, np.ndarray]:
    """Return a biased source with labels, an unbiased target, and the true weights.

    Args:
        draw: of everything.
        kind: how rows were picked: ``"one side"`` of a hidden score, ``"both sides"`` of it, or the ``"label"``.
    """
    n = 600
    usual, move = draw.choice([0.15, 0.85]), 0.33 * draw.choice([-1, 1], 5)
    direction = draw.normal(size=3)
    direction /= np.linalg.norm(direction)
    turned = draw.random() < 0.5

    def sample(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = draw.normal(size=(size, 5))
        if kind == "label":
            y = (draw.random(size) < usual).astype(int)
            return x + (2 * y[:, None] - 1) * move, y, np.where(y == (usual > 0.5), 0.18, 1.0)
        score = x[:, 2:] @ direction
        liked = expit(3 * score) if kind == "one side" else expit(4 * (np.abs(score) - 0.67))
        liked = 1 - liked if turned else liked
        y = (draw.random(size) < expit(x[:, 0] + 2 * x[:, 1] * (3 * liked - 2.2))).astype(int)
        return x, y, 0.03 + 0.97 * liked

    x, y, chance = sample(14 * n)
    picked = np.flatnonzero(draw.random(len(x)) < chance)[:n]
    unlabelled, (test_x, test_y, _) = sample(n)[0], sample(2000)
    return {
        "source_x": x[picked], "source_y": y[picked], "target_x": unlabelled,
        "test_x": test_x, "test_y": test_y, "true_weights": 1 / chance[picked],
    }  # fmt: skip


def small_model(problem: dict[str, np.ndarray], weights: np.ndarray) -> float:
    """Return the target accuracy of the model that the challenge prescribes, trained with these weights."""
    model = LogisticRegression().fit(problem["source_x"][:, :2], problem["source_y"], weights / weights.mean())
    return model.score(problem["test_x"][:, :2], problem["test_y"])


@LAB.exercise(
    "06.8",
    "Open challenge: picked, and nobody says how",
    minutes=25,
    points=4,
    expects="a function of source_x, source_y and target_x that returns a weight for every source row",
    hints=[
        "Two stories can be told of any sample: 'picked by the columns' gives a density ratio, 'picked by the label' "
        "one weight for each class. You can write down the weights of both. How would you find out which story is "
        "true, from columns alone?",
        "Weight the source by each story's weights: do its columns, their squares and their products then have the "
        "means that the target's have? Under the wrong story they do not.",
        "By the label: EM as in 02.8. By the columns: `mended_ratio` on the columns with their squares and products, "
        "then `cap`. Try the label first: it has one free number, so if it explains everything it is hardly by chance.",
    ],
    seconds=30,
)
def check_challenge(draw: np.random.Generator, weigh) -> str:
    """At least six tenths of the true weights' gain, both where columns and where labels picked the rows."""
    gains = {"columns": np.zeros(2), "label": np.zeros(2)}
    for kind in 5 * ("one side", "both sides", "label"):
        problem = draw_picked(draw, kind)
        given = [problem[name].copy() for name in ("source_x", "source_y", "target_x")]
        found = as_array(must_return(weigh(*given)))
        if found.shape != problem["source_y"].shape:
            raise Wrong(
                f"expected a weight for each of {len(problem['source_y'])} source rows, got shape {found.shape}"
            )
        if not np.isfinite(found).all() or (found < 0).any() or not found.sum() > 0:
            raise Wrong("weights must be finite and not negative, and some must be above zero")
        plain = small_model(problem, np.ones(len(found)))
        gains["label" if kind == "label" else "columns"] += [
            small_model(problem, found) - plain,
            small_model(problem, problem["true_weights"]) - plain,
        ]
    kept = {name: ours / oracle for name, (ours, oracle) in gains.items()}
    if min(kept.values()) >= 0.6:
        return (
            "no target label was used. Where columns pick *and* labels do, neither story is true, and nothing in the "
            "unlabelled rows can tell how much of each there was"
        )
    if kept["label"] >= 0.6:
        raise Wrong("the gain is there where rows were picked by their label, not where by their columns", share=0.5)
    if kept["columns"] >= 0.6:
        raise Wrong("the gain is there where rows were picked by their columns, not where by their label", share=0.5)
    if max(kept.values()) > 0.2:
        raise Wrong("better than no weights, but below six tenths of the true weights' gain in both kinds", share=0.25)
    raise Wrong("no better than no weights at all")
