"""Lab 04, fine-tuning in PyTorch: checkers. The lab is ``labs/04_fine_tuning_pytorch.ipynb``."""

import copy
import functools
import itertools
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from data_scripts.photo_digits import load_photo_digits
from data_scripts.pretrained_torch import load_glyphnet
from workbook.exercises.exercise import Lab, Wrong
from workbook.exercises.values import as_array, as_number, is_close, must_return, tell_apart
from workbook.methods.torch.training import as_images

LAB = Lab("04")
Batches = list[tuple[torch.Tensor, torch.Tensor]]


def _seeded(draw: np.random.Generator) -> torch.Generator:
    """Seed PyTorch, whose state `judge` restores, and return a generator of its own."""
    seed = int(draw.integers(2**31))
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.allclose(one[name].double(), other[name].double(), rtol=1e-4, atol=1e-5) for name in other)


class SmallNetwork(nn.Module):
    """A backbone of one layer with batch normalisation, and a head, for rows ``(n, inputs)``."""

    def __init__(self, inputs: int = 5, width: int = 8, classes: int = 3):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU())
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.head(self.backbone(x))


def small_network(classes: int = 3) -> SmallNetwork:
    """Return a `SmallNetwork` with running statistics that are not those of a fresh one, in evaluation mode."""
    network = SmallNetwork(classes=classes)
    with torch.no_grad():
        network.backbone[1].running_mean.normal_(0, 0.5)
        network.backbone[1].running_var.uniform_(0.5, 2)
    return network.eval()


@LAB.exercise(
    "04.1",
    "A batch of two",
    minutes=6,
    points=1,
    expects="a function of the numbers of images, rows and columns that returns a number",
    hints=[
        "How many values of a channel does a batch hold? Every pixel of every map counts.",
        "The same sum of squares is divided by n in training and by n − 1 in the running variance; outputs are divided "
        "by the root of the variance.",
    ],
)
def check_at_prediction(draw: np.random.Generator, factor) -> str:
    """√((n − 1)/n), with n = images · height · width."""
    sizes = [(2, 1, 1), tuple(map(int, draw.integers(3, 9, 3))), (int(draw.integers(2, 5)), 1, 2)]
    for images, height, width in sizes:
        found = as_number(must_return(factor(images, height, width)))
        n = images * height * width
        right = np.sqrt((n - 1) / n)
        if is_close(found, right):
            continue
        known = [
            (1.0, "this says that the two variances are the same: one is divided by n, the other by n − 1", 0.0),
            (1 / right, "upside down: is what we divide by at prediction the larger or the smaller one?"),
            (right**2, "that is the ratio of the two variances; outputs are divided by the root of a variance"),
            (1 / right**2, "that is the ratio of the two variances, and upside down"),
        ]
        once, map_only = np.sqrt(1 - 1 / np.array([images, height * width]))
        known += [(map_only, "this counts the pixels of one image; batch norm takes those of all images together")]
        if height * width > 1:
            known += [(once, "right for maps of one pixel; but every pixel of a map is a value of its channel")]
        tell_apart(found, known, share=0.5)
        if abs(found - right) < 0.006:
            raise Wrong("near, but not near enough: is it rounded?", share=0.5)
        raise Wrong(f"not for {images} images with maps of {height} × {width}")
    return (
        "for two images and one pixel, training sends every channel to +1 and −1, whatever the inputs were, and "
        "prediction to ±.71: with so few values, batch norm belongs in evaluation mode. At n = 512 nobody notices"
    )


def _epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    batches: Batches,
    *,
    forget: str = "before",
    training: bool = True,
    rates: str = "step",
    loss_of: Callable = F.cross_entropy,
) -> dict[str, float]:
    """One epoch, right or with one of the usual mistakes; the ways to take the mean."""
    if training:
        network.train()
    losses, rows = [], []
    for x, y in batches:
        loss = loss_of(network(x), y)
        if forget == "before":
            optimiser.zero_grad()
        loss.backward()
        if rates == "too early":
            schedule.step()
        optimiser.step()
        if forget == "after":
            optimiser.zero_grad()
        if rates == "step":
            schedule.step()
        losses.append(loss.item())
        rows.append(len(y))
    if rates == "epoch":
        schedule.step()
    return {
        "rows": float(np.average(losses, weights=rows)),
        "batches": float(np.mean(losses)),
        "sum": float(np.dot(losses, rows)),
        "sum of means": float(np.sum(losses)),
        "divided twice": float(np.sum(losses) / np.sum(rows)),
        "last": losses[-1],
    }


_SAID = {
    ("forget", "never"): "the gradients of all earlier batches are still in every step: nobody clears them",
    ("forget", "after"): "gradients are cleared after each step, so those that lay there before your epoch are in the "
    "first one",
    ("training", False): "the network came in evaluation mode, and batch normalisation has stayed in it",
    ("rates", "epoch"): "the rate has changed once, at the end of the epoch; this schedule counts steps",
    ("rates", "never"): "the rate has not changed at all",
    ("rates", "too early"): "the schedule is ahead of the optimiser: the first rate is never used",
}


def _usual_mistakes() -> list[tuple[int, dict, str]]:
    """Return ``(how many, arguments of `_epoch`, what is said)`` for the mistakes one by one, and then together."""
    made = []
    for forget, training, rates in itertools.product(
        ("before", "never", "after"), (True, False), ("step", "epoch", "never", "too early")
    ):
        mistakes = {"forget": forget, "training": training, "rates": rates}
        said = [_SAID[one] for one in mistakes.items() if one in _SAID]
        made.append((len(said), mistakes, "; and ".join(said)))
    return sorted(made[1:], key=lambda one: one[0])


@LAB.exercise(
    "04.2",
    "One epoch, line by line",
    minutes=10,
    points=3,
    expects="a function of network, optimiser, schedule and batches that returns the mean loss",
    hints=[
        "Before the loop: the mode. In the loop: forward, forget old gradients, backward, step, and the schedule.",
        "Gradients add up until somebody clears them, and somebody may have left some before your epoch began.",
        "F.cross_entropy gives the mean over a batch. Multiply it by the batch's rows, add up, and divide by all rows.",
    ],
)
def check_epoch(draw: np.random.Generator, one_epoch) -> str:
    """The parameters after one epoch, and the loss in the mean over rows."""
    generator = _seeded(draw)
    start = small_network()
    sizes = [12, 12, 12, int(draw.integers(3, 6))]
    batches = [(torch.randn(n, 5, generator=generator), torch.randint(3, (n,), generator=generator)) for n in sizes]
    batches[-1] = (3 * batches[-1][0], batches[-1][1])
    stale = F.cross_entropy(start(batches[1][0]), 2 - batches[1][1])
    stale_gradients = torch.autograd.grad(stale, list(start.parameters()))

    def ready() -> tuple:
        network = copy.deepcopy(start)
        optimiser = torch.optim.SGD(network.parameters(), lr=0.2, momentum=0.5)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 / (1 + step))
        for parameter, gradient in zip(network.parameters(), stale_gradients, strict=True):
            parameter.grad = gradient.clone()
        return network, optimiser, schedule

    def after(**mistake) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        network, optimiser, schedule = ready()
        means = _epoch(network, optimiser, schedule, batches, **mistake)
        return network.state_dict(), means

    network, optimiser, schedule = ready()
    found = must_return(one_epoch(network, optimiser, schedule, [(x.clone(), y.clone()) for x, y in batches]))
    right, means = after()
    now = network.state_dict()
    if not _same(now, right):
        if all(torch.equal(value, now[name]) for name, value in start.named_parameters()):
            raise Wrong("no parameter has moved")
        if _same(now, {name: right[name] for name, _ in start.named_parameters()}):
            raise Wrong(
                "the parameters are right, but batch normalisation's running statistics are not: have rows gone "
                "through the network more than once in training mode?",
                share=2 / 3,
            )
        for count, mistakes, said in _usual_mistakes():
            # A rate that never moves and one that moves when all is over give the same network.
            moved = {"epoch": 1, "never": 0}.get(mistakes["rates"], schedule.last_epoch)
            if schedule.last_epoch == moved and _same(now, after(**mistakes)[0]):
                raise Wrong(said, share=1 / 3 if count == 1 else 0)
        other_losses = (
            (lambda z, y: F.cross_entropy(z.softmax(1), y), "a softmax stands before the loss, which has its own"),
            (lambda z, y: F.cross_entropy(z, y, reduction="sum"), "each step follows the sum of its batch's losses, "
             "not their mean"),
        )  # fmt: skip
        for loss_of, said in other_losses:
            if _same(now, after(loss_of=loss_of)[0]):
                raise Wrong(said, share=1 / 3)
        raise Wrong("the parameters are not those after one step of the optimiser, and of the schedule, a batch")
    if schedule.last_epoch != len(batches):
        raise Wrong(
            f"trained rightly; but the schedule has made {schedule.last_epoch} steps for {len(batches)} batches, so "
            "the next epoch begins at the wrong rate",
            share=2 / 3,
        )
    if isinstance(found, torch.Tensor) and found.requires_grad:
        raise Wrong("trained rightly; but the loss that you return still holds on to the graph of every batch", 2 / 3)
    found = as_number(found)
    if not is_close(found, means["rows"]):
        known = {
            "batches": f"it is the mean over batches: the {sizes[-1]} rows of the last one count as much as {sizes[0]}",
            "sum": "it is the sum over rows, not their mean",
            "sum of means": "it is the sum of the batches' losses",
            "divided twice": "each batch's loss is a mean already, and the sum of these was divided by the rows",
            "last": "it is the loss of the last batch alone",
            "afterwards": "it is the loss of the network after the last step, not those met on the way there",
        }
        with torch.no_grad():
            x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
            means["afterwards"] = F.cross_entropy(network.eval()(x), y).item()
        begin = "trained rightly; but what you return is no mean loss over rows: "
        tell_apart(found, [(means[name], begin + said) for name, said in known.items()], share=2 / 3)
        raise Wrong("trained rightly; but what you return is not the mean, over rows, of the losses that it met", 2 / 3)
    return (
        "the mean was taken while the network changed, and in training mode: it is a diary of the epoch, not the loss "
        "of any one network"
    )


def _new_head_problem(draw: np.random.Generator) -> dict:
    """Draw a network, a new head, and rows on which the best epoch is neither the first nor near the last."""
    for _ in range(500):
        generator = _seeded(draw)
        network, head = small_network(), nn.Linear(8, 4)
        teacher = torch.randn(5, 4, generator=generator)

        def rows(n: int, noise: float, teacher=teacher, generator=generator) -> tuple[torch.Tensor, torch.Tensor]:
            x = torch.randn(n, 5, generator=generator)
            y = (x @ teacher).argmax(1)
            other = torch.randint(4, (n,), generator=generator)
            return 1 + 1.5 * x, torch.where(torch.rand(n, generator=generator) < noise, other, y)

        problem = {
            "network": network,
            "head": head,
            "batches": [rows(8, 0.5) for _ in range(2)],
            "held_out": rows(40, 0.0),
            "rate": 0.5,
            "epochs": 12,
        }
        scores = _with_new_head(problem)[1]
        best = int(np.argmin(scores))
        if 1 <= best <= 8 and scores[-1] > scores[best] + 0.02:
            return problem
    raise RuntimeError("no problem was found: an error of the lab, not of the answer")


def _with_new_head(
    problem: dict, *, trained: bool = True, still: bool = True, copied: bool = True
) -> tuple[nn.Module, list[float]]:
    """The training of exercise 04.3, right or with its three mistakes, and the held-out losses."""
    network, head = copy.deepcopy((problem["network"], problem["head"]))
    network.requires_grad_(False)
    old, network.head = network.head, head
    optimiser = torch.optim.SGD((head if trained else old).parameters(), lr=problem["rate"])
    best, scores = None, []
    for _ in range(problem["epochs"]):
        network.train(not still)
        for x, y in problem["batches"]:
            loss = F.cross_entropy(network(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        network.eval()
        with torch.no_grad():
            scores.append(F.cross_entropy(network(problem["held_out"][0]), problem["held_out"][1]).item())
        if scores[-1] == min(scores):
            best = copy.deepcopy(network.state_dict())
    if copied:
        network.load_state_dict(best)
    return network, scores


@LAB.exercise(
    "04.3",
    "The best network was the last",
    minutes=15,
    points=3,
    expects="a function of network, head, batches, held_out, rate and epochs that returns the network",
    hints=[
        "Follow three things through the function: whose parameters the optimiser was given, which tensors of the "
        "backbone change although no gradient reaches them, and what `kept` is after one more epoch.",
        "An optimiser keeps the very parameters it was given; a new head has others. Running statistics are no "
        "parameters. A state dict holds no copies.",
        "Put the head in its place first. Let the backbone stay in evaluation mode all the time. Copy what is to be "
        "kept with copy.deepcopy.",
    ],
)
def check_mended(draw: np.random.Generator, mended_training) -> str:
    """The head of the best epoch, on an untouched backbone."""
    for _ in range(2):
        problem = _new_head_problem(draw)
        given = copy.deepcopy([problem[name] for name in ("network", "head", "batches", "held_out", "rate", "epochs")])
        found = must_return(mended_training(*given))
        if not (isinstance(found, nn.Module) and hasattr(found, "backbone") and hasattr(found, "head")):
            raise Wrong("expected the network back, with its backbone and its head")
        start, now = problem["network"].backbone.state_dict(), found.backbone.state_dict()
        head, first = found.head.state_dict(), problem["head"].state_dict()
        if head["weight"].shape != first["weight"].shape:
            raise Wrong("the network that comes back still has its old head")

        def is_of(head=head, problem=problem, **mistakes: bool) -> bool:
            return _same(head, _with_new_head(problem, **mistakes)[0].head.state_dict())

        trained, still = not _same(head, first), _same(now, start)
        right = is_of()
        with_moving = not right and is_of(still=False)
        share = (trained + still + (right or with_moving)) / 3
        if not trained:
            raise Wrong("the new head comes back as it was made: whose parameters does the optimiser hold?", share)
        if any(not torch.equal(start[name], now[name]) for name, _ in problem["network"].backbone.named_parameters()):
            raise Wrong("the weights of the backbone have moved; only the head was to be trained", share=1 / 3)
        if not still:
            raise Wrong("the backbone's running statistics have moved, and it was to be frozen", share)
        if right and found.backbone.training:
            raise Wrong(
                "rightly trained; but the backbone comes back in training mode: the next rows that pass through it "
                "will move its statistics",
                share=2 / 3,
            )
        if right:
            continue
        if is_of(copied=False):
            raise Wrong(
                "it is the network of the last epoch that comes back, not that of the lowest loss on held-out rows",
                share,
            )
        if with_moving or is_of(still=False, copied=False):
            raise Wrong(
                "the backbone is as it was; but while the head learnt, batch normalisation used the statistics of each "
                "batch, so the head fits another backbone than the one it now sits on",
                share=1 / 3,
            )
        raise Wrong("the head is not that of the epoch with the lowest held-out loss, scored after every epoch", 1 / 3)
    return (
        "since the backbone does nothing but evaluate, its features could be computed once and stored: the same head "
        "at a fraction of the cost. With the colleague's moving statistics that would have given another network"
    )


class Tower(nn.Module):
    """A stem, any number of blocks, and a head: layers with batch normalisation, for rows of four numbers."""

    def __init__(self, blocks: int):
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)) for _ in range(blocks))
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = torch.relu(self.stem(x))
        for block in self.blocks:
            x = x + torch.relu(block(x))
        return self.head(x)


def _rates(groups: Iterable, many: bool) -> dict[int, float]:
    """Return the rate of every parameter that the groups hold, by its id.

    Args:
        groups: as PyTorch's optimisers take them.
        many: whether the network has more than ten blocks.

    Raises:
        Wrong: they are no parameter groups, or hold a parameter twice.
    """
    found: dict[int, float] = {}
    groups = list(groups)
    if not groups:
        raise Wrong("there is no group at all")
    for group in groups:
        if not isinstance(group, dict) or not {"params", "lr"} <= group.keys():
            raise Wrong("expected a list of dictionaries, each with 'params' and 'lr'")
        parameters = group["params"]
        for parameter in [parameters] if isinstance(parameters, torch.Tensor) else list(parameters):
            if not isinstance(parameter, nn.Parameter):
                raise Wrong("'params' holds something other than parameters (names, perhaps, or copies)")
            if id(parameter) in found:
                where = "with more than ten blocks, some" if many else "some"
                raise Wrong(f"{where} parameters are in two groups; PyTorch's optimisers refuse that", share=1 / 3)
            found[id(parameter)] = as_number(group["lr"])
    return found


@LAB.exercise(
    "04.4",
    "A rate for each part",
    minutes=10,
    points=3,
    expects="a function of network, rate and decay that returns a list of parameter groups",
    hints=[
        "List the parts from the head downwards: head, the blocks from the last to the first, stem. Number i of this "
        "list gets rate · decay^i.",
        "Take each part's parameters from the *module*, `part.parameters()`, rather than by comparing names, and leave "
        "out those without requires_grad.",
    ],
)
def check_groups(draw: np.random.Generator, groups) -> str:
    """Every trainable parameter once, at the rate of its depth."""
    for blocks in (int(draw.integers(3, 5)), int(draw.integers(12, 15))):
        _seeded(draw)
        network = Tower(blocks)
        whole = int(draw.integers(1, blocks - 1))  # between others, so that it tells whether it was counted
        half = (whole + int(draw.integers(1, blocks))) % blocks
        network.blocks[whole].requires_grad_(False)
        network.blocks[half][0].requires_grad_(False)
        trainable = {n: p for n, p in network.named_parameters() if p.requires_grad}
        rate, decay = float(draw.uniform(0.01, 0.1)), float(draw.uniform(0.4, 0.8))
        answer = must_return(groups(network, rate, decay))
        if isinstance(answer, torch.optim.Optimizer):
            answer = answer.param_groups
        if trainable.keys() != {n for n, p in network.named_parameters() if p.requires_grad}:
            raise Wrong("your function changes what is frozen", share=1 / 3)
        found = _rates(answer, many=blocks > 10)
        depth = {"head": 0, "stem": blocks + 1} | {f"blocks.{i}": blocks - i for i in range(blocks)}
        part = {n: ".".join(n.split(".")[: 2 if n.startswith("blocks") else 1]) for n, _ in network.named_parameters()}
        missing = [n for n, p in trainable.items() if id(p) not in found]
        if missing:
            raise Wrong(f"some parameters are in no group and would never train, such as {missing[0]!r}", share=1 / 3)
        if len(found) > len(trainable):
            raise Wrong("parameters that are frozen are in the groups as well", share=2 / 3)
        of = {n: found[id(p)] for n, p in trainable.items()}

        def fits(exponent: Callable[[int], float], of=of, depth=depth, part=part, rate=rate, decay=decay) -> bool:
            return all(is_close(of[n] / rate, decay ** exponent(depth[part[n]]), rtol=1e-3, atol=0) for n in of)

        if fits(lambda i: i):
            continue
        trains = sorted({depth[part[n]] for n in trainable})
        if fits(lambda i: 0):
            raise Wrong("all parts have the same rate")
        if fits(trains.index):
            raise Wrong("a block that is frozen is no longer counted, so those below it learn too fast", share=2 / 3)
        if fits(lambda i, last=blocks + 1: last - i if 0 < i < last else i):
            raise Wrong("the blocks stand in the wrong order: the first one learns faster than the last", share=1 / 3)
        if fits(lambda i, last=blocks: min(i, last)):
            raise Wrong("the stem has the rate of the first block, and is a part of its own", share=2 / 3)
        if fits(lambda i: -i):
            raise Wrong("the rates grow on the way down to the stem", share=1 / 3)
        if fits(lambda i, last=blocks + 1: last - i):
            raise Wrong("upside down: here the stem, which sees raw inputs, learns fastest", share=1 / 3)
        if fits(lambda i: i + 1):
            raise Wrong("the decay begins a part too early: the head's own rate is not `rate`", share=2 / 3)
        if fits(lambda i: max(i - 1, 0)):
            raise Wrong("the last block has the head's rate: the decay begins a part too late", share=2 / 3)
        if fits(lambda i: min(i, 1)):
            raise Wrong("all of the backbone has one rate; each part was to get its own", share=1 / 3)
        if len({(part[n], f"{of[n]:.6g}") for n in of}) == len(trains):
            raise Wrong("each part has one rate, but not `rate` times `decay` for each part below the head", 1 / 3)
        raise Wrong("parameters of one and the same part have different rates")
    return (
        "a schedule multiplies the rates of all groups, so the ratios stay through warm-up and decay (OneCycleLR, "
        "though, wants a peak for each group). With decay near 0 this is the head alone, with 1 plain fine-tuning"
    )


@LAB.exercise(
    "04.5",
    "A prior that knows where it starts",
    minutes=10,
    points=2,
    expects="a function of network, start and alpha that returns a tensor with a gradient",
    hints=[
        "Walk through network.named_parameters(): buffers do not appear there, and what appears carries a gradient.",
        "The new head has no start worth going back to: skip the names that begin with 'head.'.",
        "alpha / 2 times the sum of (parameter − start[name]).square().sum() over the backbone.",
    ],
)
def check_penalty(draw: np.random.Generator, penalty) -> str:
    """α/2 · ‖w − w₀‖² of the backbone's parameters, differentiable."""
    _seeded(draw)
    network = small_network(classes=3)
    start = {name: value + 0.5 * torch.randn(value.shape) if value.is_floating_point() else value.clone()
             for name, value in copy.deepcopy(network.state_dict()).items()}  # fmt: skip
    alpha = float(draw.uniform(0.2, 2))
    given, as_it_was = copy.deepcopy(start), copy.deepcopy(network.state_dict())
    value = must_return(penalty(network, given, alpha))
    if any(not torch.equal(as_it_was[name], now) for name, now in network.state_dict().items()):
        raise Wrong("your function changes the network; a penalty only looks at it")
    if any(not torch.equal(given[name], start[name]) for name in start):
        raise Wrong("your function changes the start that it was given")
    named = dict(network.named_parameters())

    def squares(names: Iterable[str], origin: Callable[[str], torch.Tensor]) -> float:
        state = network.state_dict()
        return sum((state[name] - origin(name)).double().square().sum().item() for name in names)

    body = [name for name in named if not name.startswith("head.")]
    heads = [name for name in named if name.startswith("head.")]
    floats = [name for name, v in start.items() if v.is_floating_point()]
    zero = torch.zeros(())
    far = squares(body, start.__getitem__)
    right = alpha / 2 * far
    found = as_number(value)
    if not is_close(found, right):
        buffers = "running statistics are in it too: no gradient moves them, so no penalty can hold them"
        known = (
            (0.0, "it is zero: is the network compared with itself?", 0.0),
            (alpha / 2 * squares([n for n in body if named[n].dim() > 1], start.__getitem__), "only the matrices are "
             "held; biases, and the scales and offsets of batch normalisation, are weights as well"),
            (alpha / 2 * squares([n for n in body if n.endswith("weight")], start.__getitem__), "biases belong to "
             "the backbone as well, and are not held"),
            (alpha / 2 * sum(squares([n], start.__getitem__) ** 0.5 for n in body), "a distance without its square "
             "pulls just as hard however near one is"),
            (alpha / 2 * sum((named[n] - start[n]).sum().item() ** 2 for n in body), "the differences are added up "
             "before they are squared, so that those of opposite sign cancel"),
            (2 * right, "the half is missing: it is the α/2 that makes the pull α (w − w₀)"),
            (alpha / 2 * squares(named, start.__getitem__), "the new head is pulled towards the old one, which was "
             "made for other classes"),
            (right + alpha / 2 * squares(heads, lambda name: zero), "the new head is pulled towards zero: that is "
             "weight decay, and was not asked for"),
            (alpha / 2 * squares(body, lambda name: zero), "this pulls towards zero, and w₀ plays no part: that is "
             "weight decay"),
            (alpha / 2 * squares(named, lambda name: zero), "this pulls everything towards zero, and w₀ plays no part: "
             "that is weight decay"),
            (alpha / 2 * squares(floats, start.__getitem__), buffers),
            (alpha / 2 * squares([n for n in floats if not n.startswith("head.")], start.__getitem__), buffers),
            (alpha / 2 * far**0.5, "a distance without its square pulls just as hard however near one is"),
            (far / 2, "α plays no part"),
            (right / sum(named[name].numel() for name in body), "a mean over the parameters: the larger the network, "
             "the weaker its prior"),
            (alpha / 2 * sum((named[n] - start[n]).square().mean().item() for n in body), "the mean over each tensor: "
             "a bias of eight numbers pulls as hard as a whole matrix"),
        )  # fmt: skip
        tell_apart(found, known, share=0.5)
        raise Wrong("it is not half of α times the squared distance of the backbone from its start")
    if not (isinstance(value, torch.Tensor) and value.requires_grad):
        raise Wrong("the number is right, but no gradient comes out of it, so it would hold nothing back", share=0.5)
    gradients = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    for (name, parameter), gradient in zip(named.items(), gradients, strict=True):
        wanted = alpha * (parameter.detach() - start[name]) if name in body else torch.zeros_like(parameter)
        if not is_close(torch.zeros_like(parameter) if gradient is None else gradient, wanted, rtol=1e-3, atol=1e-5):
            raise Wrong(f"the number is right, but not the gradient that reaches {name!r}", share=0.5)
    return (
        "the pull is α (w − w₀): nothing at the start, and stronger the farther one goes. An optimiser's own weight "
        "decay would go on pulling the same weights to zero; set it to 0 for the backbone's group"
    )


@LAB.exercise(
    "04.6",
    "LoRA's first step",
    minutes=10,
    points=2,
    expects="a function of G (d_out, d_in), A (r, d_in), B (d_out, r), alpha and rate that returns an array like G",
    hints=[
        "If only B moves, by dB, then W moves by s dB A, and the loss by the sum of G · (s dB A), entry by entry. "
        "Bring dB to the outside: what stands beside it is the gradient of B. Then the same for A.",
        "The gradients of the factors are s G Aᵀ for B and s Bᵀ G for A, with s = α/r. Both factors take their step at "
        "the same time, from the old values.",
        "The merged weight is W₀ + s B A. Write it down before and after the step, and subtract.",
    ],
)
def check_lora(draw: np.random.Generator, change) -> str:
    """s (B′A′ − BA), both factors having moved."""
    once = "s comes in once; it stands before the product, and so, by the chain rule, in the factors' gradients as well"
    for zero in (True, False):
        d_out, d_in, r = (int(n) for n in draw.integers((5, 9, 2), (9, 13, 4)))
        G, A, B = draw.normal(size=(d_out, d_in)), draw.normal(size=(r, d_in)), draw.normal(size=(d_out, r))
        B = np.zeros_like(B) if zero else B
        alpha, rate = float(draw.uniform(3, 8) * 1.1), float(draw.uniform(0.02, 0.1))
        found = as_array(must_return(change(G.copy(), A.copy(), B.copy(), alpha, rate)))
        if found.shape != G.shape:
            raise Wrong(f"the result has shape {found.shape}; a weight's change has that of the weight: {G.shape}")

        def step(s: float, inner: float, G=G, A=A, B=B, rate=rate, order: str = "together") -> np.ndarray:
            new_B = B - rate * inner * G @ A.T
            new_A = A - rate * inner * (new_B if order == "B first" else B).T @ G
            if order == "A first":
                new_B = B - rate * inner * G @ new_A.T
            if order == "B alone":
                new_A = A
            return s * (new_B @ new_A - B @ A)

        s = alpha / r
        if is_close(found, step(s, s)):
            continue
        before = "" if zero else "right for B = 0; but else "
        known = (
            (-rate * G, "that is the step of full fine-tuning; the factors cannot follow it in every direction", 0.0),
            (np.zeros_like(G), "nothing changes: for B = 0 the gradient of A is zero, but that of B is not", 0.0),
            (step(s, 1.0), once),
            (step(1.0, s), once),
            (step(1.0, 1.0), "the scale s = α/r is missing"),
            (step(alpha, alpha), "α alone is the scale; it was to be divided by the rank"),
            *(
                (step(alpha / n, alpha / n), f"α is divided by {n}: which side of A and B is the rank?")
                for n in G.shape
            ),
            (step(s, s) + s * B @ A, "that is the new update itself; what was there before must be taken off"),
            (step(s, s, order="B first"), "A's step has used the new B; both gradients come from the old values"),
            (step(s, s, order="A first"), "B's step has used the new A; both gradients come from the old values"),
            (step(s, s, order="B alone"), "A has not moved"),
            (-rate * s**2 * (G @ A.T @ A + B @ B.T @ G), "only the terms of first order are there: both factors have "
             "moved, and their moves multiply"),
            (-step(s, s), "the sign is turned round: this climbs"),
        )  # fmt: skip
        tell_apart(found, [(value, before + said, *own) for value, said, *own in known], share=0.5)
        raise Wrong(before + "not the change of W₀ + s B A after one step of both factors")
    return (
        "with B = 0 it is −η s² G AᵀA: the full step, seen through the r random directions in A. The rate comes with "
        "s²: doubling α multiplies the first step by four"
    )


def draw_search(draw: np.random.Generator, budget: int = 90) -> dict:
    """Return one search: ``score(setting, draw)``, how many settings and draws there are, and the budget of calls."""
    return _searches(draw, 1, budget)[0]


def _searches(draw: np.random.Generator, pairs: int, budget: int = 90) -> list[dict]:
    """Return pairs of searches on equally hard tasks: the second has the opposite of the first's luck with draws."""
    settings, draws, made = 40, 6, []
    for _ in range(pairs):
        luck, level = draw.normal(0, 0.06, draws), draw.uniform(0.4, 0.65)
        for sign in (1, -1):
            truth = level + draw.normal(0, 0.04, settings)
            made.append(_search(truth, truth[:, None] + sign * luck + draw.normal(0, 0.04, (settings, draws)), budget))
    return made


def _search(truth: np.ndarray, scores: np.ndarray, budget: int) -> dict:
    calls: list[tuple[int, int]] = []

    def score(setting: int, draw: int) -> float:
        """Return the validation accuracy of a setting trained on the labels of one draw; costs one trial."""
        setting, draw = int(setting), int(draw)
        if not (0 <= setting < scores.shape[0] and 0 <= draw < scores.shape[1]):
            raise IndexError(
                f"there is no setting {setting} with draw {draw}: settings go to {scores.shape[0] - 1}, "
                f"draws to {scores.shape[1] - 1}"
            )
        calls.append((setting, draw))
        return float(scores[setting, draw])

    sizes = dict(zip(("settings", "draws"), scores.shape, strict=True))
    return {"score": score, **sizes, "budget": budget, "calls": calls, "truth": truth}


@LAB.exercise(
    "04.7",
    "A budget of trials, a budget of labels",
    minutes=20,
    points=3,
    expects="a function of score, settings, draws and budget that returns a setting and an estimate",
    hints=[
        "On one and the same draw, the draw's own luck is in every score and cancels when settings are compared. What "
        "is left is the luck of setting *and* draw together: that needs several draws.",
        "Most settings are out of the question after one trial. All on draw 0, the better half on draw 1 as well, half "
        "of these on draw 2, and so on, by their mean so far.",
        "The winner's scores are flattered, since it won by them. Keep a draw or two that choose nothing, and score "
        "the winner alone on them.",
    ],
)
def check_search(draw: np.random.Generator, search) -> str:
    """Small loss against the best setting, and an estimate without flattery, over four hundred searches."""
    lost, flattery, level, used = [], [], [], set()
    for one in _searches(draw, 200):
        answer = must_return(search(one["score"], one["settings"], one["draws"], one["budget"]))
        if not (isinstance(answer, tuple | list) and len(answer) == 2):
            raise Wrong("expected two things back: the number of a setting, and an estimate of its accuracy")
        setting, estimate = as_number(answer[0]), as_number(answer[1])
        if setting != int(setting) or not 0 <= setting < one["settings"]:
            raise Wrong(f"{setting:g} is not the number of a setting")
        if len(one["calls"]) > one["budget"]:
            raise Wrong(f"it spends {len(one['calls'])} trials; the budget has {one['budget']}")
        lost.append(one["truth"].max() - one["truth"][int(setting)])
        flattery.append(estimate - one["truth"][int(setting)])
        level.append(one["truth"].mean())
        used.add(len(one["calls"]))
    loss, bias = np.mean(lost), np.mean(flattery)
    honest = abs(bias) < 0.008
    easy = np.array(level) > np.median(level)
    blind = abs(np.mean(np.array(flattery)[easy]) - np.mean(np.array(flattery)[~easy])) > 0.03
    tried = {setting: {d for s, d in one["calls"] if s == setting} for setting, _ in one["calls"]}
    untried, nested = one["settings"] - len(tried), sorted(tried.values(), key=len)
    unpaired = any(not fewer <= more for fewer, more in itertools.pairwise(nested))
    if max(used) == 0:
        raise Wrong("it never tries anything")
    if loss > 0.06:
        raise Wrong("the setting that it returns is hardly better than one taken blindly")
    if loss > 0.0125:
        if untried > one["settings"] / 4:
            said = f"{untried} of the {one['settings']} settings are never tried, and the best is often among them"
        elif unpaired:
            said = "scores from different draws are compared as if all draws were equally lucky"
        elif loss > 0.021:
            said = "one lucky trial decides"
        else:
            said = "many trials go to settings that are as good as beaten"
        raise Wrong(
            f"the setting is better than most, but loses more than 0.0125 against the best, in the mean: {said}",
            share=1 / 3 if honest and not blind else 0,
        )
    if blind:
        raise Wrong(
            "well chosen; but the estimate is much the same for hard tasks and for easy ones: whatever it is in the "
            "mean, it says little about the task at hand",
            share=2 / 3,
        )
    if not honest:
        asked = (
            "high, in the mean over many searches: do the scores in it have anything to do with the choice?"
            if bias > 0
            else "low, in the mean over many searches: does it speak of this setting, or of settings in general?"
        )
        raise Wrong(f"well chosen; but the estimate is too {asked}", share=2 / 3)
    return (
        "all six draws with the whole grid would have cost 240 trials and chosen only a little better. The draws are "
        "labels too: those kept for the estimate alone help no choice, which is the price of knowing how good one is"
    )


@functools.cache
def _pictures() -> tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray]:
    task = load_photo_digits()
    return as_images(task.inputs), torch.from_numpy(task.labels), task.train, task.test


def draw_examples(draw: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one training picture of each digit, ``(10, 1, 32, 32)``, and the labels 0 to 9."""
    images, labels, train, _ = _pictures()
    rows = [draw.choice(train[labels[train].numpy() == digit]) for digit in range(10)]
    return images[rows].clone(memory_format=torch.channels_last), labels[rows].clone()


TRIES, SCORED, TARGET = 8, 120, 0.70
"""Draws, test rows a draw, and the accuracy to be reached on their mean."""


@torch.inference_mode()
def _right(network: Callable, images: torch.Tensor, labels: torch.Tensor) -> float:
    n = len(labels)
    logits = as_array(must_return(network(images)))
    if logits.shape != (n, 10):
        raise Wrong(f"what you return gives shape {logits.shape} for {n} pictures; expected logits, ({n}, 10)")
    if not np.isfinite(logits).all():
        raise Wrong("some of the logits are not finite")
    if np.abs(as_array(network(images[:1])) - logits[:1]).max() > 0.02 * np.abs(logits).max():
        raise Wrong("the answer to a picture depends on the others that come with it, or on chance")
    return float((logits.argmax(axis=1) == labels.numpy()).mean())


@LAB.exercise(
    "04.8",
    "Open challenge: a policy of your own, at one example",
    minutes=25,
    points=4,
    expects="a function of network, images and labels that returns a network for ten classes",
    hints=[
        "Ten pictures cannot say where three hundred thousand weights should go. Which weights do you trust as they "
        "are, and which few can ten pictures settle?",
        "Let the backbone be, in evaluation mode, and learn a head on its features. Fit it well: a few steps from a "
        "random start leave much on the table.",
        "LogisticRegression with a weak penalty (C in the hundreds) on features that are scaled to length one or so; "
        "then write coef_ and intercept_ into a new nn.Linear, the scale included.",
    ],
    seconds=30,
)
def check_challenge(draw: np.random.Generator, learn) -> str:
    """TARGET on unseen rows, in the mean of fresh draws."""
    images, labels, _, test = _pictures()
    scores = []
    for _ in range(TRIES):
        _seeded(draw)
        rows = draw.choice(test, SCORED, replace=False)
        found = must_return(learn(load_glyphnet(), *draw_examples(draw)))
        if not callable(found):
            raise Wrong("expected a network, or a function, from pictures to logits")
        if isinstance(found, nn.Module) and any(m.training and isinstance(m, _BatchNorm) for m in found.modules()):
            raise Wrong(
                "the network comes back with batch normalisation in training mode: its answer to a picture depends on "
                "the others in the batch"
            )
        scores.append(_right(found, images[rows].contiguous(memory_format=torch.channels_last), labels[rows]))
    reached = np.mean(scores)
    if reached >= TARGET:
        return (
            "at one example a class the best prior that lesson 04c's table knows is to leave the features alone. Would "
            "it be at fifty? Put your policy into that table and see"
        )
    if reached > TARGET - 0.1:
        raise Wrong(f"on rows that it has not seen it comes near {TARGET:.2f}, but not up to it", share=0.5)
    if reached > 0.2:
        as_far = "plain fine-tuning gets about as far" if reached > 0.4 else "even plain fine-tuning gets farther"
        raise Wrong(f"far below {TARGET:.2f} on rows that it has not seen: {as_far}")
    raise Wrong("hardly better than chance on rows that it has not seen")
