"""Lab 08, distillation: checkers. The lab is ``labs/08_distillation.ipynb``."""

import copy
import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F

from data_scripts.handwriting import load_handwriting
from data_scripts.pretrained_torch import load_glyphnet
from workbook.exercises.exercise import Lab, Wrong
from workbook.exercises.values import as_array, as_number, is_close, must_return, tell_apart
from workbook.methods.torch.hints import attention_loss
from workbook.methods.torch.training import as_images, extract_features

LAB = Lab("08")


@LAB.exercise(
    "08.1",
    "What was written, what was meant",
    minutes=5,
    points=1,
    expects="a function of the wanted share and T that returns a number between 0 and 1",
    hints=[
        "Which proportion do the factors of KL and CE have in L? It is to be the same in the colleague's loss.",
        "α' : (1 − α') = α T² : (1 − α). Solve for α'.",
    ],
)
def check_setting(draw: np.random.Generator, setting) -> str:
    """α T² / (α T² + 1 − α)."""
    for _ in range(3):
        share, T = draw.uniform(0.2, 0.9), draw.uniform(2, 8)
        found = as_number(must_return(setting(share, T)))
        right = share * T**2 / (share * T**2 + 1 - share)
        if is_close(found, right, rtol=1e-3):
            continue
        mistakes = (
            (share / (share + (1 - share) * T**2), "that is what the colleague gets when `share` is written; which one "
             "must be written to get `share`?"),
            (share * T / (share * T + 1 - share), "one power of T is made good; how many are missing?"),
            (share, "unchanged: then the teacher's term is T² times too weak"),
            (1 - right, "that is what is left for the labels"),
            (share * T**2 / (1 - share), "that is the proportion of the two terms; α is a share of their sum"),
        )  # fmt: skip
        tell_apart(found, mistakes, rtol=1e-3)
        if not 0 <= found <= 1:
            raise Wrong(f"with α = {found:.3g} one of the two terms would be negative: a share lies between 0 and 1")
        meant = found / (found + (1 - found) * T**2)
        raise Wrong(
            f"at T = {T:.2f} an α of {found:.3f} in the colleague's loss balances teacher and labels as in L with a "
            f"share of {meant:.3f}; wanted is {share:.3f}"
        )
    return (
        "equal shares at T = 8 take an α of more than .98: who searches a grid that ends at .9, without T², "
        "finds that teachers teach nothing"
    )


# What can be forgotten in 08.2, and what the learner is told about it.
_FORGOTTEN = {
    "square": "T² is missing in the teacher's term",
    "chain": "z enters as z/T, and its inner derivative is missing",
    "voice": "the teachers' logits are averaged, not their probabilities",
    "teachers T": "the temperature softens the student only",
    "students T": "the temperature softens the teachers only",
    "added": "the teachers' probabilities are added up: their voice is no distribution",
    "each": "there is a term for each teacher, and they are added up: they speak with one voice",
    "hard T": "the labels' term has a temperature too",
    "hard T, derived": "the labels' term has a temperature too",
    "last class": "a row without a label counts as one of the last class: that is what an index of −1 means",
    "pushed": "in rows without a label the labels' term still pushes every class down",
    "labelled only": "the labels' term is a mean over the labelled rows; it is to be one over all rows",
    "alone": "in rows without a label the teachers' term has lost its α: it is α T² KL there as well",
    "sum": "that is the gradient of a sum over rows; the loss is a mean",
    "entries": "it is divided by the number of classes as well: the loss is a mean over rows",
    "shares": "α and 1 − α have changed places",
    "sign": "the sign is turned round: with this, descent would raise the loss",
}


def _gradient(z: np.ndarray, v: np.ndarray, y: np.ndarray, T: float, alpha: float, forgotten=()) -> np.ndarray:
    """The gradient of 08.2, with the mistakes named."""
    n, classes = z.shape
    has = (y >= 0)[:, None]
    v = v / (1 if "teachers T" in forgotten else T)
    voice = softmax(v.mean(axis=0), axis=-1) if "voice" in forgotten else softmax(v, axis=-1).mean(axis=0)
    soft = softmax(z / (1 if "students T" in forgotten else T), axis=-1) - voice * (
        len(v) if "added" in forgotten else 1
    )
    soft = soft * (len(v) if "each" in forgotten else 1)
    soft = soft * (1 if "square" in forgotten else T**2) / (1 if "chain" in forgotten else T)
    onehot = np.eye(classes)[y] if "last class" in forgotten else np.eye(classes)[y] * has
    hard = softmax(z / (T if {"hard T", "hard T, derived"} & set(forgotten) else 1), axis=-1) - onehot
    hard = hard / (T if "hard T, derived" in forgotten else 1)
    if not {"last class", "pushed"} & set(forgotten):
        hard = hard * has
    if "labelled only" in forgotten:
        hard = hard * n / has.sum()
    if "shares" in forgotten:
        alpha = 1 - alpha
    teachers_share = np.where(has, alpha, 1.0) if "alone" in forgotten else alpha
    both = (teachers_share * soft + (1 - alpha) * hard) / (1 if "sum" in forgotten else n)
    both = both / (classes if "entries" in forgotten else 1)
    return -both if "sign" in forgotten else both


@LAB.exercise(
    "08.2",
    "Three teachers, and rows that nobody labelled",
    minutes=12,
    points=3,
    expects="a function of z (n, K), v (m, n, K), y (n,), T and alpha that returns an array (n, K)",
    hints=[
        "One term at a time. The first is the cross-entropy of a fixed p_t, whatever made it; what is its derivative "
        "by u = z/T, and what is that of u by z?",
        "Soft: T (p_s − p_t), with p_t = softmax(v / T).mean(axis=0). Hard: softmax(z) − onehot, without a "
        "temperature, and nothing at all in rows with y = −1.",
        "np.eye(K)[-1] is the last class: set the labels' term of those rows to zero afterwards. Then divide by n.",
    ],
)
def check_gradient(draw: np.random.Generator, gradient) -> str:
    """Both terms, the mean of the teachers' probabilities, nothing of the label where there is none."""
    n, classes = int(draw.integers(8, 14)), int(draw.integers(4, 8))
    z, v = draw.normal(0, 2, (n, classes)), draw.normal(0, 3, (3, n, classes))
    y = draw.integers(0, classes, n)
    y[draw.permutation(n)[: n // 3]] = -1
    T, alpha = draw.uniform(2, 5), draw.uniform(0.3, 0.45)
    found = as_array(must_return(gradient(z.copy(), v.copy(), y.copy(), T, alpha)))
    if found.shape != z.shape:
        raise Wrong(f"the gradient has shape {found.shape}; there is one derivative for each of the logits: {z.shape}")
    right = _gradient(z, v, y, T, alpha)
    if is_close(found, right):
        return (
            "each row adds up to zero, as in 02.2; and where all teachers agree with the student, a row without a "
            "label asks for nothing"
        )
    for size, share in ((1, 2 / 3), (2, 1 / 3)):
        mistakes = (
            (_gradient(z, v, y, T, alpha, forgotten), "; and ".join(_FORGOTTEN[name] for name in forgotten))
            for forgotten in itertools.combinations(_FORGOTTEN, size)
        )
        tell_apart(found, mistakes, share=share)
    soft, hard = _gradient(z, v, y, T, 1.0), _gradient(z, v, y, T, 0.0)
    labels_missing, teachers_missing = "the labels' term is missing", "the teachers' term is missing"
    halves = ((soft, labels_missing), (alpha * soft, labels_missing), (hard, teachers_missing),
              ((1 - alpha) * hard, teachers_missing))  # fmt: skip
    tell_apart(found, halves, share=1 / 3)
    if is_close(found[y < 0], right[y < 0]):
        raise Wrong("rows without a label are right, so the teachers' term is; the labels' term is not", share=1 / 2)
    if is_close(found[y >= 0], right[y >= 0]):
        raise Wrong("rows with a label are right, those without are not", share=1 / 2)
    raise Wrong("it differs from the derivative of L, taken numerically, in rows with a label and without")


# What can be wrong with the loss of 08.3: for each choice the right one, and the others with what is said of them.
_CHOICES = {
    "teacher": {"T": "", "1": "the temperature softens the student only"},
    "student": {"T": "", "1": "the temperature softens the teacher only"},
    "arguments": {"right": "", "swapped": "the divergence is the wrong way round: KL(p_s ‖ p_t)"},
    "input": {
        "log": "",
        "p": "probabilities stand where kl_div expects their logarithms",
        "cross": "it is the cross-entropy with the teacher: the gradient is right, but a student that agrees does not "
        "get zero",
    },
    "mean": {
        "rows": "",
        "entries": "the soft term is a mean over entries, so it is divided by the number of classes as well",
        "none": "the soft term is a sum over rows, so it grows with the batch",
    },
    "square": {"T²": "", "T": "there is T where T² should be", "1": "T² is missing"},
    "hard": {
        "right": "",
        "twice": "the labels' term takes the softmax of a softmax",
        "T": "the labels' term has a temperature too",
    },
}


def _loss(z: np.ndarray, v: np.ndarray, y: np.ndarray, T: float, alpha: float, how: Mapping[str, str]) -> float:
    log_s = log_softmax(z / (T if how["student"] == "T" else 1), axis=-1)
    log_t = log_softmax(v / (T if how["teacher"] == "T" else 1), axis=-1)
    if how["arguments"] == "swapped":
        log_s, log_t = log_t, log_s
    first = 0 if how["input"] == "cross" else log_t
    second = np.exp(log_s) if how["input"] == "p" else log_s
    soft = (np.exp(log_t) * (first - second)).sum()
    soft = (
        soft
        / {"rows": len(z), "entries": z.size, "none": 1}[how["mean"]]
        * {"T²": T * T, "T": T, "1": 1}[how["square"]]
    )
    at = {"right": z, "twice": softmax(z, axis=-1), "T": z / T}[how["hard"]]
    hard = -log_softmax(at, axis=-1)[np.arange(len(y)), y].mean()
    return alpha * soft + (1 - alpha) * hard


def _ways() -> Iterator[tuple[dict[str, str], list[str]]]:
    """Yield every way to write the loss with what is wrong about it, those with few mistakes first."""
    ways = []
    for picked in itertools.product(*_CHOICES.values()):
        how = dict(zip(_CHOICES, picked, strict=True))
        ways.append((how, [said for name, choice in how.items() if (said := _CHOICES[name][choice])]))
    yield from sorted(ways, key=lambda way: len(way[1]))


@LAB.exercise(
    "08.3",
    "Five mistakes in one loss",
    minutes=12,
    points=3,
    expects="a function of two tensors of logits, labels, T and alpha that returns a tensor with one number",
    hints=[
        "Line by line: what is divided by T, and what is not? Which of F.kl_div's two arguments is the student, and "
        "what does it expect of it? By what does the mean divide? What does F.cross_entropy expect?",
        "F.kl_div(input, target, log_target=True) is KL(target ‖ input), and takes the logarithms of both.",
        "F.log_softmax is finite where log of softmax is not; reduction='batchmean' divides by the rows alone; "
        "teacher_logits.detach() lets no gradient through.",
    ],
)
def check_repaired_loss(draw: np.random.Generator, repaired_loss) -> str:
    """L, differentiable for the student only, finite for large logits."""
    n, classes = int(draw.integers(6, 12)), int(draw.integers(4, 8))
    z, v = draw.normal(0, 2, (2, n, classes))
    right, _ = next(_ways())
    y = draw.integers(0, classes, n)
    T, alpha = draw.uniform(2, 5), draw.uniform(0.35, 0.65)

    def ask(z: np.ndarray, v: np.ndarray, y: np.ndarray, *, dtype=torch.float64) -> tuple[torch.Tensor, ...]:
        student, teacher = (torch.tensor(logits, dtype=dtype, requires_grad=True) for logits in (z, v))
        return must_return(repaired_loss(student, teacher, torch.tensor(y), T, alpha)), student, teacher

    value, student, teacher = ask(z, v, y)
    if np.isnan(as_array(value)).any():
        raise Wrong(
            "for quite ordinary logits your loss is not a number: is a logarithm taken of something negative? (What "
            "F.kl_div expects second are probabilities, unless log_target says that they are logarithms.)"
        )
    found = as_number(value)
    fitting = (said for how, said in _ways() if is_close(found, _loss(z, v, y, T, alpha, how), rtol=1e-5))
    mistakes = next(fitting, None)
    if mistakes is None:
        if is_close(found, 0.0):
            raise Wrong("your loss is zero, whatever student and teacher say")
        exchanged = (
            (_loss(z, v, y, T, 1 - alpha, right), "α and 1 − α have changed places"),
            (_loss(v, z, y, T, alpha, right), "student and teacher have changed places in both terms"),
        )
        tell_apart(found, exchanged, share=1 / 2)
        raise Wrong("its value is not L's, and not that of the colleague's loss with some of its mistakes either")
    if mistakes:
        more = f"{len(mistakes)} mistakes are left, among them: " if len(mistakes) > 1 else "one mistake is left: "
        raise Wrong(more + mistakes[0], share=max(0.0, 1 - len(mistakes) / 4))
    if not isinstance(value, torch.Tensor) or not value.requires_grad:
        raise Wrong("the value is right, but nothing can be learnt from it: it has lost its graph", share=2 / 3)
    value.backward()
    if teacher.grad is not None and teacher.grad.abs().max() > 0:
        raise Wrong("the value is right, but a gradient flows into the teacher's logits", share=2 / 3)
    wanted = _gradient(z, v[None], y, T, alpha)
    if student.grad is None or not is_close(student.grad, wanted):
        raise Wrong("the value is right, but the student's gradient is not: a part of it is cut off", share=1 / 3)
    far, rare = np.array([[1000.0, 0.0, -1000.0], [0.0, 3000.0, 0.0]]), np.array([1, 0])
    value, student, _ = ask(far, -far, rare, dtype=torch.float32)
    value.backward()
    if not (np.isfinite(as_array(value)).all() and np.isfinite(as_array(student.grad)).all()):
        raise Wrong("right for small logits, but not finite for logits of a thousand", share=2 / 3)
    wanted = _loss(far, -far, rare, T, alpha, right)
    if not is_close(as_number(value), wanted, rtol=1e-3):
        raise Wrong(
            f"right for small logits; for logits of a thousand it is finite, but {as_number(value):.0f} where L is "
            f"{wanted:.0f}", share=2 / 3
        )  # fmt: skip
    return (
        "none of the five had stopped the training; a student that is its teacher's equal, and a comparison with the "
        "formula on random numbers, show all of them in a second"
    )


def small_network(seed: int, *, width: int = 16, classes: int = 5) -> nn.Module:
    """Return a network with batch normalisation for pictures ``(n, 1, 8, 8)``, with its own weights for each seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(64, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, classes)]
        return nn.Sequential(nn.Flatten(), *layers)


class _Watched(nn.Module):
    """A network that notes what it is asked, in which mode, and whether its answer has a graph."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.notes: list[tuple[torch.Tensor, bool, bool]] = []

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        answer = self.network(views)
        self.notes.append((views.detach().clone(), self.training, answer.requires_grad))
        return answer


class _Jitter:
    """Pictures made lighter or darker and shifted, otherwise at each call; the calls are counted."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)
        self.calls = 0

    def __call__(self, views: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        light = torch.randn(len(views), 1, 1, 1, generator=self.generator)
        by = int(torch.randint(1, 4, (), generator=self.generator))
        return views.roll(by, dims=3) + 0.5 * light


def _mean_divergence(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    log_s, log_t = (F.log_softmax(logits / 2.0, dim=1) for logits in (student, teacher))
    return 4 * F.kl_div(log_s, log_t, log_target=True, reduction="batchmean")


def _trained(student, teacher, images, batches, augment, rate: float, *, clear: bool = True) -> list[torch.Tensor]:
    """The student's state after the loop of 08.4, done right, or without ever setting gradients to zero."""
    student.train()
    teacher.eval()
    optimiser = torch.optim.SGD(student.parameters(), lr=rate)
    for rows in batches:
        views = augment(images[rows])
        with torch.no_grad():
            answers = teacher(views)
        if clear:
            optimiser.zero_grad()
        _mean_divergence(student(views), answers).backward()
        optimiser.step()
    return list(student.state_dict().values())


def _same(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return len(some) == len(others) and all(
        torch.allclose(a.double(), b.double(), atol=1e-5) for a, b in zip(some, others, strict=True)
    )


@LAB.exercise(
    "08.4",
    "Who is being taught?",
    minutes=15,
    points=3,
    expects="a function of student, teacher, images, batches, augment, loss and a rate that returns the student",
    hints=[
        "Two networks, two roles. Which of them may change, which mode belongs to which, and who needs a graph?",
        "Count the calls of `augment` for one batch. And what do `backward` calls do to gradients that are there?",
        "views = augment(images[rows]) once; the teacher, in evaluation mode and under torch.no_grad(), and the "
        "student, in training mode, both answer for `views`; the optimiser holds the student's parameters, and "
        "sets gradients to zero before each `backward`.",
    ],
)
def check_training(draw: np.random.Generator, training) -> str:
    """The teacher untouched, one view a batch, plain SGD on the student, which comes back in evaluation mode."""
    seeds = [int(seed) for seed in draw.integers(0, 2**31, 4)]
    generator = torch.Generator().manual_seed(seeds[0])
    images = torch.randn(48, 1, 8, 8, generator=generator)
    batches = list(torch.randperm(48, generator=generator).split(12))
    student, teacher = (_Watched(small_network(seed)) for seed in seeds[1:3])
    teacher.train()
    teacher(images + 1)  # running statistics of its own
    student.eval()  # each network comes in the mode that the loop does not want
    rate, teacher.notes = draw.uniform(0.05, 0.2), []
    began, kept = copy.deepcopy(student), copy.deepcopy(teacher)

    def after(*, clear: bool) -> list[torch.Tensor]:
        networks = copy.deepcopy(began), copy.deepcopy(kept)
        return _trained(*networks, images, batches, _Jitter(seeds[3]), rate, clear=clear)

    augment = _Jitter(seeds[3])
    found = must_return(training(student, teacher, images.clone(), list(batches), augment, _mean_divergence, rate))
    if not isinstance(found, nn.Module):
        raise Wrong(f"expected the student back, got {type(found).__name__}")
    if found is teacher:
        raise Wrong("that is the teacher; expected the student back")
    if not _same([p.detach() for p in teacher.parameters()], [p.detach() for p in kept.parameters()]):
        raise Wrong("the teacher's weights have changed: your optimiser holds them too")
    if not _same(list(teacher.buffers()), list(kept.buffers())) or any(mode for _, mode, _ in teacher.notes):
        raise Wrong("the teacher answers in training mode: by the batch's statistics, and its own drift", share=1 / 6)
    notes = found.notes if isinstance(found, _Watched) and found.notes else student.notes  # a copy may have learnt
    seen = [views for views, *_ in notes]
    if len(seen) != len(batches):
        raise Wrong(f"the student answered {len(seen)} times for {len(batches)} batches: one step a batch")
    asked = [views for views, *_ in teacher.notes]
    if augment.calls == 0:
        raise Wrong("`augment` is never called: the student sees every picture as it is", share=1 / 6)
    if augment.calls < len(batches):
        raise Wrong("`augment` is called before the batches are taken, not anew for each of them", share=1 / 3)
    # A copy of the teacher may have been asked: then there is nothing in its notes.
    if augment.calls > len(batches) or (asked and not _same(seen, asked)):
        raise Wrong("student and teacher answer for different versions of the pictures", share=1 / 3)
    if _same(seen, [images[rows] for rows in batches]):
        raise Wrong(
            "`augment` is called, but its pictures are not used: it returns them, and changes none", share=1 / 6
        )
    if any(graph for *_, graph in teacher.notes):
        raise Wrong("every answer of the teacher builds a graph that nobody uses: memory and time for nothing", 2 / 3)
    if not all(mode for _, mode, _ in notes):
        raise Wrong("the student learns in evaluation mode: its running statistics stay what they were", share=1 / 3)
    state = [values.detach() for values in found.state_dict().values()]
    if _same(state, list(began.state_dict().values())):
        raise Wrong("the student that comes back is as it was")
    if not _same(state, after(clear=True)):
        if _same(state, after(clear=False)):
            raise Wrong("gradients add up from step to step: nobody sets them to zero", share=1 / 2)
        raise Wrong("the student is not where one step of plain SGD for each batch, at this rate, leads", share=1 / 3)
    if found.training:
        raise Wrong("the student comes back in training mode: its answers would depend on their neighbours", 2 / 3)
    return (
        "a test for any loop of this kind: after a step every tensor of the teacher is what it was, and every "
        "trainable one of the student is not"
    )


def draw_maps(draw: np.random.Generator) -> torch.Tensor:
    """Return maps ``(N, C, H, W)`` as a ReLU leaves them, float64, some places louder than others."""
    n, channels, side = int(draw.integers(10, 16)), int(draw.integers(5, 9)), int(draw.integers(6, 9))
    loud = np.exp(draw.normal(0, 0.3, (n, 1, side, side)))
    return torch.tensor(np.maximum(draw.normal(0.2, 1, (n, channels, side, side)), 0) * loud)


def left_over(maps, given) -> float:
    """Return the share of the variance of maps ``(N, C, H, W)`` that the best 1×1 convolution of others leaves over."""
    target, inputs = (np.moveaxis(as_array(one), 1, -1) for one in (maps, given))
    target, inputs = (one.reshape(-1, one.shape[-1]) for one in (target, inputs))
    target = target - target.mean(axis=0)
    inputs = inputs - inputs.mean(axis=0)
    inputs = inputs / np.maximum(inputs.std(axis=0), 1e-12)
    rest = target - inputs @ np.linalg.lstsq(inputs, target, rcond=1e-10)[0]
    return float((rest**2).sum() / (target**2).sum())


@LAB.exercise(
    "08.5",
    "Two forgeries",
    minutes=15,
    points=3,
    expects="a function of maps (N, C, H, W) that returns two sets of maps of that shape",
    hints=[
        "Look at one place: C numbers. Attention keeps the sum of their squares, and nothing else. What may you do to "
        "the numbers, at each place anew, that keeps it?",
        "For the second: the regressor can undo any fixed mixture of the channels, and a constant. Which of those "
        "changes where the squares are large?",
        "A random sign for every number leaves the squares; a large constant added to all makes every place alike.",
    ],
)
def check_forge(draw: np.random.Generator, forge) -> str:
    """One with the attention and without the content, one the other way round."""
    for _ in range(2):
        maps = draw_maps(draw)
        given = as_array(maps)
        answer = must_return(forge(maps.clone()))
        if getattr(answer, "ndim", 0) == 5:  # both in one tensor
            answer = list(answer)
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise Wrong("expected two sets of maps, as a tuple")
        first, second = map(as_array, answer)
        for which, one in (("first", first), ("second", second)):
            if one.shape != given.shape:
                raise Wrong(f"the {which} has shape {one.shape}, the given maps have {given.shape}")
            if not np.isfinite(one).all():
                raise Wrong(f"not every number of the {which} is finite")
        apart = [attention_loss(maps, torch.tensor(one)).item() for one in (first, second)]
        left = left_over(given, first), left_over(given, second)
        good = apart[0] < 1e-6 and left[0] >= 0.5, apart[1] >= 0.1 and left[1] < 1e-6
        share = 0.5 if any(good) else 0.0
        if apart[1] < 1e-6 and left[1] >= 0.5 and apart[0] >= 0.1 and left[0] < 1e-6:
            raise Wrong("both forgeries are there, in the other order", share=2 / 3)
        if apart[0] >= 1e-6:
            raise Wrong("the first does not satisfy attention: at some place the sum of squares is another", share)
        if left[0] < 1e-6:
            raise Wrong(
                "the first satisfies attention, and a regressor reads everything from it: a change that is the same at "
                "every place is one that a 1×1 convolution undoes",
                share,
            )
        if left[0] < 0.5:
            raise Wrong(
                "the first satisfies attention, but a regressor reads more than half of the maps from it", share
            )
        if left[1] >= 1e-6:
            raise Wrong("the first is a good forgery; from the second, a regressor does not get the maps back", share)
        if apart[1] < 1e-6:
            raise Wrong(
                "the first is a good forgery; the second satisfies attention as well: it is blind to that change", share
            )
        if apart[1] < 0.1:
            raise Wrong(
                "the first is a good forgery; the second's attention is too near to that of the maps, with a loss of "
                f"{apart[1]:.3f}; if chance decides, go further",
                share,
            )
    return (
        "attention is blind to what is there, hints to how loudly it is said. Before you add a loss, forge something "
        "that satisfies it: then you know what it does not ask for"
    )


@LAB.exercise(
    "08.6",
    "Eight bits",
    minutes=10,
    points=2,
    expects="a function of two arrays that returns integers of eight bits, a scale and a zero point",
    hints=[
        "The interval is that of `seen`, and must contain 0, even where every value of `seen` is positive.",
        "What becomes of 256 when it is put into eight bits? Deal with what lies outside before you convert.",
        "low = min(seen.min(), 0), high = max(seen.max(), 0); q = clip(round(x / s) + o, 0, 255).astype(np.uint8).",
    ],
)
def check_quantise(draw: np.random.Generator, quantise) -> str:
    """The calibration's interval, widened to 0; rounded, clipped, in uint8."""
    middle = draw.uniform(1, 3)
    for shift in (0.3, middle, -middle):
        seen = shift + draw.uniform(-0.9, 0.9, 300)
        x = np.append(shift + draw.normal(0, 1.2, 60), [0.0, 4 * shift]).reshape(31, 2)
        answer = must_return(quantise(x.copy(), seen.copy()))
        if not isinstance(answer, tuple | list) or len(answer) != 3:
            raise Wrong("expected three things: the integers, the scale and the zero point")
        if as_array(answer[0]).size == 1 or max(as_array(one).size for one in answer[1:]) > 1:
            raise Wrong("expected first the integers, then the scale and the zero point, a single number each")
        q, scale, zero = as_array(answer[0]), as_number(answer[1]), as_number(answer[2])
        low, high = min(seen.min(), 0.0), max(seen.max(), 0.0)
        right = (high - low) / 255
        if q.shape != x.shape:
            raise Wrong(f"there are integers of shape {q.shape} for numbers of shape {x.shape}")
        if not is_close(scale, right, rtol=1e-5):
            of_x = "the interval is that of `x`: at calibration it is not known yet"
            mistakes = (
                ((max(x.max(), 0) - min(x.min(), 0)) / 255, of_x),
                (np.ptp(x) / 255, of_x),
                (np.ptp(seen) / 255, "where all calibration values have one sign, your interval does not contain 0: "
                 "then zero, of which there is most, is not stored exactly"),
                ((high - low) / 256, "256 integers have one step fewer between them"),
                *((np.abs(seen).max() / steps, "the interval is symmetric: integers are spent where nothing lies")
                  for steps in (127, 127.5, 128)),
            )  # fmt: skip
            if is_close(zero, right, rtol=1e-5) and abs(scale + low / right) < 1:
                raise Wrong("scale and zero point have changed places: the scale comes first", share=1 / 2)
            tell_apart(scale, mistakes, share=1 / 4, rtol=1e-5)
            raise Wrong("the scale is not that of the smallest interval with 0 and the calibration's values in it")
        if abs(zero - round(zero)) > 1e-9:
            raise Wrong("the zero point is no whole number, so 0 does not come back as 0", share=1 / 4)
        if abs(zero + low / right) > 0.5 + 1e-6:
            raise Wrong("the zero point is not the integer that stands for 0 in this interval", share=1 / 4)
        steps = np.round(x / right) + zero
        if is_close(q, right * (np.clip(steps, 0, 255) - zero)) or is_close(q, right * (steps - zero)):
            raise Wrong("that is x̂, what comes back from the integers; q, the integers themselves, is asked", 1 / 2)
        if (q < 0).any() or (q > 255).any():
            raise Wrong("some integers are below 0 or above 255: they do not fit into eight bits", share=1 / 2)
        if not np.array_equal(q, np.clip(steps, 0, 255)):
            if np.array_equal(q, steps % 256):
                raise Wrong("beyond the interval's end it goes on from the other end: the largest become the smallest",
                            share=1 / 2)  # fmt: skip
            rounded_down = (np.clip(cut(x / right) + zero, 0, 255) for cut in (np.floor, np.trunc))
            if (q != np.round(q)).any():
                raise Wrong("q holds numbers that are not whole", share=1 / 4)
            if any(np.array_equal(q, one) for one in (*rounded_down, np.trunc(np.clip(x / right + zero, 0, 255)))):
                raise Wrong("the numbers are cut off, not rounded: the error is up to a whole step", share=1 / 2)
            if np.abs(q - np.clip(steps, 0, 255)).max() <= 1:
                raise Wrong("some integers are off by one: x/s is rounded by itself, and so is the zero point", 1 / 2)
            raise Wrong("scale and zero point are right, the integers are not", share=1 / 4)
        if not str(getattr(answer[0], "dtype", "")).endswith("uint8"):
            kind = getattr(answer[0], "dtype", type(answer[0]).__name__)
            raise Wrong(f"the integers are right, but they are kept as {kind}: nothing has become smaller", 2 / 3)
    return (
        "inside the interval no error is above half a step; one outlier in the calibration makes every step longer, "
        "which is why some tools leave the largest values out"
    )


class Machine:
    """A simulated machine that one can time calls on: no time passes, and its troubles are known.

    Args:
        draw: of everything.
        budget: calls that are planned; the machine slows down as they are used up.
    """

    def __init__(self, draw: np.random.Generator, budget: int):
        names = ("teacher", "student", "student in int8")
        self.budget, self.log = budget, []
        self.true = dict(zip(names, draw.permutation([0.001, 0.002, 0.005]) * draw.uniform(0.8, 1.25, 3), strict=True))
        self.slow = dict(zip(names, map(int, draw.permutation([1, 8, 16])), strict=True))
        # Besides those by chance, each contender is interrupted once when it has long been warm.
        self.interrupted = {name: int(draw.integers(17, 34)) for name in names}
        self.calls = {name: functools.partial(self._call, name) for name in names}
        self._draw, self._now, self.asked = draw, 0.0, 0

    def clock(self) -> float:
        """Return the time in seconds."""
        self.asked += 1
        return self._now

    def _call(self, name: str) -> None:
        seconds = self.true[name] * (1 + 1.2 * len(self.log) / self.budget) * np.exp(self._draw.normal(0, 0.02))
        if len(self.of(name)) < self.slow[name]:
            seconds *= 8
        if self._draw.random() < 0.03 or len(self.of(name)) == self.interrupted[name]:
            seconds += 0.1
        self._now += seconds
        self.log.append((name, seconds))

    def of(self, name: str) -> list[float]:
        """Return the seconds of the calls of one contender so far."""
        return [seconds for called, seconds in self.log if called == name]


@LAB.exercise(
    "08.7",
    "Which of them answers faster?",
    minutes=15,
    points=3,
    expects="a function of calls, a clock and a budget that returns a dictionary of numbers",
    hints=[
        "Three troubles, three remedies: some calls that are not counted, a statistic that a few stragglers do not "
        "move, and an order in which a drift is the same for all.",
        "In a loop over turns, call each contender once; keep the times of each in a list of its own.",
        "Leave out the first sixteen of each list, and take the median of the rest.",
    ],
)
def check_typical(draw: np.random.Generator, typical) -> str:
    """Warm-up, medians, turns: the proportions are those of the contenders."""
    machine = Machine(draw, budget=150)
    found = must_return(typical(dict(machine.calls), machine.clock, machine.budget))
    names = list(machine.calls)
    if not isinstance(found, Mapping) or set(found) != set(names):
        raise Wrong("expected a dictionary with one number for each contender, by its name")
    values = np.array([as_number(found[name]) for name in names])
    counts = Counter(name for name, _ in machine.log)
    if len(machine.log) > machine.budget:
        raise Wrong(f"you made {len(machine.log)} calls, and the budget is {machine.budget}")
    if min(counts[name] for name in names) < 20:
        raise Wrong("a contender is called fewer than twenty times: luck decides, or its slow first calls do")
    if not machine.asked:
        raise Wrong("`clock` is never asked: the machine is simulated, and only its own clock knows its time")
    if max(counts.values()) - min(counts.values()) > 2:
        raise Wrong("some contenders get more calls than others: compare with the same budget for each", share=1 / 3)
    times = [np.array(machine.of(name)) for name in names]
    level = np.array([np.median(many[16:]) for many in times])
    true = np.array([machine.true[name] for name in names])
    if (values <= 0).any():
        raise Wrong("a call takes more than no time at all")
    proportions = np.ptp(np.log(values / true))
    if proportions < 0.09 and np.abs(np.log(values / level)).max() < 0.15:
        return (
            "the level still depends on how warm the machine was, the proportions do not: report both contenders from "
            "the same run, or neither"
        )

    if np.isclose(values, 1).any() or np.isclose(values.sum(), 1):
        raise Wrong("these are proportions; the seconds of a call are asked", share=1 / 2)

    def is_statistic(of, most: int) -> bool:
        return any(is_close(values, [of(many[w:]) for many in times], rtol=1e-3) for w in range(most))

    if is_statistic(np.mean, 19):
        raise Wrong("a mean pays for every interruption, and most for the fastest contender", share=1 / 3)
    if is_statistic(np.sum, 19):
        raise Wrong("that is the time of many calls together; one typical call is asked")
    if np.abs(np.log(values / level / 1000)).max() < 0.5:
        raise Wrong("seconds are asked; these look like milliseconds", share=1 / 2)
    switches = sum(a[0] != b[0] for a, b in itertools.pairwise(machine.log))
    if switches < len(machine.log) / 4:
        raise Wrong("one contender is measured after the other: the last one meets the warmest machine", share=1 / 3)
    if is_statistic(np.min, 19):
        raise Wrong("that is each contender's fastest call; a typical one takes longer", share=1 / 2)
    if proportions >= 0.09 and is_statistic(np.median, 16):
        raise Wrong("slow first calls are among those counted, more of them for some contenders than for others", 2 / 3)
    if proportions >= 0.09:
        raise Wrong("the proportions of the contenders are not right")
    times_as_long = np.exp(np.log(values / level).mean())
    raise Wrong(
        f"the proportions are right, but a typical call is not met: your figures are {times_as_long:.2f} times the "
        "middle of all calls that you made, slow first ones aside",
        share=2 / 3,
    )


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All handwritten digits as 64 pixels, GlyphNet's features of them, their labels."""
    task = load_handwriting()
    images = as_images(task.inputs)
    small = F.avg_pool2d(images, 4).flatten(1)
    return small.numpy(), extract_features(load_glyphnet(), images).numpy(), task.labels


def draw_unseen(draw: np.random.Generator, missing: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Return a pile without two digits, the teacher's logits for it, unlabelled mixed pictures, and test rows."""
    pixels, features, labels = _digits()
    taught, mixed, test, pile = np.split(draw.permutation(len(labels)), [200, 400, 900])
    pile = pile[~np.isin(labels[pile], missing)]
    teacher = LogisticRegression(max_iter=300).fit(features[taught], labels[taught])
    answers = teacher.decision_function(features[pile])
    arrays = {"pile": pixels[pile], "answers": answers, "mixed": pixels[mixed], "test_x": pixels[test]}
    problem = {name: torch.tensor(values, dtype=torch.float32) for name, values in arrays.items()}
    return problem | {"test_y": torch.tensor(labels[test])}


UNSEEN, ALL = 0.6, 0.85
"""What 08.8 wants of the missing digits, and of all."""


def _numbers_in(student: nn.Module) -> int:
    """Return how many numbers a module keeps: parameters, buffers and tensors that are merely attributes."""
    kept = [one for module in student.modules() for one in vars(module).values() if isinstance(one, torch.Tensor)]
    return sum(values.numel() for values in (*student.parameters(), *student.buffers(), *kept))


@LAB.exercise(
    "08.8",
    "Open challenge: two digits that it never saw",
    minutes=25,
    points=4,
    expects="a function of pile, answers, missing and mixed that returns a module with at most 1000 parameters",
    hints=[
        "What do the answers to a 5 that looks a little like a 3 say that its first choice does not? The loss of 08.3 "
        "with α = 1 listens to it; which temperature lets it hear more?",
        "On the pile the two digits were improbable everywhere, so the student's biases for them are far too low. How "
        "often should it call each of them on the mixed pictures?",
        "A linear layer, the soft loss at T = 4 and a few hundred steps of Adam; then raise the two biases, step by "
        "step, until each digit is called on a tenth of the mixed pictures.",
    ],
    seconds=30,
)
def check_challenge(draw: np.random.Generator, make_student) -> str:
    """Six in ten of the digits never seen, 85 in a hundred of all."""
    unseen, everything, called = [], [], []
    for pair in draw.permutation(10).reshape(5, 2):
        missing = int(pair[0]), int(pair[1])
        problem = draw_unseen(draw, missing)
        given = [problem[name].clone() for name in ("pile", "answers", "mixed")]
        student = must_return(make_student(given[0], given[1], missing, given[2]))
        if not isinstance(student, nn.Module):
            raise Wrong(f"expected a module, got {type(student).__name__}")
        size = _numbers_in(student)
        if size > 1000:
            raise Wrong(f"the student has {size} parameters, and the device has room for 1000")
        with torch.no_grad():
            logits = student.eval()(problem["test_x"])
        if tuple(logits.shape) != (len(problem["test_x"]), 10):
            raise Wrong(f"expected logits (n, 10), got shape {tuple(logits.shape)}")
        guesses = logits.argmax(dim=1).numpy()
        right = guesses == problem["test_y"].numpy()
        unseen.append(right[np.isin(problem["test_y"], missing)].mean())
        everything.append(right.mean())
        called.append(np.isin(guesses, missing).mean())
    if np.mean(unseen) >= UNSEEN and np.mean(everything) >= ALL:
        return (
            "it read digits of which it had seen no picture and no label, by what other digits had in common with "
            "them; what it needed besides was how frequent they are"
        )
    if np.mean(everything) < 0.3:
        raise Wrong("fewer than three in ten of all digits are read: has the student learnt?")
    if np.mean(called) < 0.1:
        raise Wrong(
            "the two digits that it never saw are a fifth of the test, and it hardly ever calls them", share=0.25
        )
    if np.mean(unseen) < UNSEEN:
        raise Wrong("it does call the missing digits, but reads fewer than six in ten of them", share=0.5)
    raise Wrong("the missing digits are read at the cost of the other eight", share=0.5)
