"""Right and wrong answers of lab 04; the wrong ones with a part of what the learner is told."""

import copy

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F

from workbook.exercises.lab_04 import _epoch, _with_new_head
from workbook.methods.torch.training import extract_features, fit


def epoch(network, optimiser, schedule, batches, *, mean="rows", **mistake):
    return _epoch(network, optimiser, schedule, batches, **mistake)[mean]


def epoch_with_graph(network, optimiser, schedule, batches):
    """Cleared by hand before the forward pass, the mean kept as a tensor, detached."""
    network.train(True)
    losses = []
    for x, y in batches:
        for parameter in network.parameters():
            parameter.grad = None
        each = F.cross_entropy(network(x), y, reduction="none")
        each.mean().backward()
        optimiser.step()
        schedule.step()
        losses.append(each.detach())
    return torch.cat(losses).mean()


def epoch_holding_on(network, optimiser, schedule, batches):
    network.train()
    total = 0
    for x, y in batches:
        loss = F.cross_entropy(network(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total = total + len(y) * loss
    return total / sum(len(y) for _, y in batches)


def epoch_with_one_step_too_many(network, optimiser, schedule, batches):
    mean = epoch(network, optimiser, schedule, batches)
    schedule.step()
    return mean


def epoch_scored_afterwards(network, optimiser, schedule, batches):
    epoch(network, optimiser, schedule, batches)
    with torch.no_grad():
        return torch.cat([F.cross_entropy(network(x), y, reduction="none") for x, y in batches]).mean()


def epoch_scored_at_the_end(network, optimiser, schedule, batches):
    epoch(network, optimiser, schedule, batches)
    network.eval()
    with torch.no_grad():
        return torch.cat([F.cross_entropy(network(x), y, reduction="none") for x, y in batches]).mean()


def epoch_without_return(*given):
    epoch(*given)


def epoch_without_backward(network, optimiser, schedule, batches):
    with torch.no_grad():
        return np.mean([F.cross_entropy(network(x), y).item() for x, y in batches])


NAMES = ("network", "head", "batches", "held_out", "rate", "epochs")


def new_head(*given, **mistakes):
    return _with_new_head(dict(zip(NAMES, given, strict=True)), **mistakes)[0]


def colleagues(*given):
    return new_head(*given, trained=False, still=False, copied=False)


def on_stored_features(network, head, batches, held_out, rate, epochs):
    network.eval()
    with torch.no_grad():
        stored = [(network.backbone(x), y) for x, y in batches]
        held = network.backbone(held_out[0])
    optimiser, best = torch.optim.SGD(head.parameters(), lr=rate), (float("inf"), None)
    for _ in range(epochs):
        for h, y in stored:
            optimiser.zero_grad()
            F.cross_entropy(head(h), y).backward()
            optimiser.step()
        score = F.cross_entropy(head(held), held_out[1]).item()
        if score < best[0]:
            best = score, {name: value.clone() for name, value in head.state_dict().items()}
    head.load_state_dict(best[1])
    network.head = head
    return network


def backbone_kept_in_evaluation(network, head, batches, held_out, rate, epochs):
    network.head = head
    optimiser = torch.optim.SGD(network.head.parameters(), lr=rate)
    best, scores = None, []
    for _ in range(epochs):
        network.train()
        network.backbone.eval()
        for x, y in batches:
            optimiser.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimiser.step()
        network.eval()
        scores.append(F.cross_entropy(network(held_out[0]), held_out[1]).item())
        if scores[-1] == min(scores):
            best = copy.deepcopy(network)
    return best


def statistics_put_back(network, *rest):
    before = copy.deepcopy(network.backbone.state_dict())
    network = new_head(network, *rest, still=False)
    network.backbone.load_state_dict(before)
    return network


def everything_trained(network, head, batches, held_out, rate, epochs):
    network.head = head
    network.eval()
    optimiser = torch.optim.SGD(network.parameters(), lr=rate)
    for _ in range(epochs):
        for x, y in batches:
            optimiser.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimiser.step()
    return network


def scored_on_training_rows(network, head, batches, held_out, *rest):
    return new_head(network, head, batches, batches[-1], *rest, copied=False)


def parts(network):
    return [network.head, *list(network.blocks)[::-1], network.stem]


def groups(network, rate, decay, *, power=lambda i, last: i, frozen=False, left_out=()):
    made = []
    for i, part in enumerate(parts(network)):
        if i not in left_out:
            some = [p for p in part.parameters() if frozen or p.requires_grad]
            made.append({"params": some, "lr": rate * decay ** power(i, len(network.blocks) + 1)})
    return made


def groups_of_one(network, rate, decay):
    made = []
    for name, p in network.named_parameters():
        first, second = name.split(".")[:2]
        i = {"head": 0, "stem": len(network.blocks) + 1}.get(first)
        i = len(network.blocks) - int(second) if i is None else i
        if p.requires_grad:
            made.append({"params": p, "lr": rate * decay**i})
    return made


def groups_of_a_thawed_network(network, rate, decay):
    network.requires_grad_(True)
    return groups(network, rate, decay)


def groups_of_parts_that_train(network, rate, decay):
    some = [[p for p in part.parameters() if p.requires_grad] for part in parts(network)]
    return [{"params": made, "lr": rate * decay**i} for i, made in enumerate(made for made in some if made)]


def groups_without_empty_ones(network, rate, decay):
    return [group for group in groups(network, rate, decay) if group["params"]]


def groups_by_prefix(network, rate, decay):
    names = ["head", *(f"blocks.{i}" for i in reversed(range(len(network.blocks)))), "stem"]
    named = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
    return [
        {"params": [p for n, p in named if n.startswith(prefix)], "lr": rate * decay**i}
        for i, prefix in enumerate(names)
    ]


def penalty(network, start, alpha, *, head=False, half=0.5, zero=False, buffers=False, power=1.0):
    kept = []
    items = network.state_dict().items() if buffers else network.named_parameters()
    for name, value in items:
        if (head or not name.startswith("head.")) and value.is_floating_point():
            kept.append((value - (0 if zero else start[name])).square().sum())
    return half * alpha * torch.stack(kept).sum() ** power


def penalty_as_vector(network, start, alpha):
    names = [name for name, _ in network.backbone.named_parameters()]
    now = torch.cat([network.backbone.get_parameter(name).flatten() for name in names])
    then = torch.cat([start[f"backbone.{name}"].flatten() for name in names])
    return alpha * torch.dot(now - then, now - then) / 2


def penalty_with_head_to_zero(network, start, alpha):
    return penalty(network, start, alpha) + alpha / 2 * sum(p.square().sum() for p in network.head.parameters())


def penalty_of_the_state(network, start, alpha):
    """The right number, from the detached tensors of the state dict."""
    now = network.state_dict()
    names = [name for name, _ in network.backbone.named_parameters(prefix="backbone")]
    return alpha / 2 * sum((now[name] - start[name]).square().sum() for name in names)


def penalty_in_place(network, start, alpha):
    result = penalty(network, start, alpha)
    start["backbone.0.bias"].zero_()
    return result


def penalty_by_norms(network, start, alpha, *, power=2):
    named = network.backbone.named_parameters(prefix="backbone")
    return alpha / 2 * sum((p - start[name]).norm() ** power for name, p in named)


def penalty_of_weights(network, start, alpha):
    named = network.backbone.named_parameters(prefix="backbone")
    return alpha / 2 * sum((p - start[name]).square().sum() for name, p in named if name.endswith("weight"))


def penalty_of_sums(network, start, alpha):
    named = network.backbone.named_parameters(prefix="backbone")
    return alpha / 2 * sum((p - start[name]).sum().square() for name, p in named)


def penalty_that_moves_the_network(network, start, alpha):
    total = 0
    for name, p in network.backbone.named_parameters(prefix="backbone"):
        p.data -= start[name]
        total = total + p.square().sum()
    return alpha / 2 * total


def lora(G, A, B, alpha, rate, *, outer=1.0, inner=1.0, plain=False):
    s = alpha if plain else alpha / len(A)
    o, i = s**outer, s**inner
    return o * ((B - rate * i * G @ A.T) @ (A - rate * i * B.T @ G) - B @ A)


def lora_with_rank(G, A, B, alpha, rate, *, of):
    return lora(G, A, B, alpha * len(A) / of(A, B), rate)


def lora_by_autograd(G, A, B, alpha, rate):
    G, A, B = (torch.tensor(each) for each in (G, A, B))
    A.requires_grad_()
    B.requires_grad_()

    def update():
        return alpha / len(A) * B @ A

    before = update().detach()
    (G * update()).sum().backward()
    with torch.no_grad():
        A -= rate * A.grad
        B -= rate * B.grad
    return update() - before


def lora_in_turns(G, A, B, alpha, rate):
    s = alpha / len(A)
    moved = B - rate * s * G @ A.T
    return s * (moved @ (A - rate * s * moved.T @ G) - B @ A)


def lora_first_order(G, A, B, alpha, rate):
    s = alpha / len(A)
    return -rate * s**2 * (G @ A.T @ A + B @ B.T @ G)


def lora_result(G, A, B, alpha, rate):
    return lora(G, A, B, alpha, rate) + alpha / len(A) * B @ A


def halving(score, settings, draws, budget, *, rounds=(40, 20, 10, 5), honest=True):
    total, alive = np.zeros(settings), np.arange(settings)
    for draw, count in enumerate(rounds):
        alive = alive[np.argsort(-total[alive], kind="stable")[:count]]
        total[alive] += [score(setting, draw) for setting in alive]
    winner = alive[total[alive].argmax()]
    if not honest:
        return winner, total[winner] / len(rounds)
    return winner, np.mean([score(winner, draw) for draw in range(len(rounds), draws)])


def whole_rounds(score, settings, draws, budget, *, rounds=2, honest=True):
    scores = np.array([[score(setting, draw) for draw in range(rounds)] for setting in range(settings)]).mean(1)
    winner = int(scores.argmax())
    return winner, np.mean([score(winner, d) for d in range(rounds, draws)]) if honest else scores[winner]


def unpaired(score, settings, draws, budget):
    scores = [score(setting, (7 * setting) % draws) for setting in range(settings)]
    return int(np.argmax(scores)), max(scores)


def two_trials_anywhere(score, settings, draws, budget):
    drawn = np.random.default_rng(0).integers(draws, size=(settings, 2))
    scores = [np.mean([score(setting, draw) for draw in two]) for setting, two in enumerate(drawn)]
    return int(np.argmax(scores)), max(scores)


def fifteen_settings(score, settings, draws, budget):
    scores = [np.mean([score(setting, draw) for draw in range(draws)]) for setting in range(budget // draws)]
    return int(np.argmax(scores)), max(scores)


def finalists(score, settings, draws, budget):
    """Forty, then ten on all draws: well chosen, and reported by the scores of the choice."""
    first = np.array([score(setting, 0) for setting in range(settings)])
    final = np.argsort(first)[-10:]
    means = [np.mean([first[setting], *(score(setting, draw) for draw in range(1, draws))]) for setting in final]
    return final[np.argmax(means)], max(means)


def mixed_model(score, settings, draws, budget):
    """Forty, then ten on all draws, and the best linear predictions from all of it; no draw kept apart."""
    trials = [(setting, 0, score(setting, 0)) for setting in range(settings)]
    final = np.argsort([value for *_, value in trials])[-10:]
    trials += [(setting, draw, score(setting, draw)) for setting in final for draw in range(1, draws)]
    of, on, values = (np.array(column) for column in zip(*trials, strict=True))
    same_setting, same_draw = of[:, None] == of, on[:, None] == on
    weights = np.linalg.inv(0.04**2 * same_setting + 0.06**2 * same_draw + 0.04**2 * np.eye(len(values)))
    level = weights.sum(0) @ values / weights.sum()
    gains = 0.04**2 * (np.arange(settings)[:, None] == of) @ weights @ (values - level)
    return int(gains.argmax()), level + gains.max()


def by_probe(network, images, labels, C=300.0):
    features = extract_features(network, images)
    scale = 1 / features.norm(dim=1).mean()
    model = LogisticRegression(C=C, max_iter=1000).fit((scale * features).numpy(), labels.numpy())
    network.head = nn.Linear(128, 10)
    with torch.no_grad():
        network.head.weight.copy_(scale * torch.from_numpy(model.coef_))
        network.head.bias.copy_(torch.from_numpy(model.intercept_))
    return network


def head_by_gradient(network, images, labels):
    """A head on features of length one, trained by full-batch steps; what comes back is a function."""
    unit = F.normalize(extract_features(network, images))
    head = nn.Linear(128, 10)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        F.cross_entropy(head(unit), labels).backward()
        optimiser.step()
    return lambda pictures: head(F.normalize(network.features(pictures)))


def by_fine_tuning(network, images, labels):
    network.head = nn.Linear(128, 10)
    return fit(network, images, labels, steps=12, learning_rate=3e-3, seed=0)


def nearest_pixels(network, images, labels):
    return lambda pictures: -torch.cdist(pictures.flatten(1), images.flatten(1))


def with_the_batch_in_it(network, images, labels):
    network = by_probe(network, images, labels)
    return lambda pictures: network(pictures) - network(pictures).mean(0)


def by_class_means(network, images, labels):
    """The direction of each class's mean; what comes back gives arrays."""
    with torch.no_grad():
        unit = F.normalize(network.features(images))
    means = F.normalize(torch.stack([unit[labels == digit].mean(0) for digit in range(10)]))
    return lambda pictures: (F.normalize(network.features(pictures)) @ means.T).detach().numpy()


RIGHT = {
    "04.1": [
        lambda n, h, w: np.sqrt((n * h * w - 1) / (n * h * w)),
        lambda n, h, w: torch.sqrt(1 - 1 / torch.tensor(float(n * h * w))),
    ],
    "04.2": [epoch, epoch_with_graph],
    "04.3": [new_head, on_stored_features, backbone_kept_in_evaluation],
    "04.4": [groups, groups_of_one, groups_without_empty_ones],
    "04.5": [penalty, penalty_as_vector, penalty_by_norms],
    "04.6": [lora, lora_by_autograd],
    "04.7": [halving, lambda *given: halving(*given, rounds=(40, 25, 12, 6, 4)), mixed_model],
    "04.8": [by_probe, head_by_gradient, by_class_means],
}

WRONG = {
    "04.1": [
        (lambda n, h, w: 1.0, "the two variances are the same"),
        (lambda n, h, w: np.sqrt(n * h * w / (n * h * w - 1)), "upside down"),
        (lambda n, h, w: 1 - 1 / (n * h * w), "the ratio of the two variances; outputs"),
        (lambda n, h, w: n * h * w / (n * h * w - 1), "and upside down"),
        (lambda n, h, w: np.sqrt((n - 1) / n), "every pixel of a map"),
        (lambda n, h, w: np.sqrt(1 - 1 / (h * w)) if h * w > 1 else np.sqrt(1 - 1 / n), "the pixels of one image"),
        (lambda n, h, w: 0.7071068, "not for"),
        (lambda n, h, w: np.sqrt(1 - 1 / (h * w)), "the pixels of one image"),
        (lambda n, h, w: round(np.sqrt(1 - 1 / (n * h * w)), 2), "is it rounded"),
    ],
    "04.2": [
        (lambda *given: epoch(*given, forget="never"), "nobody clears them"),
        (lambda *given: epoch(*given, forget="after"), "before your epoch"),
        (lambda *given: epoch(*given, training=False), "has stayed in it"),
        (lambda *given: epoch(*given, rates="epoch"), "once, at the end of the epoch"),
        (lambda *given: epoch(*given, rates="never"), "has not changed at all"),
        (lambda *given: epoch(*given, rates="too early"), "ahead of the optimiser"),
        (lambda *given: epoch(*given, mean="batches"), "the mean over batches"),
        (lambda *given: epoch(*given, mean="sum"), "the sum over rows"),
        (lambda *given: epoch(*given, mean="last"), "the last batch alone"),
        (epoch_holding_on, "holds on to the graph"),
        (epoch_without_backward, "no parameter has moved"),
        (
            lambda *given: epoch(*given, training=False, forget="after"),
            "your epoch are in the first one; and the network",
        ),
        (lambda *given: epoch(*given, training=False, rates="never"), "stayed in it; and the rate has not changed"),
        (epoch_with_one_step_too_many, "made 5 steps for 4 batches"),
        (epoch_scored_afterwards, "more than once in training mode"),
        (epoch_scored_at_the_end, "after the last step"),
        (lambda *given: epoch(*given) and np.nan, "finite"),
        (lambda *given: epoch(*given, mean="divided twice"), "a mean already"),
        (lambda *given: epoch(*given, mean="sum of means"), "the sum of the batches' losses"),
        (lambda *given: epoch(*given, loss_of=lambda z, y: F.cross_entropy(z.softmax(1), y)), "which has its own"),
        (lambda *given: epoch(*given, loss_of=lambda z, y: F.cross_entropy(z, y, reduction="sum")), "not their mean"),
        (epoch_without_return, "returns nothing"),
    ],
    "04.3": [
        (colleagues, "comes back as it was made"),
        (lambda *given: new_head(*given, still=False, copied=False), "running statistics have moved"),
        (lambda *given: new_head(*given, still=False), "running statistics have moved"),
        (lambda *given: new_head(*given, copied=False), "the last epoch that comes back"),
        (scored_on_training_rows, "not that of the lowest loss on held-out rows"),
        (statistics_put_back, "fits another backbone"),
        (lambda *given: new_head(*given).train(), "comes back in training mode"),
        (everything_trained, "weights of the backbone have moved"),
        (lambda *given: given[0], "still has its old head"),
        (lambda *given: new_head(*given).state_dict(), "expected the network back"),
    ],
    "04.4": [
        (groups_by_prefix, "with more than ten blocks, some parameters are in two groups"),
        (lambda n, r, d: groups(n, r, d, frozen=True), "frozen are in the groups"),
        (lambda n, r, d: groups(n, r, d, left_out=(len(n.blocks) + 1,)), "in no group"),
        (lambda n, r, d: groups(n, r, 1.0), "the same rate"),
        (lambda n, r, d: groups(n, r, d, power=lambda i, last: last - i), "upside down"),
        (lambda n, r, d: groups(n, r, d, power=lambda i, last: i + 1), "a part too early"),
        (lambda n, r, d: groups(n, r, d, power=lambda i, last: max(0, i - 1)), "a part too late"),
        (lambda n, r, d: groups(n, r, d, power=lambda i, last: min(i, 1)), "all of the backbone has one rate"),
        (lambda n, r, d: groups(n, r, d, power=lambda i, last: last - i if 0 < i < last else i), "wrong order"),
        (lambda n, r, d: groups(n, r, d, power=lambda i, last: min(i, last - 1)), "the rate of the first block"),
        (lambda n, r, d: groups(n, r, d, power=lambda i, last: -i), "grow on the way down"),
        (groups_of_parts_that_train, "no longer counted"),
        (groups_of_a_thawed_network, "changes what is frozen"),
        (lambda n, r, d: groups(n, r, d, power=lambda i, last: 2 * i), "each part has one rate, but not"),
        (lambda n, r, d: [{"params": [x for x, _ in n.named_parameters()], "lr": r}], "other than parameters"),
        (lambda n, r, d: list(n.parameters()), "expected a list of dictionaries"),
    ],
    "04.5": [
        (lambda n, s, a: penalty(n, s, a, half=1.0), "the half is missing"),
        (lambda n, s, a: penalty(n, s, a, head=True), "towards the old one"),
        (penalty_with_head_to_zero, "the new head is pulled towards zero"),
        (lambda n, s, a: penalty(n, s, a, zero=True), "w₀ plays no part"),
        (lambda n, s, a: penalty(n, s, a, buffers=True), "running statistics are in it"),
        (lambda n, s, a: penalty(n, s, a, power=0.5), "without its square"),
        (lambda n, s, a: penalty(n, s, a).item(), "no gradient comes out"),
        (penalty_of_the_state, "no gradient comes out"),
        (lambda n, s, a: penalty(n, s, a) / 64, "the larger the network"),
        (penalty_in_place, "changes the start"),
        (penalty_that_moves_the_network, "changes the network"),
        (lambda n, s, a: penalty_by_norms(n, s, a, power=1), "without its square"),
        (penalty_of_weights, "biases belong"),
        (penalty_of_sums, "opposite sign cancel"),
        (lambda n, s, a: torch.zeros(()), "compared with itself"),
        (lambda n, s, a: penalty(n, copy.deepcopy(n.state_dict()), a), "compared with itself"),
        (lambda n, s, a: penalty(n.backbone[:1], {k[9:]: v for k, v in s.items()}, a), "not half of α times"),
    ],
    "04.6": [
        (lambda G, A, B, alpha, rate: -rate * G, "the step of full fine-tuning"),
        (lambda G, A, B, alpha, rate: 0 * G, "nothing changes"),
        (lambda *given: lora(*given, inner=0), "s comes in once"),
        (lambda *given: lora(*given, outer=0), "s comes in once"),
        (lambda *given: lora(*given, outer=0, inner=0), "α/r is missing"),
        (lambda *given: lora(*given, plain=True), "divided by the rank"),
        (lambda *given: lora_with_rank(*given, of=lambda A, B: A.shape[1]), "which side of A and B"),
        (lambda *given: lora_with_rank(*given, of=lambda A, B: len(B)), "which side of A and B"),
        (lora_result, "must be taken off"),
        (lora_in_turns, "has used the new B"),
        (lora_first_order, "first order"),
        (lambda *given: -lora(*given), "turned round"),
        (lambda *given: lora(*given).T, "that of the weight"),
    ],
    "04.7": [
        (lambda *given: whole_rounds(*given, rounds=1), "one lucky trial decides"),
        (lambda *given: whole_rounds(*given, rounds=1, honest=False), "one lucky trial decides"),
        (whole_rounds, "as good as beaten"),
        (unpaired, "equally lucky"),
        (two_trials_anywhere, "equally lucky"),
        (fifteen_settings, "never tried"),
        (finalists, "the estimate is too high"),
        (lambda *given: halving(*given, honest=False), "the estimate is too high"),
        (
            lambda *given: (halving(*given)[0], np.mean([given[0](s, 0) for s in range(10)])),
            "or of settings in general",
        ),
        (lambda *given: (halving(*given)[0], 0.605), "for hard tasks and for easy ones"),
        (lambda *given: whole_rounds(*given, rounds=6, honest=False), "it spends"),
        (lambda *given: (17, 0.85), "never tries"),
        (lambda *given: (3, given[0](3, 0)), "taken blindly"),
        (lambda *given: halving(*given)[0], "expected two things"),
    ],
    "04.8": [
        (by_fine_tuning, "plain fine-tuning gets about as far"),
        (nearest_pixels, "even plain fine-tuning gets farther"),
        (lambda network, x, y: by_probe(network, x, y).train(), "in training mode"),
        (lambda network, x, y: network, "expected logits"),
        (with_the_batch_in_it, "depends on the others"),
        (lambda network, x, y: lambda pictures: torch.zeros(len(pictures), 10), "hardly better than chance"),
        (lambda network, x, y: 7, "expected a network, or a function"),
    ],
}
