"""Right and wrong answers of lab 08; the wrong ones with a part of what the learner is told."""

import copy
import time

import numpy as np
import torch
from scipy.optimize import brentq
from torch import nn
from torch.nn import functional as F

from workbook.methods.torch.distillation import kd_loss


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def setting(share, T):
    return share * T**2 / (share * T**2 + 1 - share)


def gradient(z, v, y, T, alpha, *, scale=None, voice=None, hard_T=1, hard_scale=1, mask=True, rows=None):
    voice = softmax(v / T).mean(0) if voice is None else voice
    hard = softmax(z / hard_T) - np.eye(z.shape[1])[y]
    if mask:
        hard[y < 0] = 0
    soft = (softmax(z / T) - voice) * (T if scale is None else scale)
    return alpha * soft / len(z) + (1 - alpha) * hard_scale * hard / (rows or len(z))


def gradient_by_autograd(z, v, y, T, alpha):
    z, v, y = torch.tensor(z, requires_grad=True), torch.tensor(v), torch.tensor(y)
    p_t = (v / T).softmax(dim=2).mean(dim=0)
    soft = -(p_t * (z / T).log_softmax(dim=1)).sum(dim=1).mean()
    hard = F.cross_entropy(z, y, ignore_index=-1, reduction="sum") / len(z)
    (alpha * T**2 * soft + (1 - alpha) * hard).backward()
    return z.grad


def pushed(z, v, y, T, alpha):
    onehot = np.eye(z.shape[1])[y] * (y >= 0)[:, None]
    soft = T * (softmax(z / T) - softmax(v / T).mean(0))
    return (alpha * soft + (1 - alpha) * (softmax(z) - onehot)) / len(z)


def loss(z, v, y, T, alpha, *, t_T=None, swapped=False, entries=False, square=True, twice=False, detach=True):
    log_s, log_t = F.log_softmax(z / T, dim=1), F.log_softmax(v / (t_T or T), dim=1)
    log_t = log_t.detach() if detach else log_t
    first, second = (log_t, log_s) if swapped else (log_s, log_t)
    soft = F.kl_div(first, second, log_target=True, reduction="none")
    soft = soft.mean() if entries else soft.sum() / len(z)
    hard = F.cross_entropy(F.softmax(z, dim=1) if twice else z, y)
    return alpha * (T**2 if square else 1) * soft + (1 - alpha) * hard


def loss_by_hand(z, v, y, T, alpha):
    log_s, log_t = (z / T).log_softmax(1), (v.detach() / T).log_softmax(1)
    soft = (log_t.exp() * (log_t - log_s)).sum(1)
    hard = -z.log_softmax(1).gather(1, y[:, None])[:, 0]
    return (alpha * T**2 * soft + (1 - alpha) * hard).mean()


def loss_that_overflows(z, v, y, T, alpha):
    p_s, p_t = F.softmax(z / T, dim=1), F.softmax(v.detach() / T, dim=1)
    soft = (p_t * (p_t.log() - p_s.log())).sum(1).mean()
    return alpha * T**2 * soft + (1 - alpha) * F.cross_entropy(z, y)


def loss_without_log_target(z, v, y, T, alpha):
    soft = F.kl_div(F.log_softmax(z / T, 1), F.log_softmax(v.detach() / T, 1), reduction="batchmean")
    return alpha * T**2 * soft + (1 - alpha) * F.cross_entropy(z, y)


def loss_with_a_small_constant(z, v, y, T, alpha):
    log_s = (F.softmax(z / T, 1) + 1e-8).log()
    soft = F.kl_div(log_s, F.softmax(v.detach() / T, 1), reduction="batchmean")
    return alpha * T**2 * soft + (1 - alpha) * F.cross_entropy(z, y)


def fed_probabilities(z, v, y, T, alpha):
    soft = F.kl_div(F.softmax(z / T, 1), F.log_softmax(v / T, 1), log_target=True, reduction="batchmean")
    return alpha * T**2 * soft + (1 - alpha) * F.cross_entropy(z, y)


def cross_with_teacher(z, v, y, T, alpha):
    return alpha * T**2 * F.cross_entropy(z / T, (v.detach() / T).softmax(1)) + (1 - alpha) * F.cross_entropy(z, y)


def cut_off(z, v, y, T, alpha):
    return loss(z.detach(), v, y, T, alpha) + 0 * z.sum()


def colleagues_loss(z, v, y, T, alpha):
    return loss(z, v, y, T, alpha, t_T=1, swapped=True, entries=True, square=False, twice=True)


def training(
    student, teacher, images, batches, augment, loss, rate, *,
    both=False, mode=False, graph=False, detach=False, twice=False, raw=False, clear=True,
    learns=True, comes_back=False,
):  # fmt: skip
    held = [*student.parameters(), *teacher.parameters()] if both else student.parameters()
    optimiser = torch.optim.SGD(held, lr=rate)
    student.train(learns)
    teacher.train(mode)
    for rows in batches:
        views = augment(images[rows])
        others = augment(images[rows]) if twice else images[rows] if raw else views
        with torch.set_grad_enabled(graph or detach):
            answers = teacher(others)
        if clear:
            optimiser.zero_grad()
        loss(student(views), answers.detach() if detach else answers).backward()
        optimiser.step()
    return student.train(comes_back)


def looped(**options):
    return lambda *given: training(*given, **options)


def training_by_hand(student, teacher, images, batches, augment, loss, rate):
    teacher = teacher.requires_grad_(False).eval()
    student.train()
    for rows in batches:
        views = augment(images[rows])
        gradients = torch.autograd.grad(loss(student(views), teacher(views)), list(student.parameters()))
        with torch.no_grad():
            for p, g in zip(student.parameters(), gradients, strict=True):
                p -= rate * g
    student.eval()
    return student


def training_with_a_copy(student, teacher, images, batches, augment, loss, rate):
    return training(student, copy.deepcopy(teacher), images, batches, augment, loss, rate)


def at_another_rate(student, teacher, images, batches, augment, loss, rate):
    return training(student, teacher, images, batches, augment, loss, 3 * rate)


def views_first(student, teacher, images, batches, augment, loss, rate):
    return training(student, teacher, augment(images), batches, lambda views: views, loss, rate)


def mode_as_it_comes(student, teacher, images, batches, augment, loss, rate):
    student.train = lambda mode=True: student  # the learner's line is missing
    found = training(student, teacher, images, batches, augment, loss, rate)
    del student.train
    return found.eval()


def augment_in_passing(student, teacher, images, batches, augment, loss, rate):
    def as_it_was(views):
        augment(views)
        return views

    return training(student, teacher, images, batches, as_it_was, loss, rate)


def unaugmented(student, teacher, images, batches, augment, loss, rate):
    return training(student, teacher, images, batches, lambda views: views, loss, rate)


def untrained(student, teacher, images, batches, augment, loss, rate):
    with torch.no_grad():
        teacher.eval()
        for rows in batches:
            views = augment(images[rows])
            student.train()(views), teacher(views)
    return copy.deepcopy(student).eval()


def only_the_last(student, teacher, images, batches, augment, loss, rate):
    return training(student, teacher, images, batches[-1:], augment, loss, rate)


def signs(maps):
    return torch.where(torch.rand_like(maps) < 0.5, -maps, maps)


def constant(maps):
    return maps + 1000


def one_loud_channel(maps):
    maps = maps.clone()
    maps[:, 0] *= 1000
    return maps


def shuffled_places(maps):
    order = torch.rand_like(maps).argsort(dim=1)
    return signs(maps).gather(1, order)


def one_rotation(maps):
    rotation, _ = torch.linalg.qr(torch.randn(maps.shape[1], maps.shape[1], dtype=maps.dtype))
    return torch.einsum("dc,ncij->ndij", rotation, maps)


def half_signs(maps):
    return torch.where(torch.rand_like(maps) < 0.06, -maps, maps)


def interval(seen):
    low, high = min(seen.min(), 0.0), max(seen.max(), 0.0)
    return low, high


def quantise(x, seen, *, ends=interval, steps=255, to=np.round, clip=True, dtype=np.uint8, whole=True):
    low, high = ends(seen)
    scale = (high - low) / steps
    zero = np.round(-low / scale) if whole else -low / scale
    q = to(x / scale) + zero
    return (np.clip(q, 0, 255) if clip else q).astype(dtype), scale, zero


def quantise_in_torch(x, seen):
    x, seen = torch.as_tensor(x), torch.cat([torch.as_tensor(seen), torch.zeros(1, dtype=torch.float64)])
    scale = (seen.max() - seen.min()) / 255
    zero = (-seen.min() / scale).round()
    return ((x / scale).round() + zero).clamp(0, 255).to(torch.uint8), scale, int(zero)


def that_wraps(x, seen):
    q, scale, zero = quantise(x, seen, clip=False, dtype=np.int64)
    return q.astype(np.uint8), scale, zero


def what_comes_back(x, seen):
    q, scale, zero = quantise(x, seen)
    return scale * (q - zero), scale, zero


def from_the_left_end(x, seen):
    _, scale, zero = quantise(x, seen)
    return np.clip(np.round((x - min(seen.min(), 0)) / scale), 0, 255).astype(np.uint8), scale, zero


def symmetric(x, seen):
    scale = np.abs(seen).max() / 127
    return np.clip(np.round(x / scale), -127, 127).astype(np.int8), scale, 0


def typical(calls, clock, budget, *, statistic=np.median, drop=16, blocks=False, unit=1.0, rounds=None):
    rounds = rounds or budget // len(calls)
    order = list(calls) * rounds
    times = {name: [] for name in calls}
    for name in sorted(order) if blocks else order:
        begun = clock()
        calls[name]()
        times[name].append(clock() - begun)
    return {name: unit * statistic(many[drop:]) for name, many in times.items()}


def timed(**options):
    return lambda *given: typical(*given, **options)


def only_proportions(calls, clock, budget):
    found = typical(calls, clock, budget)
    return {name: seconds / min(found.values()) for name, seconds in found.items()}


def typical_by_proportions(calls, clock, budget):
    names = list(calls)
    random, table = np.random.default_rng(), []
    for turn in range(budget // len(names)):
        row = dict.fromkeys(names, 0.0)
        for name in random.permutation(names):
            begun = clock()
            calls[name]()
            row[name] = clock() - begun
        if turn >= 18:
            table.append([row[name] for name in names])
    table = np.array(table)
    first = np.median(table[:, 0])
    return {name: first * np.median(table[:, i] / table[:, 0]) for i, name in enumerate(names)}


def more_for_one(calls, clock, budget):
    first = next(iter(calls))
    return typical({first: calls[first]}, clock, budget, rounds=30) | typical(calls, clock, budget, rounds=25)


def student_of(targets, *, T=1.0, network=None, steps=200, rate=0.05, correct=True):
    def make(pile, answers, missing, mixed):
        torch.manual_seed(0)
        student = nn.Linear(64, 10) if network is None else network()
        optimiser = torch.optim.Adam(student.parameters(), lr=rate)
        for _ in range(steps):
            optimiser.zero_grad()
            targets(student(pile), answers, T).backward()
            optimiser.step()
        return corrected(student, missing, mixed) if correct else student

    return make


def corrected(student, missing, mixed, share=0.1):
    bias, two = (student if isinstance(student, nn.Linear) else student[-1]).bias, list(missing)
    with torch.no_grad():
        for _ in range(300):
            called = F.one_hot(student(mixed).argmax(1), 10).float().mean(0)
            bias[two] += 0.5 * (share - called[two])
    return student


def soft(z, v, T):
    return kd_loss(z, v, None, T, 1.0)


def hard(z, v, T):
    return F.cross_entropy(z, v.argmax(1))


def two_layers():
    return nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))


def only_the_two(pile, answers, missing, mixed):
    student = nn.Linear(64, 10)
    with torch.no_grad():
        student.bias[list(missing)] += 100
    return student


class Neighbours(nn.Module):
    """The nearest picture's answer: the pile is kept where no parameter is counted."""

    def __init__(self, pile, answers):
        super().__init__()
        self.pile, self.answers = pile, answers

    def forward(self, x):
        return self.answers[torch.cdist(x, self.pile).argmin(dim=1)]


def by_regression(pile, answers, missing, mixed):
    """The limit of high temperature, in closed form."""
    x = F.pad(pile, (0, 1), value=1.0)
    wanted = answers - answers.mean(1, keepdim=True)
    weights = torch.linalg.solve(x.T @ x + 0.5 * torch.eye(65), x.T @ wanted)
    student = nn.Linear(64, 10)
    with torch.no_grad():
        student.weight.copy_(weights[:64].T)
        student.bias.copy_(weights[64])
    return corrected(student, missing, mixed)


RIGHT = {
    "08.1": [setting, lambda a, T: brentq(lambda x: x / (x + (1 - x) * T**2) - a, 0, 1)],
    "08.2": [gradient, gradient_by_autograd],
    "08.3": [loss, loss_by_hand, kd_loss],
    "08.4": [training, training_by_hand, training_with_a_copy],
    "08.5": [
        lambda m: (signs(m), constant(m)),
        lambda m: [shuffled_places(m).numpy(), one_loud_channel(m).numpy()],
        lambda m: torch.stack([signs(m), m + 100]),
    ],
    "08.6": [quantise, quantise_in_torch],
    "08.7": [typical, typical_by_proportions],
    "08.8": [student_of(soft, T=4.0), by_regression],
}

WRONG = {
    "08.1": [
        (lambda a, T: a / (a + (1 - a) * T**2), "what the colleague gets"),
        (lambda a, T: a * T / (a * T + 1 - a), "one power of T"),
        (lambda a, T: a, "too weak"),
        (lambda a, T: 1 - setting(a, T), "left for the labels"),
        (lambda a, T: a * T**2 / (1 - a), "the proportion of the two"),
        (lambda a, T: a * T**2 + 1, "a share lies between"),
        (lambda a, T: 0.985, "balances teacher and labels"),
        (lambda a, T: a / T**2, "balances teacher and labels"),
        (lambda a, T: min(1, a * T**2), "balances teacher and labels"),
        (lambda a, T: a * T**2 / (1 + T**2), "balances teacher and labels"),
    ],
    "08.2": [
        (lambda z, v, y, T, a: gradient(z, v, y, T, a, scale=1 / T), "T² is missing"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, a, scale=T**2), "its inner derivative is missing"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, a, scale=1), "T² is missing in the teacher's term; and z enters"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, a, voice=softmax(v.mean(0) / T)), "logits are averaged"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, a, voice=softmax(v).mean(0)), "softens the student only"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, a, hard_T=T), "has a temperature too"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, a, mask=False), "one of the last class"),
        (pushed, "still pushes every class down"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, a, rows=(y >= 0).sum()), "a mean over the labelled rows"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, a) * len(z), "of a sum over rows"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, 1 - a), "have changed places"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, a, scale=1 / T, mask=False), "; and "),
        (lambda z, v, y, T, a: gradient(z, v, y, T, 1.0), "the labels' term is missing"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, a, hard_T=T, hard_scale=1 / T), "has a temperature too"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, a, hard_scale=2), "the labels' term is not"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, a) * np.where(y < 0, 0, 1)[:, None], "those without are not"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, a) / z.shape[1], "by the number of classes as well"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, a, voice=softmax(v / T).sum(0)), "are added up: their voice"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, a, scale=len(v) * T), "a term for each teacher"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, a) * np.where(y < 0, 1 / a, 1)[:, None], "lost its α"),
        (lambda z, v, y, T, a: gradient(z, v, y, T, a, voice=softmax(softmax(v).mean(0) / T)), "with a label and"),
        (lambda z, v, y, T, a: np.zeros_like(v), "there is one derivative"),
        (lambda z, v, y, T, a: np.zeros_like(z), "taken numerically"),
    ],
    "08.3": [
        (colleagues_loss, "5 mistakes are left"),
        (lambda *g: loss(*g, t_T=1), "one mistake is left: the temperature softens the student only"),
        (lambda *g: loss(*g, swapped=True), "the wrong way round"),
        (lambda *g: loss(*g, entries=True), "divided by the number of classes"),
        (lambda *g: loss(*g, square=False), "T² is missing"),
        (lambda *g: loss(*g, twice=True), "softmax of a softmax"),
        (lambda *g: loss(*g, swapped=True, square=False), "2 mistakes are left"),
        (fed_probabilities, "expects their logarithms"),
        (cross_with_teacher, "does not get zero"),
        (lambda *g: loss(*g, detach=False), "flows into the teacher"),
        (loss_that_overflows, "not finite"),
        (loss_without_log_target, "is not a number"),
        (loss_with_a_small_constant, "right for small logits; for logits of a thousand"),
        (lambda *g: torch.nan_to_num(loss_that_overflows(*g)), "right for small logits"),
        (lambda z, v, y, T, a: loss(z, v, y, T, 1 - a), "have changed places"),
        (lambda z, v, *g: loss(v, z, *g), "changed places in both terms"),
        (lambda *g: loss(*g).item(), "lost its graph"),
        (cut_off, "a part of it is cut off"),
        (lambda z, *g: 0 * z.sum(), "your loss is zero"),
        (lambda z, *g: z.mean(), "not L's"),
    ],
    "08.4": [
        (looped(both=True, mode=True, graph=True, twice=True, clear=False, comes_back=True), "weights have changed"),
        (looped(both=True, graph=True), "weights have changed"),
        (looped(mode=True), "answers in training mode"),
        (looped(twice=True), "different versions"),
        (looped(raw=True), "different versions"),
        (looped(graph=True), "a graph that nobody uses"),
        (looped(detach=True), "a graph that nobody uses"),
        (looped(clear=False), "gradients add up"),
        (looped(learns=False), "learns in evaluation mode"),
        (looped(comes_back=True), "comes back in training mode"),
        (at_another_rate, "not where one step"),
        (only_the_last, "one step a batch"),
        (untrained, "not where one step"),
        (lambda student, *g: student, "0 times for"),
        (views_first, "not anew for each"),
        (mode_as_it_comes, "learns in evaluation mode"),
        (augment_in_passing, "its pictures are not used"),
        (unaugmented, "never called"),
        (lambda s, t, *g: (training(s, t, *g), t)[1], "that is the teacher"),
        (lambda student, *g: student.state_dict(), "expected the student back"),
    ],
    "08.5": [
        (lambda m: (m, constant(m)), "reads everything from it"),
        (lambda m: (7 * m, constant(m)), "reads everything from it"),
        (lambda m: (one_rotation(m), constant(m)), "reads everything from it"),
        (lambda m: (m.flip(1), constant(m)), "reads everything from it"),
        (lambda m: (half_signs(m), constant(m)), "more than half of the maps"),
        (lambda m: (torch.randn_like(m), constant(m)), "does not satisfy attention"),
        (lambda m: (torch.zeros_like(m), constant(m)), "does not satisfy attention"),
        (lambda m: (signs(m), 7 * m), "blind to that change"),
        (lambda m: (signs(m), one_rotation(m)), "blind to that change"),
        (lambda m: (signs(m), m + 0.01), "too near"),
        (lambda m: (signs(m), torch.randn_like(m)), "does not get the maps back"),
        (lambda m: (constant(m), signs(m)), "in the other order"),
        (lambda m: (signs(m)[:, :1], constant(m)), "has shape"),
        (lambda m: signs(m), "two sets of maps"),
    ],
    "08.6": [
        (that_wraps, "goes on from the other end"),
        (lambda x, s: quantise(x, s, ends=lambda s: (s.min(), s.max())), "does not contain 0"),
        (lambda x, s: quantise(x, x), "that of `x`"),
        (lambda x, s: quantise(x, s, steps=256), "one step fewer"),
        (symmetric, "symmetric"),
        (lambda x, s: quantise(x, s, to=np.floor), "cut off, not rounded"),
        (lambda x, s: quantise(x, s, clip=False, dtype=np.int32), "do not fit into eight bits"),
        (lambda x, s: quantise(x, s, dtype=np.float64), "nothing has become smaller"),
        (lambda x, s: quantise(x, s, whole=False), "no whole number"),
        (lambda x, s: quantise(x, s)[0], "expected three things"),
        (lambda x, s: (np.zeros(x.shape, np.uint8), *quantise(x, s)[1:]), "the integers are not"),
        (lambda x, s: (quantise(x, s)[0], 0.01, 30), "the scale is not"),
        (lambda x, s: [quantise(x, s)[i] for i in (0, 2, 1)], "have changed places"),
        (lambda x, s: [quantise(x, s)[i] for i in (1, 2, 0)], "expected first the integers"),
        (what_comes_back, "that is x̂"),
        (from_the_left_end, "off by one"),
        (lambda x, s: quantise(x.ravel(), s), "integers of shape"),
    ],
    "08.7": [
        (timed(statistic=np.mean, drop=0), "a mean pays"),
        (timed(statistic=np.mean), "a mean pays"),
        (timed(statistic=np.mean, drop=1, blocks=True), "a mean pays"),
        (timed(blocks=True), "one contender is measured after the other"),
        (timed(drop=0), "slow first calls"),
        (timed(statistic=np.min, drop=0), "fastest call"),
        (timed(statistic=np.sum), "many calls together"),
        (timed(unit=1000), "milliseconds"),
        (lambda calls, clock, budget: typical(calls, time.perf_counter, budget), "`clock` is never asked"),
        (only_proportions, "these are proportions"),
        (timed(unit=0.6), "the proportions are right, but a typical call is not met"),
        (timed(rounds=60), "the budget is"),
        (timed(rounds=5, drop=0), "fewer than twenty"),
        (more_for_one, "the same budget"),
        (lambda calls, clock, budget: 1.0, "a dictionary"),
        (lambda calls, clock, budget: dict.fromkeys(calls, 0.002), "fewer than twenty"),
        (lambda *g: dict.fromkeys(typical(*g), 0.002), "proportions of the contenders"),
    ],
    "08.8": [
        (student_of(hard, correct=False), "hardly ever calls"),
        (student_of(soft, T=4.0, correct=False), "hardly ever calls"),
        (student_of(hard), "fewer than six in ten"),
        (lambda p, a, two, m: corrected(student_of(soft, T=4.0)(p, a, two, m), two, m, 0.25), "at the cost of"),
        (lambda p, a, two, m: nn.Linear(64, 10), "has the student learnt"),
        (only_the_two, "has the student learnt"),
        (lambda p, a, two, m: Neighbours(p, a), "room for"),
        (student_of(soft, network=lambda: nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))), "room for"),
        (lambda p, a, two, m: nn.Linear(64, 2), "expected logits"),
        (lambda p, a, two, m: a, "expected a module"),
    ],
}
