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
# # 02 · Risk, loss and gradients: the formulas under every chapter
#
# **A question.** A colleague fine-tunes a ten-class network. Every training image is classified correctly, most with full confidence, and the loss has come to rest at 1.4612. It stays there for an hour, at every learning rate.
# A model that knows nothing and gives each class probability 1/10 has the loss $\ln 10 \approx 2.30$; a perfect one should come near 0. Nothing crashes and nothing warns. What is wrong, and where does that number come from?
#
# Answering it takes one gradient and half a page. Each formula is derived here, and then checked by a machine that does not know the derivation.
#
# By the end of this lesson you can
#
# - say what fine-tuning minimises, and when its *starting point* matters at all;
# - derive the gradient and the Hessian of softmax cross-entropy, for many classes and for two, and recognise a wrong gradient that circulates;
# - explain the colleague's number, for any number of classes;
# - compute how much of the source's batch-norm statistics is left after $t$ training steps, in PyTorch's convention and in Keras's.
#
# *About 35 minutes of reading; a few seconds of computing. You need derivatives of several variables and the variance of a random variable. Notation: the [reference page](README.md). How fine-tuning itself looks in formulas
# is lesson [02b](02b_fine_tuning_in_formulas.ipynb); two distributions, lesson [02c](02c_two_distributions.ipynb); the distance between two samples, lesson [02d](02d_distances_and_label_shift.ipynb).*

# %% tags=["parameters"]
profile = "quick"  # type: str
seed = 0  # type: int
classes = [2, 10, 1000]  # type: list
momentum = 0.1  # type: float
steps = 61  # type: int

# %%
import numpy as np
import torch
from torch.nn import functional as F

from workbook.lesson import begin, claim, record, record_table

defaults = classes == [2, 10, 1000] and momentum == 0.1 and steps == 61
begin("torch", profile=profile, seed=seed, scope=profile == "quick" and defaults)
if profile != "quick":
    raise NotImplementedError("this lesson runs at profile = 'quick'; photographs come from chapter 03 on")

# %% [markdown]
# Here is the colleague's situation with everything inessential removed. The *logits* (对数几率) $z$ are a network's outputs, one number a class, before softmax turns them into probabilities. Let gradient descent set the ten logits of eight examples *freely*: nothing stands in the way of
# a perfect fit. Predict where the loss ends, as it should be and as the colleague has it, before you run it.

# %%
labels = torch.arange(8)


def descend(loss_of, z, updates=4000, rate=8.0):
    for _ in range(updates):
        (gradient,) = torch.autograd.grad(loss_of(z), z)
        z = (z - rate * gradient).detach().requires_grad_()
    return loss_of(z).item(), (z.argmax(1) == labels).double().mean().item()


start = torch.randn(8, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()
losses = {"as it should be": lambda z: F.cross_entropy(z, labels)}
losses["the colleague's"] = lambda z: F.cross_entropy(z.softmax(1), labels)
ends = {name: dict(zip(("loss", "accuracy"), descend(loss, start))) for name, loss in losses.items()}
record_table(
    "02.colleague", {n: {c: [x] for c, x in row.items()} for n, row in ends.items()}, corner="free logits", digits=4
)

# %% [markdown]
# The second row is the colleague's screen. (Its last digit is still on the way.) The model ended in a softmax layer, and the loss, which expects logits, applied softmax once more. Every prediction is right; only the number is wrong and, as we shall see, learning is slow. Now the theory, from the beginning.
#
# ## What is minimised
#
# A model $f_\theta$ makes a prediction for $x$; the *loss function* (损失函数) $\ell(f_\theta(x), y)$ says how bad it is. The **risk** (风险) is its expectation. There are two risks, since there are two distributions of examples, the source's $p_S$ and the target's $p_T$:
#
# $$R_S(\theta) = \mathbb E_{(x,y)\sim p_S}\,\ell(f_\theta(x), y), \qquad R_T(\theta) = \mathbb E_{(x,y)\sim p_T}\,\ell(f_\theta(x), y).$$
#
# We care about $R_T$ and know neither. What we have are samples, and the **empirical risk** (经验风险) $\hat R_T(\theta) = \frac 1n \sum_i \ell(f_\theta(x_i), y_i)$, whose expectation over samples is $R_T(\theta)$ for every *fixed* $\theta$
# (not for a $\theta$ chosen on the same sample, which is why there are test rows).
#
# The smallest possible case: one parameter, $f_w(x) = w x$, squared loss, truth $y = x^2$, inputs $x \sim \mathcal N(\mu, 1)$. The rule $y = x^2$ is the same in both domains; only $\mu$ differs. Then
# $R(w) = \mathbb E(wx - x^2)^2$ is a parabola. Setting $R'(w) = 2\,\mathbb E[(wx - x^2)\,x]$ to zero gives
#
# $$w = \frac{\mathbb E x^3}{\mathbb E x^2} = \frac{\mu^3 + 3\mu}{\mu^2 + 1}, \qquad \frac{dw}{d\mu} = \frac{\mu^4 + 3}{(\mu^2 + 1)^2} > 0,$$
#
# so the minimiser grows with $\mu$: two different means have two different minimisers. Computer algebra, starting from the risk itself, agrees:

# %%
import sympy as sp
from sympy.stats import E, Normal

w, mu = sp.symbols("w mu", real=True)
x = Normal("x", mu, 1)
risk = sp.expand(E((w * x - x**2) ** 2))
best = sp.simplify(sp.solve(sp.diff(risk, w), w)[0])
claim(
    "02.shift-moves-the-minimiser",
    "for y = x² and f = wx the risk is least at w = μ(μ² + 3)/(μ² + 1), so source and target have different minimisers",
    sp.simplify(best - mu * (mu**2 + 3) / (mu**2 + 1)) == 0,
)

# %% [markdown]
# A straight line through zero cannot be $x^2$, so it makes do where the inputs are. A model that contains the truth would have the same minimiser in both domains: a shift of the inputs alone costs something only where the model cannot be right everywhere.
#
# **Fine-tuning** (微调) is then *initialised* minimisation: descend on $\hat R_T$, starting at $\theta_0 \approx \arg\min \hat R_S$. Nothing of the source enters the objective. It can only act through the start. When does a start matter?
#
# On a parabola with minimiser $w^*$ and curvature $\lambda = R''$ the slope is $R'(w) = \lambda (w - w^*)$. A step $w \leftarrow w - \eta R'(w)$ at *learning rate* $\eta$ therefore multiplies the distance $w - w^*$ by $1 - \eta\lambda$, and after $t$ steps $(1-\eta\lambda)^t$ of the *initial* distance is left. The start matters as long as the
# steps are few, and for ever in directions of no curvature ($\lambda = 0$: more parameters than rows). With infinite patience, curvature everywhere and a rate small enough that $|1 - \eta\lambda| < 1$, it would not matter at all.
#
# Real networks are not parabolas. Take a model that is a sine with unknown *frequency*, $f_w(x) = \sin(wx)$, the target's answers $\sin(w_T x)$ with $w_T = 2$, inputs $x \sim \mathcal N(0, s^2)$ with $s = 2$. Expand the square in $\mathbb E\,(\sin wx - \sin w_T x)^2$; from $\sin a \sin b = \frac 12[\cos(a-b) - \cos(a+b)]$ (with $a = b$ for the squares) and $\mathbb E \cos(ax) = e^{-a^2 s^2/2}$,
#
# $$R_T(w) = \tfrac12\big(1 - e^{-2 s^2 w^2}\big) + \tfrac12\big(1 - e^{-2 s^2 w_T^2}\big) - e^{-s^2 (w - w_T)^2/2} + e^{-s^2 (w + w_T)^2/2}.$$
#
# The third term is a well around $w_T$, and far from it the risk is flat. Suppose the source's frequency was 1.5. We descend on the empirical risk of 30 target rows, from there and from forty evenly spaced starts, for ten samples.

# %%
source_w, target_w, spread = 1.5, 2.0, 2.0


def exact_risk(w):
    def own(v):
        return (1 - torch.exp(-2 * spread**2 * v**2)) / 2

    wells = torch.exp(-((w + target_w) ** 2) * spread**2 / 2) - torch.exp(-((w - target_w) ** 2) * spread**2 / 2)
    return own(w) + own(torch.tensor(target_w)) + wells


def empirical_risk(w, rows):  # w (draws, starts), rows (draws, n) -> (draws, starts)
    return (torch.sin(w[..., None] * rows[:, None]) - torch.sin(target_w * rows)[:, None]).square().mean(-1)


generator = torch.Generator().manual_seed(seed)
rows = spread * torch.randn(10, 30, generator=generator, dtype=torch.float64)
starts = torch.cat([torch.tensor([source_w]), torch.linspace(0.1, 8, 40)]).double()
now = starts.repeat(10, 1)
for _ in range(600):
    now.requires_grad_()
    (slope,) = torch.autograd.grad(empirical_risk(now, rows).sum(), now)
    now = (now - 0.05 * slope).detach()
arrived = (now - target_w).abs() < 0.05

# %%
many = spread * torch.randn(1, 400_000, generator=generator, dtype=torch.float64)
grid = torch.linspace(0, 8, 30, dtype=torch.float64)
simulated = torch.stack([empirical_risk(point[None, None], many).squeeze() for point in grid])
claim(
    "02.exact-sine-risk",
    "the closed form of the sine's risk agrees with 400,000 simulated rows to within 0.01 at thirty frequencies",
    bool((simulated - exact_risk(grid)).abs().max() < 0.01),
)
claim(
    "02.start-decides",
    "started at the source's frequency, descent reaches the target's in all ten samples; of forty even starts, under half do",
    bool(arrived[:, 0].all() and arrived[:, 1:].double().mean() < 1 / 2),
)
record("02.starts-that-arrive", arrived[:, 1:].double().mean(1), digits=2)

# %%
import matplotlib.pyplot as plt

from workbook.plotting import COLOURS

figure, axes = plt.subplots(1, 2, figsize=(10, 4))
line = np.linspace(-0.5, 4.5, 200)
for name, at, colour in (("source, μ = 0.5", 0.5, "blue"), ("target, μ = 2", 2, "vermilion")):
    curve = sp.lambdify(w, risk.subs(mu, at))
    lowest = float(best.subs(mu, at))
    axes[0].plot(line, curve(line), color=COLOURS[colour], label=f"risk, {name}")
    axes[0].plot(lowest, curve(lowest), "o", color=COLOURS[colour])
axes[0].set(title="Convex: the start is only a head start", xlabel="w in f(x) = wx", ylabel="risk", ylim=(0, 45))
fine = torch.linspace(0, 8, 400, dtype=torch.float64)
axes[1].plot(fine, empirical_risk(fine[None].repeat(10, 1), rows).T, color=COLOURS["grey"], alpha=0.4, lw=0.8)
axes[1].plot(fine, exact_risk(fine), color=COLOURS["vermilion"], label="risk, target (exact)")
axes[1].plot(starts[1:], torch.full((40,), -0.08), "|", color=COLOURS["black"], label="forty starts")
axes[1].plot(source_w, exact_risk(torch.tensor(source_w)), "o", color=COLOURS["blue"], label="source's minimiser")
axes[1].set(title="Not convex: the start decides", xlabel="frequency w in f(x) = sin(wx)", ylabel="risk")
for axis in axes:
    axis.legend(fontsize=9)

# %% [markdown]
# *Left: two parabolas of the risk over w, the source's lowest near 1.3, the target's near 2.8. Right: the target's exact risk over the frequency, a narrow well at 2 and a plateau at 1 beyond it, with a second, shallower valley at frequency 0; thin grey lines, the empirical risks of ten
# samples, wiggle about it. The source's minimiser lies on the well's left slope.*
#
# About a third of the forty starts arrive, those near the well. From the others descent comes to rest in the valley near zero or in a ripple of the plateau, where more steps change nothing. The source's minimiser lies *inside the well*. That is the whole case for fine-tuning, in one parameter: a good start selects
# the valley, and with few steps it also saves the way. And the whole case against: had the source's frequency been 5, out on the plateau, starting there would not have helped.
#
# ## Softmax cross-entropy
#
# For $K$ classes the model gives logits $z \in \mathbb R^K$; softmax turns them into probabilities $p_j = e^{z_j} / \sum_k e^{z_k}$, and the loss is the *cross-entropy* (交叉熵) $\ell = -\ln p_y$. Write it as
#
# $$\ell(z) = -z_y + \ln \textstyle\sum_k e^{z_k}.$$
#
# Differentiate: the first term gives $-1$ at $j = y$ and 0 elsewhere, the second $e^{z_j}/\sum_k e^{z_k} = p_j$. With $y$ also standing for the *one-hot vector* (独热向量), 1 at the label and 0 elsewhere,
#
# $$\frac{\partial \ell}{\partial z} = p - y .$$
#
# Read it: a descent step pushes each wrong class's logit down in proportion to the probability it has, and the right one's up in proportion to the probability it lacks. Nothing can explode: every entry lies in $[-1, 1]$.
#
# Differentiate once more. From $\ln p_j = z_j - \ln\sum_k e^{z_k}$ comes $\partial \ln p_j/\partial z_k = \delta_{jk} - p_k$, where $\delta_{jk}$ is 1 for $j = k$ and else 0. Hence $\partial p_j/\partial z_k = p_j(\delta_{jk} - p_k)$, and the Hessian is
#
# $$H = \operatorname{diag}(p) - p\,p^\top .$$
#
# It does not contain the label. And it is *positive semi-definite* (半正定): for any $v \in \mathbb R^K$, $v^\top H v = \sum_j p_j v_j^2 - \big(\sum_j p_j v_j\big)^2$, which is the variance of a number that takes the value $v_j$ with probability $p_j$. No variance is negative,
# so the loss is convex in $z$ (though not in the parameters behind $z$). The variance is zero for $v = (1, \dots, 1)$: along that direction the loss is flat, since adding a constant to all logits changes nothing.
#
# First by algebra, for three classes:

# %%
z1, z2, z3 = sp.symbols("z1:4", real=True)
z_all = sp.Matrix([z1, z2, z3])
p_all = z_all.applyfunc(sp.exp) / sum(sp.exp(z) for z in z_all)
loss = -sp.log(p_all[0])
gradient_gap = sp.Matrix([sp.diff(loss, z) for z in z_all]) - (p_all - sp.Matrix([1, 0, 0]))
hessian_gap = sp.hessian(loss, list(z_all)) - (sp.diag(*p_all) - p_all * p_all.T)
claim(
    "02.softmax-by-algebra",
    "for three classes, algebra gives exactly p − y and diag(p) − ppᵀ",
    sp.simplify(gradient_gap).is_zero_matrix and sp.simplify(hessian_gap).is_zero_matrix,
)

# %% [markdown]
# Then by automatic differentiation, which knows nothing of our derivation, for ten classes and logits of every size from tame to saturated:

# %%
generator = torch.Generator().manual_seed(seed)
scales = torch.logspace(-1, 1.3, 50, dtype=torch.float64)[:, None]
z = scales * torch.randn(50, 10, generator=generator, dtype=torch.float64)
y = torch.randint(10, (50,), generator=generator)
p, one_hot = z.softmax(1), F.one_hot(y, 10)


def one_loss(z, target):
    return -(target * z).sum() + z.exp().sum().log()


gradient = torch.func.vmap(torch.func.grad(one_loss))(z, one_hot)
hessian = torch.func.vmap(torch.func.jacrev(torch.func.grad(one_loss)))(z, one_hot)
formula = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
v = torch.randn(50, 10, generator=generator, dtype=torch.float64)
variance = (p * (v - (p * v).sum(1, keepdim=True)).square()).sum(1)
# %%
claim(
    "02.softmax-gradient",
    "autograd's gradient of softmax cross-entropy is p − y to within 1e-12",
    bool((gradient - (p - one_hot)).abs().max() < 1e-12),
)
claim(
    "02.softmax-hessian",
    "autograd's Hessian is diag(p) − ppᵀ to within 1e-12, no eigenvalue is below −1e-12, and vᵀHv is a variance",
    bool(
        (hessian - formula).abs().max() < 1e-12
        and torch.linalg.eigvalsh(formula).min() > -1e-12
        and (torch.einsum("ni,nij,nj->n", v, hessian, v) - variance).abs().max() < 1e-10
    ),
)

# %% [markdown]
# ## The head's gradient, and what it hands to the backbone
#
# Features $h \in \mathbb R^d$, a linear head $z = Wh + b$. Since $\partial z_j / \partial W_{jk} = h_k$, $\partial z_j / \partial b_j = 1$ and $\partial z_j / \partial h_k = W_{jk}$, the chain rule gives, for the mean loss over $N$ rows,
#
# $$\frac{\partial L}{\partial W} = \frac 1N \sum_i (p_i - y_i)\, h_i^\top, \qquad \frac{\partial L}{\partial b} = \frac 1N\sum_i (p_i - y_i), \qquad \frac{\partial L}{\partial h_i} = \frac 1N W^\top (p_i - y_i).$$
#
# The last one is all that the *backbone* (主干网络) ever hears of the task: the error, *as the head's weights see it*. Lesson 02b draws the consequences. We check the three on GlyphNet's features of real digits (the letter-reading network of chapter 01).

# %%
from data_scripts.handwriting import load_handwriting
from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.torch.training import as_images, extract_features

task = load_handwriting()
images, digits = as_images(task.inputs), torch.from_numpy(task.labels)
features = extract_features(load_glyphnet(), images).clone()
h = features[:64].double().requires_grad_()
head = torch.nn.Linear(128, 10, dtype=torch.float64)
logits = head(h)
F.cross_entropy(logits, digits[:64]).backward()
error = (logits.softmax(1) - F.one_hot(digits[:64], 10)).detach() / 64
by_hand = {head.weight: error.T @ h, head.bias: error.sum(0), h: error @ head.weight}
claim(
    "02.linear-head-gradient",
    "for a linear head on GlyphNet's features the three formulas agree with autograd to within 1e-12",
    all(bool((parameter.grad - formula).abs().max() < 1e-12) for parameter, formula in by_hand.items()),
)

# %% [markdown]
# ## Two classes, and a gradient that circulates
#
# With two classes, only the difference of the logits matters (the Hessian's zero direction told us). Fix the first at 0, call the second $z = w^\top h$ (the bias is the weight of a feature that is always 1); softmax becomes the *logistic function* $p = \sigma(z) = 1/(1 + e^{-z})$, the probability of class 1, and
# with $y \in \{0, 1\}$ the loss is $-[y \ln p + (1-y) \ln(1-p)]$. From $\sigma' = p(1-p)$,
#
# $$\frac{\partial \ln p}{\partial z} = 1 - p, \qquad \frac{\partial \ln (1-p)}{\partial z} = -p, \qquad\text{so}\qquad \frac{\partial \ell}{\partial z} = -[\,y(1-p) - (1-y)p\,] = p - y, \qquad \frac{\partial L}{\partial w} = \frac 1N \sum_i (p_i - y_i)\, h_i .$$
#
# One of the articles that this course grew out of has two errors here, and they are worth seeing. First, its output $w^\top h$ goes into the logarithm *without* $\sigma$. Second, it states the gradient as $-\frac1N\sum_i [\,y_i \nabla \ell_i + (1 - y_i) \nabla \ell_i\,]$,
# with the same $\nabla\ell_i$ in both places. But $y\,a + (1-y)\,a = a$: **the label cancels.** What remains is $-\frac1N\sum_i\nabla\ell_i$. The correct bracket has *two different* gradients, of $\ln p$ and of $\ln(1-p)$, with opposite signs.
#
# What $\ell$ means there is not said. If it is $\ln p$, the direction is the same whatever the labels are, and the model learns to say 'class 1' to everything. If it is the loss itself, the labels are back, inside $\ell_i$, but the sign is reversed and training climbs. We try all of it on threes against eights
# (class 1), on GlyphNet's features with their mean subtracted. The test with random labels below uses the first reading.

# %%
chosen = torch.from_numpy(task.train)
chosen = chosen[(digits[chosen] == 3) | (digits[chosen] == 8)]
centre = features[chosen].mean(0)
h, y = (features[chosen] - centre).double(), (digits[chosen] == 8).double()
h = torch.cat([h, torch.ones(len(h), 1)], 1)


def gradients(w, y):
    """Right, by autograd; right, by formula; the article's with ℓ = ln p; the article's with ℓ = the loss."""
    rows = w.repeat(len(h), 1).requires_grad_()
    z = (rows * h).sum(1)
    (of_log_p,) = torch.autograd.grad(F.logsigmoid(z).sum(), rows, retain_graph=True)
    (of_loss,) = torch.autograd.grad(F.binary_cross_entropy_with_logits(z, y, reduction="sum"), rows)
    circulating = [-(y[:, None] * g + (1 - y[:, None]) * g).mean(0) for g in (of_log_p, of_loss)]
    return of_loss.mean(0), ((torch.sigmoid(z) - y)[:, None] * h).mean(0).detach(), *circulating


# %%
generator = torch.Generator().manual_seed(seed)
right, off, collapse = True, [], True
w_now = 0.1 * torch.randn(129, generator=generator, dtype=torch.float64)
reference = gradients(w_now, y)[2]
for _ in range(20):
    y_random = torch.randint(2, (len(y),), generator=generator).double()
    truth, formula, wrong, _ = gradients(w_now, y_random)
    right &= bool((truth - formula).abs().max() < 1e-12)
    collapse &= bool((wrong - reference).abs().max() < 1e-12)
    off.append(((wrong - truth).norm() / truth.norm()).item())
# %%
claim(
    "02.binary-gradient",
    "for twenty random labellings (p − y)h is autograd's gradient to within 1e-12; the circulating one is the same for all and off by over a tenth",
    right and collapse and min(off) > 0.1,
)
claim(
    "02.log-without-sigmoid",
    "without the sigmoid, the logarithm of wᵀh is undefined on some rows",
    bool(torch.log(h @ w_now).isnan().any()),
)

# %% [markdown]
# The error is more than a wrong scale. Trained with each of the three directions for the same 300 steps, on training rows, starting from zero:

# %%
outcome = {}
for name, which in (("(p − y)h", 1), ("circulating, ℓ = ln p", 2), ("circulating, ℓ = the loss", 3)):
    w_now = torch.zeros(129, dtype=torch.float64)
    for _ in range(300):
        w_now = w_now - 0.1 * gradients(w_now, y)[which]
    z = h @ w_now
    outcome[name] = {"accuracy": [((z > 0) == (y == 1)).double().mean().item()]}
    outcome[name] |= {"says 'eight'": [(z > 0).double().mean().item()]}
    outcome[name] |= {"loss": [F.binary_cross_entropy_with_logits(z, y).item()]}
record_table("02.binary-training", outcome, corner="threes and eights, training rows")
# %%
claim(
    "02.wrong-gradient-does-not-learn",
    "trained by (p − y)h over nine in ten training rows are right; by the circulating gradient fewer than two thirds, in both readings",
    outcome["(p − y)h"]["accuracy"][0] > 0.9
    and max(outcome[name]["accuracy"][0] for name in outcome if name.startswith("circ")) < 2 / 3,
)

# %% [markdown]
# With $\ell = \ln p$ everything is an eight and the accuracy is the share of eights. With $\ell$ the loss, the classifier is an *anti*-classifier, wrong where the right one is right, and its loss climbs. One run on any data shows it: that is why every formula of this course is run.
#
# ## Softmax, twice
#
# Back to the colleague. The loss takes $p$ for logits and computes $q = \mathrm{softmax}(p)$, so $\ell_2 = -\ln q_y = -p_y + \ln\sum_k e^{p_k}$. How small can it get? As a function of $p$ it is convex (the Hessian above), and the set of probability vectors is convex. So a corner is
# the minimum as soon as no direction *from that corner* leads down. Let $e_j$ be the one-hot vector of class $j$. From the corner $p = e_y$ (all mass on the right class) one can only move mass to other classes: every direction is a sum of non-negative multiples of $e_j - e_y$. With $\partial \ell_2/\partial p = q - e_y$ the slope along each of these is $q_j + (1 - q_y) > 0$: up, in every direction.
# The best that a *perfect and perfectly confident* model can reach is therefore
#
# $$\ell_2^{\min} = -1 + \ln(e^1 + (K-1)e^0) = \ln\frac{e + K - 1}{e},$$
#
# approached, never attained, as $p \to e_y$. We check it for several $K$: as algebra, at logits confident enough, by a search for anything lower, and against values noted elsewhere (`published`).

# %%
K = sp.symbols("K", positive=True)
p_sym = [sp.Integer(1), sp.Integer(0)]
corner_loss = -p_sym[0] + sp.log(sp.exp(p_sym[0]) + (K - 1) * sp.exp(p_sym[1]))
same = sp.simplify(sp.expand_log(corner_loss - sp.log((sp.E + K - 1) / sp.E), force=True)) == 0
floor = {k: float(np.log((np.e + k - 1) / np.e)) for k in classes}
published = {2: 0.3133, 10: 1.4612, 1000: 5.9095}


def twice(z, y):
    return F.cross_entropy(z.softmax(-1), y, reduction="none")


# %%
reached, lower = [], []
for k in classes:
    y_k = torch.zeros(2000, dtype=torch.int64)
    sure = 60.0 * F.one_hot(y_k[:1], k).double()
    reached.append(abs(twice(sure, y_k[:1]).item() - floor[k]))
    z_k = 10 ** torch.linspace(-1, 2, 2000)[:, None] * torch.randn(2000, k, generator=generator, dtype=torch.float64)
    lower.append((twice(z_k, y_k) - floor[k]).min().item())
claim(
    "02.double-softmax-floor",
    "softmax twice has the floor ln((e+K−1)/e): reached to within 1e-6, never passed, and equal to the published values",
    same
    and max(reached) < 1e-6
    and min(lower) > -1e-9
    and all(abs(floor[k] - published[k]) < 5e-5 for k in floor if k in published),
)

# %%
ks = np.arange(2, 2001)
figure, axis = plt.subplots()
axis.plot(ks, np.log(ks), color=COLOURS["grey"], label="all classes alike: ln K")
axis.plot(ks, np.log((np.e + ks - 1) / np.e), color=COLOURS["vermilion"], label="softmax twice: perfect and certain")
axis.axhline(0, color=COLOURS["blue"], label="softmax once: perfect and certain")
axis.plot(classes, [floor[k] for k in classes], "o", color=COLOURS["vermilion"])
axis.set(xscale="log", xlabel="classes, K", ylabel="loss", title="What is left to learn between chance and perfection")
_ = axis.legend()

# %% [markdown]
# *Loss against the number of classes on a logarithmic axis. The grey line ln K rises steadily; the vermilion floor of the double softmax runs below it, less than one unit apart, with dots at 2, 10 and 1000 classes; the loss of a perfect model with one softmax lies at zero.*
#
# The colleague's 1.4612 is the dot at $K = 10$. The gap between chance and perfection, $\ln K - \ln(e + K - 1) + 1$, is *less than 1 for every* $K$, since $K < e + K - 1$. And the gradient suffers too: by the chain rule it becomes $(\operatorname{diag}(p) - pp^\top)(q - y)$, and the first factor vanishes as soon as $p$ is confident, even when it is
# confidently *wrong*. A single softmax would push hardest there. In the table, a model is 'wrong by' $a$ when the logit of one wrong class is $a$ and all others, the right one's too, are 0:

# %%
wrong_by = torch.tensor([0.0, 2, 4, 8, 16], dtype=torch.float64)
push = {"softmax once": [], "softmax twice": []}
for margin in wrong_by:
    z = torch.zeros(1, 10, dtype=torch.float64).index_fill_(1, torch.tensor([1]), margin.item()).requires_grad_()
    for name, loss in (("softmax once", F.cross_entropy(z, labels[:1])), ("softmax twice", twice(z, labels[:1]).sum())):
        push[name].append(torch.autograd.grad(loss, z)[0].norm().item())
columns = [f"wrong by {int(margin)}" for margin in wrong_by]
rows = {name: dict(zip(columns, ([g] for g in values))) for name, values in push.items()}
record_table("02.double-softmax-gradient", rows, corner="norm of the gradient, K = 10", digits=5)
# %%
claim(
    "02.double-softmax-cannot-unlearn",
    "a confident mistake gets a larger gradient than an undecided one with one softmax, and under a thousandth of that with two",
    push["softmax once"][-1] > push["softmax once"][0] and push["softmax twice"][-1] < 1e-3 * push["softmax twice"][0],
)

# %% [markdown]
# Where the model is undecided the double softmax's gradient is a tenth of the single one's; where it is confidently wrong, almost nothing. So it trains, slowly, and hardly ever unlearns a confident mistake; accuracy may look fine for long. In PyTorch: no softmax before `cross_entropy`. In Keras: either a softmax layer
# or `from_logits=True`, not both. (On TensorFlow, Keras's compiled `fit` notices the softmax layer, uses the logits behind it and warns; run on another backend, the same code has the error: chapter 03.)
#
# ## Batch normalisation: whose statistics?
#
# *Batch normalisation* (批量归一化) shifts and scales each channel (one feature map of a convolution) by a mean and a variance: in training mode those of the *batch*, in evaluation mode **running averages**, and these came with the pre-trained weights. They are no parameters and have no gradient. In training mode each step $t$ with batch mean $\mu_t$ sets
#
# $$r_t = (1-m)\, r_{t-1} + m\,\mu_t \quad\Longrightarrow\quad r_t = (1-m)^t\, r_0 + m\sum_{s=1}^{t} (1-m)^{t-s} \mu_s ,$$
#
# by putting the equation into itself $t$ times; the variance is treated alike. **The source's share left is $(1-m)^t$**; the other weights sum to $1 - (1-m)^t$, a geometric series. Mind the two conventions: PyTorch's `momentum=0.1` *is* $m$; Keras's `momentum=0.99` is $1 - m$, so $m = 0.01$ there.
# Take 244 images in batches of four, one epoch: 61 steps. How much of the source's statistics is left in either? Guess the factor between them.
#
# The formula says that two copies of a network which differ *only* in their running statistics and see the same batches must keep exactly $(1-m)^t$ of their difference, in every layer, whatever the batches hold: in training mode the running statistics are not used, so both copies compute the same activations and the same $\mu_t$. That can be tested on all of GlyphNet (in PyTorch, once with each $m$):


# %%
def batch_norms(network):
    return [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]


@torch.no_grad()
def share_left(m, steps, seen):
    first, second = load_glyphnet().double().train(), load_glyphnet().double().train()
    for a, b in zip(batch_norms(first), batch_norms(second)):
        a.momentum = b.momentum = m
        b.running_mean += 1
        b.running_var += 1
    for step in range(steps):
        first(seen[4 * step : 4 * step + 4])
        second(seen[4 * step : 4 * step + 4])
    gaps = [
        (b.running_mean - a.running_mean, b.running_var - a.running_var)
        for a, b in zip(*map(batch_norms, (first, second)))
    ]
    return torch.cat([torch.cat(gap) for gap in gaps])


# %%
seen = images[task.train[: 4 * steps]].double()
shares = {name: share_left(m, steps, seen) for name, m in (("m = 0.1, PyTorch", momentum), ("m = 0.01, Keras", 0.01))}
record_table(
    "02.batch-norm", {name: {f"left after {steps} steps": [s.mean().item()]} for name, s in shares.items()}, digits=4
)
claim(
    "02.batch-norm-share",
    "in every batch-norm layer of GlyphNet the share of the old statistics left is (1 − m)^t to within 1e-9, for both momenta",
    all(bool((share - (1 - m) ** steps).abs().max() < 1e-9) for share, m in zip(shares.values(), (momentum, 0.01))),
)

# %%
figure, axis = plt.subplots()
for m, colour, name in (
    (0.1, "vermilion", "m = 0.1 (PyTorch's default)"),
    (0.01, "blue", "m = 0.01 (Keras's default)"),
):
    axis.plot(np.arange(301), (1 - m) ** np.arange(301), color=COLOURS[colour], label=name)
axis.axvline(steps, color=COLOURS["grey"], ls=":", label="one epoch: 244 images in fours")
axis.set(
    title="Share of the source's statistics left", xlabel="training-mode steps, t", ylabel="(1 − m)^t", ylim=(0, 1)
)
_ = axis.legend()

# %% [markdown]
# *Two falling curves from 1. PyTorch's has all but vanished after fifty steps. Keras's passes one half at about seventy and is down to a twentieth only at three hundred; a dotted line marks 61 steps.*
#
# After one small epoch PyTorch has forgotten the source's statistics and Keras still has more than half of them: the factor between them is $(0.99/0.9)^{61} \approx 335$. Neither is right in itself: the source's are wrong where the target's images differ, and the target's are noisy when they come from batches of four. **Know whose you use.** And note what the experiment did:
# no parameter was trained, there was no optimiser, gradients were off. In training mode the statistics move all the same. 'Frozen' by `requires_grad=False` is not frozen:

# %%
frozen = load_glyphnet().requires_grad_(False)
probe_images = images[task.validation]
before, parameters = frozen.features(probe_images), [p.clone() for p in frozen.parameters()]
frozen.train()
for step in range(steps):
    frozen.features(seen[4 * step : 4 * step + 4].float())
frozen.eval()
moved = ((frozen.features(probe_images) - before).norm(dim=1) / before.norm(dim=1)).mean().item()
record("02.frozen-but-moved", moved, unit="of the features' norm", digits=2)
claim(
    "02.frozen-is-not-frozen",
    "after forward passes in training mode no parameter has changed, and the features in evaluation mode by over a twentieth",
    all(torch.equal(old, new) for old, new in zip(parameters, frozen.parameters())) and moved > 0.05,
)

# %% [markdown]
# The features have moved by a good part of their own length, and nothing was trained. The cure: put the batch-norm layers of a frozen part back into evaluation mode (`module.eval()`) after every call of `train()`; in Keras `layer.trainable = False` freezes parameters and statistics alike. Chapters 03 and 04 measure what it is worth.
#
# ## What to take away
#
# - Fine-tuning minimises the *target's* empirical risk; the source acts only through the start. The start matters when steps are few, directions are flat, or the loss has several valleys; in one bowl, given patience, not at all.
# - $\partial\ell/\partial z = p - y$, Hessian $\operatorname{diag}(p) - pp^\top$, which measures a variance and does not contain the label. A head's gradient is $\frac1N\sum (p-y)h^\top$; the backbone hears $W^\top(p - y)$. With two classes it is the same formula.
# - Softmax twice: floor $\ln((e + K - 1)/e)$, a range below 1, almost no gradient for confident mistakes.
# - Running statistics keep $(1-m)^t$ of the source. They move in training mode without any gradient.
#
# > **Mistakes box.** *A label that cancels*: a gradient that is the same for all labels learns nothing. *A logarithm of something that is no probability.* *Softmax before a loss that expects logits.* *Momentum 0.99 carried from Keras to PyTorch*: there it
# > means that almost nothing but the last batch counts. *`requires_grad=False` taken for frozen.* *Reading a loss without knowing its floor and its value at chance.*
#
# **A question left open.** The backbone hears $W^\top(p-y)$. A new head's $W$ is random: what, then, does the backbone learn from in the first steps? Lesson 02b answers. The lab of chapter 02 has you derive and break some of this yourself.
#
# **Sources.** C. M. Bishop, *Pattern Recognition and Machine Learning*, 2006, chapter 4 (softmax, logistic regression, Hessians) · V. Vapnik, *The Nature of Statistical Learning Theory*, 1995 (risk and empirical risk) · S. Ioffe and C. Szegedy, *Batch Normalization*, ICML 2015 ·
# S. J. Pan and Q. Yang, *A Survey on Transfer Learning*, IEEE TKDE 2010.
