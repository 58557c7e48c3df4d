"""Lab 02, the mathematics: checkers. The lab is ``labs/02_mathematics.ipynb``."""

import copy

import numpy as np
from sklearn.linear_model import LogisticRegression

from workbook.exercises.exercise import Lab, Wrong
from workbook.exercises.values import as_array, as_number, is_close, must_return, tell_apart

LAB = Lab("02")


def _softmax(z: np.ndarray) -> np.ndarray:
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return z / z.sum(axis=1, keepdims=True)


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
        if is_close(found, 1 / classes, rtol=1e-2):
            raise Wrong(
                "that is the probability of each class, which is also the accuracy of guessing; the loss is asked"
            )
        if is_close(found, 1 - 1 / classes, rtol=1e-3):
            raise Wrong("that is the error rate of guessing; cross-entropy is another number")
        if is_close(found, np.log2(classes), rtol=1e-3):
            raise Wrong("that is in bits: the course, and every framework, takes the natural logarithm")
        if found == 0:
            raise Wrong("a loss of zero would mean that the head is certain and right")
        raise Wrong(f"not for {classes} classes")
    return (
        "a first loss far above log K says that the head does not start neutral, one far below it that labels have "
        "leaked into the inputs: it is the cheapest test of a training script"
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
        "Both cases in one formula: p_i − [i = y].",
        "The loss is a mean over n rows, and exp overflows beyond 700: subtract each row's largest logit before exp.",
    ],
)
def check_gradient(draw: np.random.Generator, gradient) -> str:
    """(p − onehot) / n, in every row, without overflow."""
    n, classes = int(draw.integers(5, 12)), int(draw.integers(3, 7))
    z, y = draw.normal(0, 2, (n, classes)), draw.integers(0, classes, n)
    found = as_array(must_return(gradient(z.copy(), y.copy())))
    p, onehot = _softmax(z), np.eye(classes)[y]
    right = (p - onehot) / n
    if found.shape != z.shape:
        raise Wrong(f"the gradient has shape {found.shape}; there is one derivative for each logit: {z.shape}")
    if not is_close(found, right):
        mistakes = (
            (n * right, "that is the gradient of the *sum* of the losses; the loss is their mean"),
            (-right, "the sign is turned round: with this, descent would raise the loss"),
            (p / n, "the softmax is there, but the label is not: every class would be pushed down"),
            (p, "the softmax is there, but neither the label nor the mean"),
        )
        tell_apart(found, mistakes, share=1 / 3)
        columns = np.exp(z) / np.exp(z).sum(axis=0)
        if is_close(found, (columns - onehot) / n):
            raise Wrong("softmax must add up to one over the classes of a row, here it does over the rows of a class")
        raise Wrong("it differs from the derivative of the mean loss, taken numerically")
    far = as_array(gradient(np.array([[1000.0, 0.0, -1000.0], [0.0, 1000.0, 0.0]]), np.array([1, 1])))
    if not np.isfinite(far).all():
        raise Wrong("right for small logits, but not finite for a logit of 1000: exp has overflowed", share=2 / 3)
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
    error = (_softmax(h @ W.T + b) - np.eye(classes)[y]) / n
    if found.shape == W.shape and is_close(found, error.T @ h):
        raise Wrong("that is the gradient of the head's own weights; asked is what reaches the features")
    if found.shape != h.shape:
        raise Wrong(f"the result has shape {found.shape}; each feature of each row has a derivative: {h.shape}")
    if is_close(found, n * error @ W):
        raise Wrong("the mean over the rows is missing: everything is n times too large", share=0.5)
    if is_close(found, (_softmax(h @ W.T) - np.eye(classes)[y]) / n @ W):
        raise Wrong("the bias is missing in the logits", share=0.5)
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
    for classes in map(int, draw.integers(3, 300, 3)):
        found = as_number(must_return(floor(classes)))
        right = np.log((np.e + classes - 1) / np.e)
        if is_close(found, right, rtol=1e-3):
            continue
        if found == 0:
            raise Wrong("zero is the floor of the right loss; a network that is always right does not reach it here")
        if is_close(found, np.log(classes), rtol=1e-3):
            raise Wrong(
                "that is the loss of one that knows nothing; the question is how far down training can bring it"
            )
        if is_close(found, np.log((np.e + classes) / np.e), rtol=1e-3):
            raise Wrong("nearly: how many *other* classes are there?", share=0.5)
        if found < 0:
            raise Wrong("cross-entropy is never negative, and its floor grows with the number of classes")
        raise Wrong(f"not for {classes} classes: try inputs of 1 for the right class and 0 for the others")
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
        "The batch is normalised by its variance with 1/n; the running variance moves towards the one with 1/(n − 1).",
    ],
)
def check_batch_norm(draw: np.random.Generator, batch_norm) -> str:
    """Training normalises by the batch and moves the state; evaluation uses the state and leaves it."""
    x = draw.normal(2.0, 3.0, (int(draw.integers(6, 10)), 4))
    state = {"mean": draw.normal(size=4), "var": draw.uniform(0.5, 2, 4)}
    given = copy.deepcopy(state)

    def ask(training: bool) -> tuple[np.ndarray, dict]:
        answer = must_return(batch_norm(x.copy(), given, training))
        if not (isinstance(answer, tuple | list) and len(answer) == 2):
            raise Wrong("expected two things back: the normalised rows and the new state")
        rows, new = answer
        if not (isinstance(new, dict) and {"mean", "var"} <= new.keys()):
            raise Wrong("the new state must be a dictionary with 'mean' and 'var'")
        return as_array(rows), new

    def normalised(mean: np.ndarray, var: np.ndarray) -> np.ndarray:
        return (x - mean) / np.sqrt(var + 1e-5)

    rows, new = ask(True)
    if any(not is_close(given[name], state[name]) for name in state):
        raise Wrong("your function changes the state that it was given; return a new one")
    if is_close(rows, normalised(**state), rtol=1e-3):
        raise Wrong("in training the rows are normalised by the running statistics; the batch has its own")
    if not is_close(rows, normalised(x.mean(0), x.var(0)), rtol=1e-3):
        raise Wrong("in training the rows do not come out with mean zero and variance one in each column")
    moved = {"mean": 0.9 * state["mean"] + 0.1 * x.mean(0), "var": 0.9 * state["var"] + 0.1 * x.var(0, ddof=1)}
    if is_close(new["mean"], 0.1 * state["mean"] + 0.9 * x.mean(0)):
        raise Wrong(
            "the running mean forgets nine tenths of its past in one batch: m is the share of the *new*", share=0.5
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
        return "with equal priors nothing changes; the features were not touched, and no network was trained"
    if is_close(found, p * target / source):
        raise Wrong("the rows do not add up to one", share=2 / 3)
    if is_close(found, rows(p * target)) or is_close(found, p * target):
        raise Wrong("the target's frequencies are in, but the source's are still in p as well: they must be taken out")
    if is_close(found, rows(p * source / target)) or is_close(found, p * source / target):
        raise Wrong("the ratio is upside down: what is rarer in the target becomes likelier")
    if is_close(found, p):
        raise Wrong("nothing has changed: the prior of the target plays no part")
    raise Wrong("it is not what Bayes' rule gives with the same p(x | y) and other class frequencies")


def draw_shifted(draw: np.random.Generator) -> dict[str, np.ndarray]:
    """Return a source with equal classes and a target with very unequal ones, of the same three overlapping clouds."""
    centres = draw.normal(0, 1.1, (3, 5))
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
        "this is the EM algorithm of lesson 02d and of Saerens and others (2002).",
    ],
    seconds=30,
)
def check_challenge(draw: np.random.Generator, predict) -> str:
    """Keep at least six tenths of what the true frequencies would gain, on fresh problems."""
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
    if kept >= 0.6:
        return "most of what the true frequencies would have gained was to be had without a single target label"
    if kept > 0.2:
        raise Wrong("better than the source's classifier, but below six tenths of the true frequencies' gain", 0.5)
    if kept > -0.1:
        raise Wrong("no better than the source's own classifier on the target's rows")
    raise Wrong("worse than the source's own classifier on the target's rows")
