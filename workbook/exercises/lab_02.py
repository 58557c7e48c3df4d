"""Lab 02, the mathematics: checkers. The lab is ``labs/02_mathematics.ipynb``."""

import copy

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from workbook.exercises.exercise import Lab, Wrong
from workbook.exercises.values import as_array, as_number, is_close, must_return, tell_apart

LAB = Lab("02")


@LAB.exercise(
    "02.1",
    "The loss of a head that knows nothing",
    minutes=3,
    points=1,
    expects="a function of the number of classes that returns a number",
    hints=[
        "All logits are zero. Which probability does softmax give to each of K classes?",
        "The loss of one example is −log of the probability that its own class gets; the mean of equal numbers is that "
        "number.",
    ],
)
def check_untrained_loss(draw: np.random.Generator, untrained_loss) -> str:
    """A head of zeros: log K."""
    for classes in map(int, draw.integers(3, 200, 3)):
        found = as_number(must_return(untrained_loss(classes)))
        if is_close(found, np.log(classes), rtol=1e-3):
            continue
        right = np.log(classes)
        mistakes = (
            (1 / classes, "that is the probability of each class, which is also the accuracy of guessing; the loss is "
             "asked"),
            (1 - 1 / classes, "that is the error rate of guessing; cross-entropy is another number"),
            (np.log2(classes), "that is in bits: the course, and every framework, takes the natural logarithm"),
            (np.log10(classes), "that is the logarithm to the base ten; here, and in every framework, it is the "
             "natural one"),
            (classes * right, "that adds up the terms of all classes; of each row only its own class counts"),
            (right / classes, "that is a mean over the classes; the loss of a row has the term of its own class only, "
             "and the mean is over the rows"),
            (0, "a loss of zero would mean that the head is certain and right"),
        )  # fmt: skip
        tell_apart(found, mistakes)
        if found < 0:
            raise Wrong("cross-entropy is never negative: is a minus missing, or one too many?")
        raise Wrong(f"not for {classes} classes, where your function gives {found:.4g}")
    return (
        "a first loss far above log K says that the head does not start neutral, one far below it that this head is "
        "not new or the loss not the one you think: it is the cheapest test of a training script"
    )


def _mean_loss(z: np.ndarray, y: np.ndarray) -> float:
    log_p = z - z.max(axis=1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    return float(-log_p[np.arange(len(y)), y].mean())


@LAB.exercise(
    "02.2",
    "The gradient, term by term",
    minutes=8,
    points=3,
    expects="a function of logits (n, K) and labels (n,) that returns an array (n, K)",
    hints=[
        "Write ℓ = −z_y + log Σ_j exp z_j for one row. What is its derivative with respect to one z_i, when i is y and "
        "when it is not?",
        "It is p_i − 1 when i is y, and p_i when it is not: the softmax, minus 1 at the label.",
        "The loss is a mean over n rows, and exp overflows beyond 700: subtract each row's largest logit before exp.",
    ],
)
def check_gradient(draw: np.random.Generator, gradient) -> str:
    """(p − onehot) / n, in every row, without overflow."""
    n, classes = int(draw.integers(7, 12)), int(draw.integers(3, 7))
    z, y = draw.normal(0, 2, (n, classes)), draw.integers(0, classes, n)
    found = as_array(must_return(gradient(z.copy(), y.copy())))
    p, onehot = softmax(z, axis=1), np.eye(classes)[y]
    right, columns = (p - onehot) / n, np.exp(z) / np.exp(z).sum(axis=0)
    occurs = onehot.any(axis=0)
    if found.shape != z.shape:
        raise Wrong(f"the gradient has shape {found.shape}; there is one derivative for each logit: {z.shape}")
    if not is_close(found, right):
        mistakes = (
            (n * right, "that is the gradient of the sum of the losses; the loss is their mean"),
            (right / classes, "that is divided by the number of logits; the mean is over the rows"),
            (-right, "the sign is turned round: with this, descent would raise the loss"),
            (p / n, "the softmax is there, but the label is not: every class would be pushed down"),
            (p, "the softmax is there, but neither the label nor the mean"),
            (onehot * right, "right for each row's own class; but the loss depends on the other logits as well"),
            ((p - y[:, None]) / n, "the label is subtracted as a number from every class: but it is the name of a "
             "place, not an amount", 0),
            ((p - occurs) / n, "1 is subtracted in the column of every label that occurs in any row: `[:, y]` takes "
             "whole columns"),
            (-onehot / p / n, "that is the derivative with respect to the probabilities; the logits are one step "
             "further back"),
            ((columns - onehot) / n, "softmax must add up to one over the classes of a row, here it does over the "
             "rows of a class", 0),
        )  # fmt: skip
        tell_apart(found, mistakes, share=1 / 3)
        raise Wrong("it differs from the derivative of the mean loss, taken numerically")
    top, bottom = np.array([[1000.0, 998.0, -1000.0], [0.0, 1000.0, 0.0]]), np.array([[-1000.0, -1002.0, -1003.0]])
    for far, said in (
        (top, "exp has overflowed"),
        (np.concatenate([top, bottom]), "where another row's are minus a thousand, every exp of that row is zero"),
    ):
        y = np.ones(len(far), int)
        found = as_array(gradient(far.copy(), y.copy()))
        if not np.isfinite(found).all():
            raise Wrong(f"right for small logits, but not finite for a logit of 1000: {said}", share=2 / 3)
        if not is_close(found, (softmax(far, axis=1) - np.eye(3)[y]) / len(far)):
            raise Wrong("finite for a logit of 1000, but no longer right: 1000 and 998 are not alike", share=2 / 3)
    return "each row adds up to zero: raising all logits of a row by the same number changes nothing"


@LAB.exercise(
    "02.3",
    "What a head hands to the backbone",
    minutes=6,
    points=2,
    expects="a function of W (K, d), b (K,), h (n, d) and y (n,) that returns an array (n, d)",
    hints=[
        "The chain rule: the derivative with respect to z you have; how does z change with h?",
        "z = W h + b for one row, so its h gets Wᵀ times the derivative with respect to z. In rows: a matrix product.",
    ],
)
def check_to_features(draw: np.random.Generator, to_features) -> str:
    """(p − onehot) W / n, and zero for a head of zeros."""
    n, classes, width = 9, 4, 6
    W, b = draw.normal(size=(classes, width)), draw.normal(size=classes)
    h, y = draw.normal(size=(n, width)), draw.integers(0, classes, n)
    found = as_array(must_return(to_features(W.copy(), b.copy(), h.copy(), y.copy())))
    error = (softmax(h @ W.T + b, axis=1) - np.eye(classes)[y]) / n
    if found.shape == W.shape and is_close(found, error.T @ h):
        raise Wrong("that is the gradient of the head's own weights; asked is what reaches the features")
    if found.shape != h.shape:
        raise Wrong(f"the result has shape {found.shape}; each feature of each row has a derivative: {h.shape}")
    own = np.eye(classes)[y]
    mistakes = (
        (n * error @ W, "the mean over the rows is missing: everything is n times too large"),
        (error @ W / n, "the mean over the rows is taken twice: everything is n times too small"),
        ((softmax(h @ W.T, axis=1) - own) / n @ W, "the bias is missing in the logits"),
        (-error @ W, "the sign is turned round: with this, descent would raise the loss"),
        ((error + own / n) @ W, "the labels play no part in it"),
        ((own * error) @ W, "only the row of W of each row's own class is in it; the other logits depend on the "
         "features as well"),
    )  # fmt: skip
    tell_apart(found, mistakes, share=0.5)
    if not is_close(found, error @ W):
        raise Wrong("it differs from the numerical derivative of the mean loss with respect to the features")
    if not is_close(to_features(np.zeros_like(W), b, h, y), np.zeros_like(h)):
        raise Wrong("with a head of zeros something other than zero reaches the features")
    return (
        "a head of zeros hands down nothing, so the backbone stays where it is for the first step; a large random head "
        "hands down large gradients that have nothing to do with the task yet"
    )


@LAB.exercise(
    "02.4",
    "Softmax, twice",
    minutes=8,
    points=2,
    expects="a function of the number of classes that returns a number",
    hints=[
        "The inner softmax gives numbers between 0 and 1. Which of these make the outer one most certain of the right "
        "class?",
        "The best case: 1 for the right class, 0 for the K − 1 others. Put these into softmax as if they were logits.",
    ],
)
def check_floor(draw: np.random.Generator, floor) -> str:
    """log((e + K − 1)/e)."""
    for classes in map(int, draw.integers(12, 60, 3)):
        found = as_number(must_return(floor(classes)))
        right = np.log((np.e + classes - 1) / np.e)
        if is_close(found, right, rtol=1e-3):
            continue
        certain = softmax(np.eye(classes)[:1], axis=1)
        mistakes = (
            (0, "zero is the floor of the right loss; a network that is always right does not reach it here"),
            (-np.log(softmax(certain, axis=1)[0, 0]), "that is what logits of 1 and 0 reach; the network may have "
             "larger ones, which make the inner softmax more certain", 0.5),
            (np.log(classes), "that is the loss of one that knows nothing; the question is how far down training can "
             "bring it"),
            (np.log(np.e + classes - 1), "that is the other end: certain, and wrong"),
            (np.exp(-right), "that is a probability, the best that the right class can get; the loss is asked", 0.5),
            (right / np.log(2), "that is in bits: the loss takes the natural logarithm", 0.5),
            (right / np.log(10), "that is to the base ten: the loss takes the natural logarithm", 0.5),
            (np.log((np.e + classes) / np.e), "nearly: how many other classes are there?", 0.5),
        )  # fmt: skip
        tell_apart(found, mistakes)
        if found < 0:
            raise Wrong("cross-entropy is never negative, and its floor grows with the number of classes")
        where = "gets lower than" if found > right else "never gets down to"
        raise Wrong(
            f"for {classes} classes the loss {where} your {found:.4g}: what are the best numbers that the inner "
            "softmax can hand to the outer one?"
        )
    return (
        "a loss that stops at this number while accuracy is high is how a double softmax shows itself: "
        "for ten classes the floor is above one"
    )


@LAB.exercise(
    "02.5",
    "Whose statistics?",
    minutes=12,
    points=3,
    expects="a function of x (n, d), a state and a flag that returns normalised rows and the new state",
    hints=[
        "Two sets of statistics are in play. In training the batch's own normalise, and the running ones move towards "
        "them; in evaluation the running ones normalise, and nothing moves.",
        "New running value = (1 − m) · old + m · that of the batch, with m = 0.1 in PyTorch's way of counting.",
        "Two variances, too: x.var(axis=0), with 1/n, normalises the batch; x.var(axis=0, ddof=1), with 1/(n − 1), is "
        "the one that the running variance moves towards.",
    ],
)
def check_batch_norm(draw: np.random.Generator, batch_norm) -> str:
    """Training normalises by the batch and moves the state; evaluation uses the state and leaves it."""
    x = draw.normal(2.0, 3.0, (int(draw.integers(6, 10)), 4))
    state = {"mean": draw.normal(size=4), "var": draw.uniform(0.5, 2, 4)}
    given = copy.deepcopy(state)

    def ask(training: bool) -> tuple[np.ndarray, dict]:
        answer = batch_norm(x.copy(), given, training)
        if answer is None and not training:
            raise Wrong("in evaluation your function returns nothing: is the `return` missing there?", share=0.5)
        answer = must_return(answer)
        if not (isinstance(answer, tuple | list) and len(answer) == 2):
            raise Wrong("expected two things back: the normalised rows and the new state")
        rows, new = answer
        if not (isinstance(new, dict) and {"mean", "var"} <= new.keys()):
            raise Wrong(
                "the second thing, the new state, must be a dictionary with 'mean' and 'var', in evaluation too"
            )
        return as_array(rows), new

    def normalised(mean: np.ndarray, var: np.ndarray) -> np.ndarray:
        return (x - mean) / np.sqrt(var + 1e-5)

    rows, new = ask(True)
    if any(not is_close(given[name], state[name]) for name in state):
        raise Wrong("your function changes the state that it was given; return a new one")
    if is_close(rows, normalised(**state), rtol=1e-3):
        raise Wrong("in training the rows are normalised by the running statistics; the batch has its own")
    moved = {"mean": 0.9 * state["mean"] + 0.1 * x.mean(0), "var": 0.9 * state["var"] + 0.1 * x.var(0, ddof=1)}
    across = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    mistakes = (
        (normalised(x.mean(0), x.var(0, ddof=1)), "in training the rows are divided by the root of the variance with "
         "1/(n − 1); that one is for the running statistics, the batch is normalised with 1/n", 0.5),
        (normalised(**moved), "in training the rows are normalised by the statistics that have just moved; the batch "
         "has its own"),
        (across, "each row is normalised over its columns (that is layer normalisation); here it is each column over "
         "the rows"),
        ((x - x.mean(0)) / (x.var(0) + 1e-5), "the rows are divided by the variance; the formula has its root"),
    )  # fmt: skip
    tell_apart(rows, mistakes, rtol=1e-3)
    if not is_close(rows, normalised(x.mean(0), x.var(0)), rtol=1e-3):
        raise Wrong("in training the rows do not come out with mean zero and variance one in each column")
    if is_close(new["mean"], 0.1 * state["mean"] + 0.9 * x.mean(0)):
        raise Wrong(
            "the running mean forgets nine tenths of its past in one batch: m is the share of the new", share=0.5
        )
    if is_close(new["mean"], state["mean"]):
        raise Wrong("the running statistics do not move in training", share=0.5)
    if not is_close(new["mean"], moved["mean"]):
        raise Wrong("the new running mean is not a tenth of the way from the old one to the batch's", share=0.5)
    if is_close(new["var"], 0.9 * state["var"] + 0.1 * x.var(0)):
        raise Wrong("the running variance takes in the batch's with 1/n; PyTorch takes 1/(n − 1) there", share=2 / 3)
    if not is_close(new["var"], moved["var"]):
        raise Wrong("the new running variance is not a tenth of the way from the old one to the batch's", share=0.5)
    rows, new = ask(False)
    if is_close(rows, normalised(x.mean(0), x.var(0)), rtol=1e-3):
        raise Wrong("in evaluation the batch normalises: the answer to one picture depends on the others", 0.5)
    if not is_close(rows, normalised(**state), rtol=1e-3):
        raise Wrong("in evaluation the rows are not normalised by the running statistics", share=0.5)
    if any(not is_close(new[name], state[name]) for name in state):
        raise Wrong("evaluation moves the running statistics: that is how test rows leak into a model", share=2 / 3)
    x[:, 0], given["var"] = 2.0, np.full(4, 1e-5)
    for training, used in ((True, {"mean": x.mean(0), "var": x.var(0)}), (False, given)):
        if not is_close(ask(training)[0], normalised(**used), rtol=1e-3):
            raise Wrong("where a variance is nearly zero it fails: 10⁻⁵ belongs to the variance, under the root", 2 / 3)
    return "freezing weights stops none of this, only the flag does: a frozen network belongs in evaluation mode"


@LAB.exercise(
    "02.6",
    "Pulled towards the start",
    minutes=10,
    points=2,
    expects="a function of H (d, d), w_hat (d,), w_0 (d,) and a number that returns an array (d,)",
    hints=[
        "Set the derivative to zero: H (w − ŵ) + λ (w − w₀) = 0.",
        "Collect w on one side: (H + λ I) w = H ŵ + λ w₀, and solve; np.linalg.solve does.",
    ],
)
def check_optimum(draw: np.random.Generator, optimum) -> str:
    """(H + λI)⁻¹(H ŵ + λ w₀)."""
    d = int(draw.integers(3, 7))
    root = draw.normal(size=(d, d))
    H, w_hat, w_0, strength = root @ root.T + np.eye(d), draw.normal(size=d), draw.normal(size=d), draw.uniform(0.5, 3)
    found = as_array(must_return(optimum(H.copy(), w_hat.copy(), w_0.copy(), strength)))
    both = H + strength * np.eye(d)
    if found.shape != w_hat.shape:
        raise Wrong(f"the result has shape {found.shape}; the weights have {w_hat.shape}")
    mistakes = (
        (np.linalg.solve(both, H @ w_hat), "that is pulled towards zero: weight decay, not a prior around the start"),
        (np.linalg.solve(both, H @ w_0 + strength * w_hat), "data and start have changed places"),
        (np.linalg.solve(both, H @ w_hat) + strength * w_0, "the inverse belongs to both terms, not to the first"),
        (np.linalg.solve(H + 2 * strength * np.eye(d), H @ w_hat + 2 * strength * w_0), "λ is twice too strong: "
         "the half in λ/2 ‖w − w₀‖² goes when you differentiate"),
        (np.linalg.solve(H + strength / 2 * np.eye(d), H @ w_hat + strength / 2 * w_0), "λ is only half as strong as "
         "it should be, beside H: both terms have a half in front, and both squares bring a 2"),
        (np.linalg.solve(H + strength, H @ w_hat + strength * w_0), "`H + strength` adds λ to every entry of the "
         "matrix; it belongs to the diagonal only"),
        (np.linalg.solve(both, w_hat + strength * w_0), "in the derivative of the first term H multiplies ŵ as well"),
        (np.linalg.solve(both, H @ w_hat - strength * w_0), "the sign of w₀ is turned round: it pushes away from the "
         "start"),
        (np.linalg.solve(both, H @ (w_hat - w_0)), "that is the way from the start; where does the way begin?"),
        (w_0, "that is the start itself: the data play no part", 0),
        (w_hat, "that is the data's own optimum: nothing pulls towards the start", 0),
        ((w_hat + strength * w_0) / (1 + strength), "a plain average would be right if the curvature were the same in "
         "every direction: where is H?"),
    )  # fmt: skip
    tell_apart(found, mistakes, share=0.5)
    if not is_close(found, np.linalg.solve(both, H @ w_hat + strength * w_0)):
        raise Wrong("the derivative of the penalised loss is not zero there")
    return (
        "in a direction of curvature h the answer is h/(h + λ) of the way from the start to the data's optimum: what "
        "the target's data say loudly is learnt, what they whisper stays as pre-training left it"
    )


@LAB.exercise(
    "02.7",
    "The classes are not as frequent as they were",
    minutes=10,
    points=3,
    expects="a function of p (n, K) and two priors (K,) that returns an array (n, K)",
    hints=[
        "Bayes: p(y | x) is proportional to p(x | y) p(y), and under label shift p(x | y) is the same on both sides.",
        "So each column is multiplied by how much more frequent its class is in the target than in the source.",
        "Afterwards the rows no longer add up to one.",
    ],
)
def check_adjust(draw: np.random.Generator, adjust) -> str:
    """p · q_T/q_S, rows brought back to one."""
    p = draw.dirichlet(np.ones(4), 12)
    source, target = draw.dirichlet(5 * np.ones(4)), draw.dirichlet(5 * np.ones(4))
    found = as_array(must_return(adjust(p.copy(), source.copy(), target.copy())))

    def rows(raw: np.ndarray) -> np.ndarray:
        return raw / raw.sum(axis=1, keepdims=True)

    right = rows(p * target / source)
    if found.shape != p.shape:
        raise Wrong(f"the result has shape {found.shape}, the given probabilities have {p.shape}")
    if is_close(found, right):
        return (
            "where both places have the same frequencies, nothing changes; no feature was touched and nothing trained"
        )
    if is_close(found, p * target / source):
        raise Wrong("the rows do not add up to one", share=2 / 3)
    if is_close(found, rows(p * target)) or is_close(found, p * target):
        raise Wrong("the target's frequencies are in, but the source's are still in p as well: they must be taken out")
    if is_close(found, rows(p * source / target)) or is_close(found, p * source / target):
        raise Wrong("the ratio is upside down: what is rarer in the target becomes likelier")
    raw = p * target / source
    mistakes = (
        (p, "nothing has changed: the prior of the target plays no part"),
        (rows(p / source), "the source's frequencies are out, but the target's are not in: this is right where all "
         "classes are equally frequent", 1 / 3),
        (raw / raw.sum(axis=0), "the columns add up to one; the probabilities of a row must", 2 / 3),
        (raw / raw.sum(), "the whole table adds up to one; each row must", 2 / 3),
        (rows(p * target / p.mean(axis=0)), "the mean of p stands where the source's frequencies belong: these rows "
         "need not have them"),
        (p + target - source, "frequencies are not added: this can even give negative probabilities"),
    )  # fmt: skip
    tell_apart(found, mistakes)
    raise Wrong("it is not what Bayes' rule gives with the same p(x | y) and other class frequencies")


def draw_shifted(draw: np.random.Generator) -> dict[str, np.ndarray]:
    """Return a source with equal classes and a target with very unequal ones, of the same three overlapping clouds."""
    centres = 1.2 * np.linalg.qr(draw.normal(size=(5, 3)))[0].T  # equally far apart, so that all problems are as hard
    shares = draw.permutation([0.8, 0.15, 0.05])

    def sample(n: int, frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y = draw.choice(3, n, p=frequencies)
        return centres[y] + draw.normal(size=(n, 5)), y

    (source_x, source_y), (target_x, target_y) = sample(900, np.full(3, 1 / 3)), sample(900, shares)
    return {"source_x": source_x, "source_y": source_y, "target_x": target_x, "target_y": target_y}


@LAB.exercise(
    "02.8",
    "Open challenge: a target that nobody labelled",
    minutes=20,
    points=3,
    expects="a function of source_x, source_y and target_x that returns a label for every target row",
    hints=[
        "You have `adjust`, but not the target's class frequencies. What do the source classifier's probabilities, "
        "averaged over the target's rows, tell of them?",
        "That average is a first estimate, still too close to the source's. Adjust with it, average again, and go on: "
        "this is the EM algorithm of Saerens and others (2002). A few dozen rounds are enough.",
    ],
    seconds=30,
)
def check_challenge(draw: np.random.Generator, predict) -> str:
    """Keep at least nine tenths of what the true frequencies would gain, on fresh problems."""
    ours, plain, oracle = [], [], []
    for _ in range(6):
        one = draw_shifted(draw)
        model = LogisticRegression(max_iter=1000).fit(one["source_x"], one["source_y"])
        p = model.predict_proba(one["target_x"])
        frequencies = np.bincount(one["target_y"], minlength=3) / len(one["target_y"])
        found = as_array(must_return(predict(one["source_x"].copy(), one["source_y"].copy(), one["target_x"].copy())))
        if found.shape != one["target_y"].shape:
            raise Wrong(f"expected one label for each of {len(p)} target rows, got shape {found.shape}")
        ours.append((found == one["target_y"]).mean())
        plain.append((p.argmax(1) == one["target_y"]).mean())
        oracle.append(((p * frequencies).argmax(1) == one["target_y"]).mean())
    kept = (np.mean(ours) - np.mean(plain)) / (np.mean(oracle) - np.mean(plain))
    if kept >= 0.9:
        return "nearly all of what the true frequencies would have gained was to be had without a single target label"
    if kept > 0.2:
        raise Wrong(f"it keeps {kept:.2f} of what knowing the frequencies would gain; 0.90 are wanted", 0.5)
    if kept > -0.1:
        raise Wrong("no better than the source's own classifier on the target's rows")
    raise Wrong("worse than the source's own classifier on the target's rows")
