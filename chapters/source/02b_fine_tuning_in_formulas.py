# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02b · Fine-tuning in formulas: priors, small steps and random heads
#
# **A question.** You cut the head off GlyphNet, the letter-reading network of chapter 01, put a new one for ten digits in its place, and take the first gradient step on everything. What is the *backbone* told to do? If the new head's weights are zeros: nothing at all, exactly. If they are random, as every
# framework makes them: something, and it is largely made up by the random number generator. Chapter 01 saw fine-tuning lose to a frozen network when there were few examples, and suspected this first step.
#
# By the end of this lesson you can
#
# - derive what a head tells the backbone, and why a zero head tells it nothing;
# - use the *linearised* view of fine-tuning, and say when it stops being true;
# - read 'stay near the pre-trained weights' (L2-SP) as a prior, and early stopping as nearly the same prior;
# - prove, in a two-layer linear model, where fine-tuning can move features, and see why 'first the head, then everything' (LP-FT) helps with good features and not with bad ones.
#
# *About 35 minutes of reading; about fifteen seconds of computing. You need the gradient $p - y$ of softmax cross-entropy and the linear head's gradient (lesson [02](02_mathematics.ipynb)), and eigenvalues of a symmetric matrix. Notation:
# the [reference page](README.md).*

# %% tags=["parameters"]
profile = "quick"  # type: str
seed = 0  # type: int
draws = 10  # type: int
trained_draws = 3  # type: int
problems = 20  # type: int
steps = 20  # type: int

# %%
import numpy as np
import torch
from torch.nn import functional as F

from workbook.lesson import begin, claim, record_table
from workbook.statistics import mean_interval, paired_difference

defaults = draws == 10 and trained_draws == 3 and problems == 20 and steps == 20
begin("torch", profile=profile, seed=seed, scope=profile == "quick" and defaults)
if profile != "quick":
    raise NotImplementedError("this lesson runs at profile = 'quick'; photographs come from chapter 03 on")

# %% [markdown]
# ## Step 0: what a head tells the backbone
#
# With features $h = \phi(x)$ and a head $z = Wh + b$, the backbone's parameters $\theta$ enter the loss only through $h$, so for one row
#
# $$\frac{\partial \ell}{\partial \theta} = \Big(\frac{\partial h}{\partial \theta}\Big)^{\!\top} W^\top (p - y).$$
#
# All that the task says, $p - y$, goes through $W^\top$; if $W = 0$ nothing arrives. We look at three heads on the same ten digits, one of each class: zeros, PyTorch's default random weights, and a head *fitted* to the frozen features first (a *linear probe*, 线性探测). Ten draws.

# %%
from sklearn.linear_model import LogisticRegression

from data_scripts.handwriting import load_handwriting
from data_scripts.pretrained_torch import load_glyphnet
from data_scripts.task import sample_k_shot
from workbook.methods.torch.training import as_images, extract_features

task = load_handwriting()
images, labels = as_images(task.inputs), torch.from_numpy(task.labels)
features = extract_features(load_glyphnet(), images).clone()


def new_head(kind, rows, draw):
    torch.manual_seed(draw)
    head = torch.nn.Linear(128, 10)
    if kind == "fitted":
        probe = LogisticRegression(max_iter=1000).fit(features[rows].numpy(), labels[rows].numpy())
        head.weight.data, head.bias.data = torch.tensor(probe.coef_).float(), torch.tensor(probe.intercept_).float()
    elif kind == "zero":
        torch.nn.init.zeros_(head.weight), torch.nn.init.zeros_(head.bias)
    return head


# %%
def first_gradient(kind, draw):
    rows = sample_k_shot(task, 1, seed=draw)
    network = load_glyphnet()
    network.head = new_head(kind, rows, draw)
    F.cross_entropy(network(images[rows]), labels[rows]).backward()
    backbone = [p.grad.flatten() for name, p in network.named_parameters() if not name.startswith("head.")]
    return torch.cat(backbone), network.head.weight.grad


first = {kind: [first_gradient(kind, draw) for draw in range(draws)] for kind in ("zero", "random", "fitted")}
norms = {
    f"{kind} head": {part: [g[i].norm().item() for g in found] for i, part in enumerate(("backbone", "head"))}
    for kind, found in first.items()
}
record_table("02b.first-gradient", norms, corner="norm of the first gradient")
# %%
claim(
    "02b.zero-head",
    "with a zero head every backbone gradient of GlyphNet is exactly zero in every draw, and the head's is not",
    all(not backbone.any() and bool(head.norm() > 0) for backbone, head in first["zero"]),
)
claim(
    "02b.random-head-is-loud",
    "in every draw a random head sends the backbone a first gradient more than twice as long as a fitted head's",
    all(norms["random head"]["backbone"][i] > 2 * norms["fitted head"]["backbone"][i] for i in range(draws)),
)

# %% [markdown]
# A random head speaks several times as loudly as a fitted one; its errors $p - y$ are larger too (right column). The zero head keeps the backbone still for one step only; from the second on $W \neq 0$. But look at *what* $W$ is then. With $p = 1/K$ everywhere and $k$ examples of each class, the head's step is
#
# $$W_1 = \frac{\eta}{N} \sum_i \Big(y_i - \tfrac 1K \mathbf 1\Big) h_i^\top, \qquad\text{row } c:\quad \frac{\eta}{K}\,\big(\bar h_c - \bar h\big),$$
#
# since a share $1/K$ of the rows has class $c$. ($\mathbf 1$: a vector of ones; $\bar h_c$: mean feature of class $c$; $\bar h$: of all.) What a zero head learns first is the **class means**, and the second step tells the backbone about *them*. A random head adds the step to its random part. How well do the two read 629 test
# digits after one step of the head at rate 1, and how alike are the messages that two different random heads send to the backbone about the *same* ten images?


# %%
def after_one_step(kind, draw, rate=1.0):
    rows = sample_k_shot(task, 1, seed=draw)
    head = new_head(kind, rows, draw)
    F.cross_entropy(head(features[rows]), labels[rows]).backward()
    weight, bias = head.weight - rate * head.weight.grad, head.bias - rate * head.bias.grad
    guesses = (features[task.test] @ weight.T + bias).argmax(1)
    h = features[rows]  # sorted by class, one each: row c is the mean of class c
    means = rate / 10 * (h - h.mean(0))
    return (guesses == labels[task.test]).double().mean().item(), bool((weight - means).abs().max() < 1e-6)


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


# %%
one_step = {kind: [after_one_step(kind, draw) for draw in range(draws)] for kind in ("zero", "random")}
record_table("02b.one-step", {"accuracy after one step": {f"{k} head": [a for a, _ in v] for k, v in one_step.items()}})
claim(
    "02b.class-means-first",
    "from a zero head, one step gives the centred class means times the rate over K, to within 1e-6, in every draw",
    all(same for _, same in one_step["zero"]),
)
better = paired_difference([a for a, _ in one_step["zero"]], [a for a, _ in one_step["random"]])
claim(
    "02b.zero-head-reads-sooner",
    "after one step of the head, the zero head reads more digits than the random one (paired 95 % interval over draws above zero)",
    better.low > 0,
)

# %%
rows = sample_k_shot(task, 1, seed=0)
messages = []
for other in range(2 * draws):
    network = load_glyphnet()
    network.head = new_head("random", rows, 100 + other)
    F.cross_entropy(network(images[rows]), labels[rows]).backward()
    messages.append(torch.cat([p.grad.flatten() for n, p in network.named_parameters() if not n.startswith("head.")]))
pairs = [cosine(messages[i], messages[i + 1]) for i in range(0, 2 * draws, 2)]
record_table("02b.messages", {"two random heads, same ten images": {"cosine of their backbone gradients": pairs}})

# %% [markdown]
# After one step the zero head, made of ten single examples, already reads most digits; its guesses do not depend on the rate. The random head still guesses partly by its random part (which a much larger rate would drown). And its message depends on *which* random head it is: the cosines scatter about a mean near zero, though images and labels are the same. Does this do *harm*? To answer, we need a model whose features can be computed. First, two tools.
#
# ## Small steps: fine-tuning is nearly linear
#
# Write the network's outputs as a function of all its parameters and expand at the start, with $\Delta\theta = \theta - \theta_0$ and $J = \partial f/\partial\theta$ at $\theta_0$:
#
# $$f_\theta(x) \;\approx\; f_{\theta_0}(x) + J(x)\, \Delta\theta .$$
#
# If this were exact, fine-tuning would be a *linear model* in $\Delta\theta$ with nearly 300,000 fixed features, a row of $J(x)$, for each logit (their inner product is the *neural tangent kernel*, 神经正切核). What is known of linear models, of priors and early stopping, would carry over.
# The error is of second order where the network is smooth: walk half the way and it should shrink to a quarter. A small random network with tanh units, on GlyphNet's features, shows it. The *Jacobian-vector product* (雅可比向量积) $J\Delta\theta$ costs about as much as a few runs of the network; $J$ itself is never formed.


# %%
def linearised_errors(outputs, start, moved, shares):
    """‖f(θ₀ + sΔθ) − f(θ₀) − sJΔθ‖ and ‖f(θ₀ + sΔθ) − f(θ₀)‖ at every share s: two arrays."""
    f0, tangent = torch.autograd.functional.jvp(outputs, start, moved)
    with torch.inference_mode():
        true = [outputs(*(p + s * m for p, m in zip(start, moved))) - f0 for s in shares]
    errors = [(change - s * tangent).norm().item() for change, s in zip(true, shares)]
    return np.array(errors), np.array([change.norm().item() for change in true])


x = features[task.test[:50]].double()
ratios = []
for draw in range(draws):
    generator = torch.Generator().manual_seed(draw)
    shapes, scale = ((128, 64), (64, 10)), (0.3, 0.3)
    start, moved = ([s * torch.randn(*z, generator=generator).double() for z in shapes] for s in scale)
    errors, _ = linearised_errors(lambda a, b: torch.tanh(x @ a) @ b, tuple(start), tuple(moved), [1e-3, 2e-3])
    ratios.append(errors[1] / errors[0])
claim(
    "02b.linearised",
    "in a smooth network, twice the way gives four times the linearised error, to within a twentieth, in ten random directions",
    bool(np.abs(np.array(ratios) / 4 - 1).max() < 0.05),
)

# %% [markdown]
# The real network is not smooth: it is full of ReLUs, $\max(0, a)$, each with a kink at zero. GlyphNet, ten examples a class, a fitted head, then 20 steps of Adam at a gentle and at a bold learning rate. The network runs in evaluation mode throughout, so that it is one fixed function of its parameters. Then we walk the straight line
# $\theta_0 + s\,\Delta\theta$ to where training ended ($s = 1$) and compare the logits of 30 test digits. **Predict:** at $s = 1$, by what share is the linearised change wrong? And how fast does that share fall towards $s = 0$? (In a smooth network the error falls like $s^2$, the share like $s$.)


# %%
def fine_tune(draw, rate):
    """Return the network, its start and the displacement of all parameters (tuples of float64 tensors)."""
    rows = sample_k_shot(task, 10, seed=draw)
    network = load_glyphnet()
    network.head = new_head("fitted", rows, draw)
    start = tuple(p.detach().double().clone() for p in network.parameters())
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(draw)
    for _ in range(steps):
        batch = rows[torch.randperm(len(rows), generator=generator)[:32].numpy()]
        loss = F.cross_entropy(network(images[batch]), labels[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.double(), start, tuple(p.detach() - s for p, s in zip(network.parameters(), start))


# %%
from torch.func import functional_call

shares = [0.001, 0.01, 0.1, 1.0, 2.0]


def walk(draw, rate):
    network, start, moved = fine_tune(draw, rate)
    names, shown = [name for name, _ in network.named_parameters()], images[task.test[:30]].double()
    errors, changes = linearised_errors(
        lambda *p: functional_call(network, dict(zip(names, p)), (shown,)), start, moved, shares
    )
    return errors / changes


# %%
rates = {"gentle, 1e-5": 1e-5, "bold, 1e-3": 1e-3}
walks = {name: np.array([walk(draw, rate) for draw in range(trained_draws)]) for name, rate in rates.items()}
columns = {0.001: "s = 0.001", 0.1: "s = 0.1", 1.0: "s = 1"}
table = {n: {c: w[:, shares.index(s)] for s, c in columns.items()} for n, w in walks.items()}
record_table("02b.linearised-error", table, corner="error, share of the true change")
end = shares.index(1.0)
claim(
    "02b.linearised-ends",
    "where training ended, the linearised change of GlyphNet's logits is within 0.15 of the true one for the gentle rate and not for the bold, in every draw",
    bool(walks["gentle, 1e-5"][:, end].max() < 0.15 < walks["bold, 1e-3"][:, end].min()),
)
claim(
    "02b.kinks",
    "a thousandth of the way, the error's share is under a tenth of what it is at the end, but over a hundredth: it falls more slowly than s",
    all(bool((w[:, 0] / w[:, end]).max() < 0.1 and (w[:, 0] / w[:, end]).min() > 0.01) for w in walks.values()),
)

# %%
import matplotlib.pyplot as plt

from workbook.plotting import COLOURS

figure, axis = plt.subplots()
for (name, found), colour in zip(walks.items(), ("blue", "vermilion")):
    for draw, errors in enumerate(found):
        axis.plot(shares, errors, "o-", color=COLOURS[colour], lw=1, label=name if draw == 0 else None)
smooth = walks["bold, 1e-3"][:, end].mean() * np.array(shares)
axis.plot(shares, smooth, "--", color=COLOURS["grey"], label="if it were smooth: ∝ s")
axis.axvline(1, color=COLOURS["grey"], ls=":", label="where training ended")
axis.set(xscale="log", yscale="log", xlabel="share s of the way from θ₀ to the end of training")
axis.set(
    ylabel="error of the linearised logits,\nas a share of their true change",
    title="Right near the start, and not for long",
)
_ = axis.legend()

# %% [markdown]
# *Error share against s, both axes logarithmic, three draws for each of two rates. All lines rise; the bold ones lie several times above the gentle ones, and all are flatter than the dashed line of slope 1.*
#
# At a gentle rate nearly all that fine-tuning does to the logits is in $J\Delta\theta$, and for such runs, which move no weight far, the linear theory of the next section is a fair guide. At an ordinary rate a large part of the change is wrong after only
# 20 steps: there $J(x)$ itself changes, which the linear model cannot follow. And the smooth law failed: the error's share falls more slowly than $s$. The likely reason: among the many thousand ReLUs of an image
# some stand so near zero that even a tiny step carries them over their kink, where no derivative had announced it.
#
# ## In the linear world: stay near the start, as a prior
#
# Let the model be linear: rows $X$ ($n \times d$), answers $y = X w^* + \text{noise}$, noise with **variance 1** (an assumption; with variance $\sigma^2$ the penalty's $\alpha$ becomes $\sigma^2\alpha$). The source gave us $w_0$. How should it enter? Suppose that target weights scatter around it, $w \sim \mathcal N(w_0, \alpha^{-1} I)$:
# a *prior* (先验). By Bayes' rule the most probable $w$ given the rows (*maximum a posteriori*, 最大后验) minimises the negative logarithm of likelihood times prior,
#
# $$\tfrac 12 \lVert y - Xw \rVert^2 + \tfrac\alpha2 \lVert w - w_0 \rVert^2 + \text{const}.$$
#
# The penalty is **L2-SP** ('starting point'); with $w_0 = 0$ it is *weight decay* (权重衰减), the belief that a good network lies near *zero*. Setting the gradient $X^\top(Xw - y) + \alpha(w - w_0)$ to zero gives the *ridge* form
#
# $$\hat w = (X^\top X + \alpha I)^{-1}(X^\top y + \alpha w_0) .$$
#
# As $\alpha \to \infty$ it stays at $w_0$; as $\alpha \to 0$ it fits the rows and keeps $w_0$ only where they say nothing. Which $\alpha$ is right? Insert $y = Xw^* + \text{noise}$: if the entries of $w_0 - w^*$ are independent with mean 0 and variance $\tau^2$, the expected squared error along an eigenvector of $X^\top X$ with eigenvalue
# $\lambda$ is $(\lambda + \alpha^2\tau^2)/(\lambda + \alpha)^2$. Its derivative in $\alpha$ has the sign of $\lambda(\alpha\tau^2 - 1)$: least at $\alpha = 1/\tau^2$, whatever $\lambda$.
#
# Twenty problems with $n = 45$ rows and $d = 50$ true weights $w^*$ of variance 1. 'Error' is $\lVert \hat w - w^*\rVert^2/d$; answering $w = 0$ costs 1 on average. The priors: a *related* source ($\tau = 0.3$), zero ($\tau = 1$), and an *unrelated* source, another such vector ($\tau^2 = 1 + 1$). What will the third do?

# %%
n, d, tau = 45, 50, 0.3
alphas, times = np.geomspace(0.03, 300, 25), np.unique(np.geomspace(1, 2000, 25).astype(int))


def regression(problem):
    chance = np.random.default_rng([seed, problem])
    truth, X = chance.normal(size=d), chance.normal(size=(n, d))
    starts = {"related source": truth + tau * chance.normal(size=d), "zero": np.zeros(d)}
    return X, X @ truth + chance.normal(size=n), truth, starts | {"unrelated source": chance.normal(size=d)}


def ridge(X, y, w0, alpha):
    return np.linalg.solve(X.T @ X + alpha * np.eye(d), X.T @ y + alpha * w0)


X, y, truth, starts = regression(0)
w = torch.tensor(ridge(X, y, starts["related source"], 2.0), requires_grad=True)
gap = w - torch.tensor(starts["related source"])
posterior = (torch.tensor(y) - torch.tensor(X) @ w).square().sum() / 2 + 2.0 / 2 * gap.square().sum()
(slope,) = torch.autograd.grad(posterior, w)
claim(
    "02b.l2-sp-ridge",
    "at the ridge form, the gradient of −log posterior (unit noise variance) is zero to within 1e-9",
    bool(slope.abs().max() < 1e-9),
)

# %% [markdown]
# The same without a penalty: stop early. Gradient descent on $\frac12\lVert y - Xw\rVert^2$ from $w_0$, rate $\eta$; let $X^\top X = \sum_i \lambda_i u_i u_i^\top$ with eigenvectors $u_i$, and $w_\infty$ a solution of $X^\top X w = X^\top y$. Each step multiplies the distance to $w_\infty$ along $u_i$ by $1 - \eta\lambda_i$, so
#
# $$u_i^\top (w_t - w_0) = \big[1 - (1-\eta\lambda_i)^t\big]\; u_i^\top (w_\infty - w_0), \qquad (1-\eta\lambda_i)^t \approx e^{-\eta t \lambda_i}\ \text{ for small } \eta .$$
#
# In the ridge form put $X^\top X w_\infty$ for $X^\top y$ and subtract $w_0$: L2-SP does the same with the factor $\lambda_i / (\lambda_i + \alpha)$. Both learn the directions in which the rows speak loudly (large $\lambda_i$) and leave the others at $w_0$. With $\alpha = 1/(\eta t)$ and the number $u = \eta t\lambda_i$ the factors are $1 - e^{-u}$ and $u/(1+u)$, nowhere 0.21 apart. **Early stopping (早停) is nearly L2-SP**, and few steps mean a strong prior.


# %%
def descend(X, y, w0, t, eta):
    """w after t steps, by the closed form along the eigenvectors (numpy.linalg.eigh)."""
    values, vectors = np.linalg.eigh(X.T @ X)
    to_go = np.linalg.pinv(X) @ (y - X @ w0)
    return w0 + vectors @ ((1 - (1 - eta * values) ** t) * (vectors.T @ to_go))


eta = 0.5 / np.linalg.norm(X, 2) ** 2
w = starts["related source"]
for _ in range(100):
    w = w - eta * X.T @ (X @ w - y)
u = np.geomspace(1e-3, 1e3, 2000)
# %%
claim(
    "02b.early-stopping",
    "100 steps of gradient descent end where the closed form says, to within 1e-9; its factors and L2-SP's differ by less than 0.21",
    bool(
        np.abs(w - descend(X, y, starts["related source"], 100, eta)).max() < 1e-9
        and np.abs((1 - np.exp(-u)) - u / (1 + u)).max() < 0.21
    ),
)

# %%
penalised = {name: np.zeros((problems, len(alphas))) for name in starts}
stopped = {name: np.zeros((problems, len(times))) for name in starts}
for problem in range(problems):
    X, y, truth, starts = regression(problem)
    eta = 0.5 / np.linalg.norm(X, 2) ** 2
    for name, w0 in starts.items():  # new rows have covariance I: the excess risk is the squared distance
        penalised[name][problem] = [np.sum((ridge(X, y, w0, a) - truth) ** 2) / d for a in alphas]
        stopped[name][problem] = [np.sum((descend(X, y, w0, t, eta) - truth) ** 2) / d for t in times]

# %%
variances = (tau**2, 1, 2)  # of the entries of w* − w₀
figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
for axis, at, found in ((axes[0], alphas, penalised), (axes[1], times, stopped)):
    for (name, errors), colour, right in zip(found.items(), ("green", "grey", "vermilion"), variances):
        low, high = np.transpose([mean_interval(column)[1:] for column in errors.T])
        axis.plot(at, errors.mean(0), color=COLOURS[colour], label=name)
        axis.fill_between(at, low, high, color=COLOURS[colour], alpha=0.2, lw=0)
        if axis is axes[0]:
            axis.axvline(1 / right, color=COLOURS[colour], ls=":")
axes[0].set(xscale="log", xlabel="strength of the penalty, α", ylabel="error of the weights", title="L2-SP")
axes[1].set(xscale="log", xlabel="steps of gradient descent, t", title="No penalty: early stopping")
axes[0].set_ylim(0, None)
_ = axes[0].legend()

# %% [markdown]
# *Two panels with three bands each (mean and 95 % interval over twenty problems). Left, error against α: each curve falls to a lowest point near its own dotted line, α = 1/τ², and rises after it; the related source's curve is the lowest throughout, the unrelated one's the highest, ending twice as high as zero's.
# Right, error against steps: the mirror image; few steps are a large α.*

# %%
best = {
    name: errors[:, np.abs(np.log(alphas * right)).argmin()]
    for (name, errors), right in zip(penalised.items(), variances)
}
record_table("02b.prior", {name: {"error at α = 1/τ²": e} for name, e in best.items()}, corner="prior around", digits=2)
tight = {name: errors[:, -1] for name, errors in penalised.items()}
near_best = [
    errors.mean(0)[np.abs(np.log(alphas * right)).argmin()] < 1.1 * errors.mean(0).min()
    for errors, right in zip(penalised.values(), variances)
]
claim(
    "02b.prior-from-a-related-source",
    "each prior held at its own 1/τ² is within a tenth of its best, and the related source's beats the one around zero (paired 95 % interval)",
    bool(all(near_best) and paired_difference(best["zero"], best["related source"]).low > 0),
)
claim(
    "02b.prior-from-an-unrelated-source",
    "held tightly, a prior around an unrelated source is worse than one around zero (paired 95 % interval)",
    paired_difference(tight["unrelated source"], tight["zero"]).low > 0,
)

# %% [markdown]
# Here we know $\tau$; in practice validation rows choose α (lesson 04b). The prior fills the directions that the rows leave (nearly) open, and it matters *with what*. The unrelated source is *negative transfer* (负迁移) in
# one formula: $\lVert w_0 - w^* \rVert^2$ is on average twice $\lVert w^* \rVert^2$ for an independent $w_0$ of the same size. A smaller α, or more steps, softens it; yet even at its best this source is worse than none.
#
# ## Two layers: what a random head does to features
#
# The smallest model with features to distort is $f(x) = v^\top B x$, with features $h = Bx \in \mathbb R^k$, $B$ of shape $k \times d$ and a head $v \in \mathbb R^k$ (Kumar et al. 2022). Let $r_i = v^\top B x_i - y_i$, and $L = \frac{1}{2n}\sum_i r_i^2$. Then
#
# $$\frac{\partial L}{\partial v} = B c, \qquad \frac{\partial L}{\partial B} = v\, c^\top, \qquad c = \frac 1n \sum_i r_i\, x_i .$$
#
# $c$ is a combination of the training inputs. So each row of $\partial L/\partial B$ lies in $\operatorname{span}(X)$, at every step, whatever $v$ is. Let $x_\perp$ be orthogonal to all training inputs: $c^\top x_\perp = 0$, hence
#
# $$B_t\, x_\perp = B_0\, x_\perp \quad\text{for all } t.$$
#
# **Features move only on the span of the training inputs.** Off it the network answers $v_t^\top B_0 x_\perp$: *old* features under the *new* head. That is fine if $v_t$ becomes right for the old features. Does it?
# It begins at a random $v_0$, and the loss can be brought to zero by moving $B$ on the span as well as by moving $v$: the gradients $Bc$ and $vc^\top$ are of comparable size unless $v$ is very short or long, so each does part of the work. Once the rows are fitted, $c = 0$ and everything stops, *wherever $v$ is by then*. On the span all is well;
# off it the head is wrong for features that nobody corrected.
#
# **LP-FT** (先探测后微调) fits $v$ first, with $B$ fixed. If the old features are *good*, $c$ is then small, $B$ hardly moves, and $v$ is right for the old features, so also off the span. If not, a right $v$ does not exist. And the gain is seen only at test inputs *off* the span.
#
# The simulation: $d = 40$ inputs, $k = 5$ features, training inputs in a random 10-dimensional subspace, no noise. The true features $B^*$ have orthonormal rows, the true head is a unit vector. 'Pre-trained' features are $B^*$ perturbed by a share $\varepsilon$ and made orthonormal again. In-distribution (ID)
# inputs are normal in the subspace, out-of-distribution (OOD, 分布外) inputs in all of $\mathbb R^d$. Both errors are exact expectations, as a share of the variance of $y$.

# %%
d, k, span, n = 40, 5, 10, 30


def orthonormal(matrices):
    """Nearest matrices with orthonormal rows: A = UΣVᵀ becomes UVᵀ."""
    u, _, vt = np.linalg.svd(matrices, full_matrices=False)
    return u @ vt


def two_layer(seeds, epsilon):
    made = []
    for one in seeds:
        chance = np.random.default_rng(one)
        true, head = orthonormal(chance.normal(size=(k, d))), chance.normal(size=k)
        old = orthonormal(true + epsilon * chance.normal(size=(k, d)) / np.sqrt(d))
        basis, _ = np.linalg.qr(chance.normal(size=(d, span)))
        X = chance.normal(size=(n, span)) @ basis.T
        weights = true.T @ head / np.linalg.norm(head)
        random_head = chance.uniform(-1, 1, size=k) / np.sqrt(k)  # PyTorch's default for a linear layer
        made.append((old, weights, basis @ basis.T, X, X @ weights, random_head))
    return [np.stack(part) for part in zip(*made)]


# %%
def train(setting, B, v, updates, rate, *, features=True):
    _, _, _, X, y, _ = setting
    for _ in range(updates):
        residual = X @ (B.mT @ v[:, :, None]) - y[:, :, None]
        c = X.mT @ residual / X.shape[1]
        step_v, step_B = (B @ c)[:, :, 0], v[:, :, None] @ c.mT
        v, B = v - rate * step_v, B - rate * step_B if features else B
    return B, v


def errors_of(setting, B, v):
    """Exact expected squared errors, as shares of the variance of y: in and out of distribution."""
    _, weights, on, *_ = setting
    off_by = (B.mT @ v[:, :, None])[:, :, 0] - weights
    size = {"ID": lambda e: ((on @ e[:, :, None]) ** 2).sum((1, 2)), "OOD": lambda e: (e**2).sum(1)}
    return {which: of(off_by) / of(weights) for which, of in size.items()}


def run(arm, setting, rate, updates=400):
    B, v = setting[0], setting[-1] * (arm != "from a zero head")
    if arm == "linear probe":
        return train(setting, B, v, updates, rate, features=False)
    if arm == "LP-FT":
        B, v = train(setting, B, v, updates // 2, rate, features=False)
        updates -= updates // 2
    return train(setting, B, v, updates, rate)


# %% [markdown]
# First the theorem. Feature movement on the span and off it, for each of the twenty problems after fine-tuning from the random head:

# %%
live = two_layer(range(problems), epsilon=0.3)
B, v = run("fine-tuned", live, rate=0.1)
moved = B - live[0]
on, off = np.linalg.norm(moved @ live[2], axis=(1, 2)), np.linalg.norm(moved - moved @ live[2], axis=(1, 2))
record_table("02b.movement", {"‖B − B₀‖": {"on the span": on}}, corner="fine-tuned from a random head")
claim(
    "02b.lp-ft-off-span",
    "in every problem the features move by less than 1e-12 off the span of the training inputs and by more than 0.1 on it",
    bool(off.max() < 1e-12 and on.min() > 0.1),
)

# %% [markdown]
# Then its consequence. Four arms: fine-tuning from the random head and from a zero head, the probe, LP-FT; the same 400 steps each (LP-FT: 200 for the head, 200 for both), the same four learning rates to choose from, chosen by the mean ID error on ten problems *of their own* (seeds 1000 to 1009), never by OOD.

# %%
arms = ("fine-tuned", "from a zero head", "linear probe", "LP-FT")
candidates = (0.02, 0.05, 0.1, 0.2)


def choose_rate(arm, epsilon):
    validation = two_layer(range(1000, 1010), epsilon)
    return min(candidates, key=lambda rate: errors_of(validation, *run(arm, validation, rate))["ID"].mean())


def scored(epsilon, seeds):
    setting = two_layer(seeds, epsilon)
    return {arm: errors_of(setting, *run(arm, setting, choose_rate(arm, epsilon))) for arm in arms}


# %%
main = scored(0.3, range(problems))
record_table("02b.lp-ft", main, corner="error, share of Var(y)")
pairs = [
    ("fine-tuned", "linear probe"),
    ("fine-tuned", "LP-FT"),
    ("from a zero head", "LP-FT"),
    ("linear probe", "LP-FT"),
]
gaps = {f"{a} − {b}": {which: main[a][which] - main[b][which] for which in ("ID", "OOD")} for a, b in pairs}
record_table("02b.lp-ft-paired", gaps, corner="paired differences")
lengths = {a: np.linalg.norm(run(a, live, choose_rate(a, 0.3))[1], axis=1) for a in arms}
record_table("02b.head-length", {"‖v‖ at the end (true head: 1)": lengths}, digits=2)


# %%
def worse(found, which, arm, than):
    """Whether the paired 95 % interval of arm's error minus than's lies above zero."""
    return paired_difference(found[arm][which], found[than][which]).low > 0


claim(
    "02b.fine-tuning-distorts",
    "fine-tuned from a random head: better than the probe ID and worse OOD (paired 95 % intervals over twenty problems)",
    worse(main, "ID", "linear probe", "fine-tuned") and worse(main, "OOD", "fine-tuned", "linear probe"),
)
claim(
    "02b.lp-ft-has-both",
    "LP-FT: better than the probe ID, and better than fine-tuning from a random or a zero head OOD (paired 95 % intervals)",
    worse(main, "ID", "linear probe", "LP-FT")
    and worse(main, "OOD", "fine-tuned", "LP-FT")
    and worse(main, "OOD", "from a zero head", "LP-FT"),
)

# %% [markdown]
# Fine-tuning from a random head fits the rows perfectly, and the price is paid off the span. The probe is imperfect everywhere, because the old features are, but nowhere badly. LP-FT corrects on the span what is wrong with the features and keeps a head that is right off it.
# And the *zero head* is half a cure: its first step is harmless, but from the second on head and features still share the work, so its head ends shorter than the true one (last table), too short for the features that did not move. The random head ends about as short but errs far more, so it must also point elsewhere. Every arm chose the largest rate of the list; three times that rate (tried aside) leaves their order OOD as it is.
#
# The argument needed good features. So we spoil them: $\varepsilon$ from 0 (the true ones) to 4 (next to nothing left of them), each arm choosing its rate anew. **Where will the order of the arms turn over?**

# %%
epsilons = [0.0, 0.3, 0.6, 1.0, 4.0]
sweep = {epsilon: main if epsilon == 0.3 else scored(epsilon, range(problems)) for epsilon in epsilons}
figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
for axis, which, title in zip(axes, ("ID", "OOD"), ("In distribution", "Out of distribution")):
    for arm, colour, marker in zip(arms, ("vermilion", "orange", "blue", "green"), "sD^o"):
        middle, low, high = np.transpose([mean_interval(found[arm][which]) for found in sweep.values()])
        axis.plot(range(5), middle, color=COLOURS[colour], marker=marker, label=arm)
        axis.fill_between(range(5), low, high, color=COLOURS[colour], alpha=0.2, lw=0)
    axis.set(title=title, xlabel="perturbation ε of the pre-trained features", xticks=range(5), xticklabels=epsilons)
axes[0].set_ylabel("error, share of Var(y)")
_ = axes[0].legend()

# %%
claim(
    "02b.lp-ft-beats-the-probe",
    "with features as much perturbed as they are good (ε = 1), LP-FT is better than the probe both ID and OOD (paired 95 % intervals)",
    worse(sweep[1.0], "ID", "linear probe", "LP-FT") and worse(sweep[1.0], "OOD", "linear probe", "LP-FT"),
)
claim(
    "02b.bad-features-turn-it-over",
    "with features nearly destroyed (ε = 4), fine-tuning from a random head beats the probe and LP-FT OOD (paired 95 % intervals)",
    worse(sweep[4.0], "OOD", "linear probe", "fine-tuned") and worse(sweep[4.0], "OOD", "LP-FT", "fine-tuned"),
)

# %% [markdown]
# *Two panels, error against ε (not to scale), four arms with 95 % bands over twenty problems. In distribution the probe's error climbs with ε, the others stay at zero. Out of distribution, at small ε, the probe and LP-FT lie near zero, the zero head above them, the random head far above all; at ε = 4 the probe
# lies highest, then LP-FT.*
#
# With perfect features nothing beats the probe. With good ones LP-FT has the best of both. At $\varepsilon = 1$ the zero head lies below it in the figure. With ruined ones a 'right' head for them does not exist: fitted faithfully to the rows it answers off the span with confidence and wrongly (an error above 1 is worse than answering zero), and a method that leaves the head
# short is safer, though none of the four beats zero there. So LP-FT is no law: it needs good features and a shift off the training span. A shift *within* the span would have cost fine-tuning nothing: its error there is zero.
#
# ## What to take away
#
# - The backbone hears $W^\top(p - y)$. Zero head: nothing, for one step, while the head learns class means. Random head: a loud message that depends on the draw of the head.
# - $f \approx f_0 + J\Delta\theta$ describes gentle fine-tuning, with $J$ fixed; at an ordinary rate it soon fails.
# - L2-SP is the prior $\mathcal N(w_0, \alpha^{-1}I)$; early stopping from $w_0$ is nearly the same prior with $\alpha = 1/(\eta t)$. A prior around the wrong source hurts, and the tighter the more.
# - Features move on the span of the training inputs and nowhere else. From a random head they move there to make up for its errors, and the head stays wrong elsewhere. LP-FT fits the head first; it needs good features.
#
# > **Mistakes box.** *Weight decay taken for neutral*: it is a prior around zero, which pulls a pre-trained network away from what it knows. *Judging fine-tuning by in-distribution error alone*: all the harm here was invisible there. *A fresh head and the backbone trained at one high rate from the first step.* *LP-FT as a ritual*, without asking whether the features are any good.
# > *Comparing head-first training with plain fine-tuning at different numbers of steps.*
#
# **A question left open.** In the two-layer model, 'off the span' is a subspace. For photographs of digits, which shifts are off it, and does LP-FT help there? (Lessons 04b and 04c measure it.) The lab of chapter 02 has you write what a head hands to the backbone.
#
# **Sources.** A. Kumar et al., *Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution*, ICLR 2022 · X. Li, Y. Grandvalet and F. Davoine, *Explicit Inductive Bias for Transfer Learning with Convolutional Networks*, ICML 2018 (L2-SP) ·
# A. Jacot, F. Gabriel and C. Hongler, *Neural Tangent Kernel*, NeurIPS 2018 · I. Goodfellow, Y. Bengio and A. Courville, *Deep Learning*, 2016, section 7.8 (early stopping and L2).
