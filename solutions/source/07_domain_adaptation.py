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
# # Lab 07 · A target without labels, and then with ten
#
# Eight exercises on lessons [07](../chapters/07_domain_adaptation.ipynb) to [07e](../chapters/07e_photographs_adaptation.ipynb), about an hour and forty minutes in all. They need NumPy and, from 07.5 on, a little PyTorch. You write where it says *your answer*; the cell below judges what you wrote on fresh random inputs, as often as you like. Stuck? Each exercise has two or three hints: call `hint("07.1")` and so on.
#
# The notation is the course's: the source $S$ has labels, the target $T$ has none; rows $h$ are features, and a matrix acts from the right, $h \mapsto hA$. $\mu_S, C_S$ and $\mu_T, C_T$ are means and covariances; $z$ are logits, $p = \mathrm{softmax}(z)$, and $H(p) = -\sum_k p_k \log p_k$ is the entropy.

# %% tags=["parameters"]
seed = 0  # type: int

# %%
import numpy as np
from sklearn.linear_model import LogisticRegression

from workbook.exercises.lab import check, hint, show_progress
from workbook.lesson import begin

begin("torch", seed=seed)

# %%
import ot
import torch
from torch.nn import functional as F

random = np.random.default_rng(seed)

# %% [markdown]
# ### 07.1 · A distance between equals (2 points, 6 minutes)
#
# A colleague estimates the squared MMD of two samples of $n$ and $m$ rows:


# %%
def kernel(x, y, width):
    squares = ((x[:, None] - y[None]) ** 2).sum(axis=2)
    return np.exp(-squares / (2 * width**2))


def colleagues_mmd(x, y, width):
    return kernel(x, x, width).mean() + kernel(y, y, width).mean() - 2 * kernel(x, y, width).mean()


# %% [markdown]
# Give it two samples of *the same* distribution, normal with mean 0 and covariance $I$ in $d$ columns. For two different rows of it, and width $s$,
# $$\mathbb E\, k(x, x') = \Big(\frac{s^2}{s^2 + 2}\Big)^{d/2}.$$
# *Which value does the estimate have on average?* Work it out before you simulate, and write it as a function.


# %%
def null_value(n, m, columns, width):
    # BEGIN SOLUTION
    ordinary = (width**2 / (width**2 + 2)) ** (columns / 2)
    return (1 / n + 1 / m) * (1 - ordinary)
    # END SOLUTION


# %%
check("07.1", null_value)

# %% [markdown] tags=["solution-only"]
# Of the $n^2$ pairs within the first sample $n$ are a row with itself, each worth 1 and not $e = \mathbb E\,k$. The mean is therefore $e + (1 - e)/n$ on average, that of the second sample $e + (1 - e)/m$; the cross mean holds no row twice and is $e$. What remains is $(1 - e)(1/n + 1/m)$. Zero is what the *unbiased* estimate has, which leaves these pairs out and divides by $n(n - 1)$. Who adds $1/n + 1/m$ has forgotten that a row with itself stands in the place of an ordinary pair.

# %% [markdown]
# ### 07.2 · To mend a map (3 points, 12 minutes)
#
# The same colleague aligns features. A call returns a *function*, made from the two samples, that moves any source rows:


# %%
def power(C, exponent):
    """A power of a symmetric matrix."""
    values, vectors = np.linalg.eigh(C)
    return (vectors * values**exponent) @ vectors.T


def colleagues_map(source, target):
    C_S, C_T = np.cov(source.T), np.cov(target.T)
    return lambda rows: rows @ power(C_T, -0.5) @ power(C_S, 0.5)


here, there = random.normal(size=(200, 3)), random.normal(2, [1, 2, 3], (200, 3))
moved = colleagues_map(here, there)(here)
print("the target's mean:", np.allclose(moved.mean(axis=0), there.mean(axis=0)))
print("the target's covariance:", np.allclose(np.cov(moved.T), np.cov(there.T)))

# %% [markdown]
# There are three mistakes, the third of which shows only with fewer rows than columns. *Hand in a map that is right:* $h \mapsto hA + b$, which takes the source's mean to the target's, and $A^\top \tilde C_S A = \tilde C_T$ for the *shrunk* covariances
# $$\tilde C = (1 - \text{share})\, C + \text{share}\, \frac{\operatorname{tr} C}{d}\, I .$$


# %%
def mended_map(source, target, share):
    # BEGIN SOLUTION
    def shrunk(rows):
        C = np.cov(rows.T)
        return (1 - share) * C + share * np.trace(C) / len(C) * np.eye(len(C))

    A = power(shrunk(source), -0.5) @ power(shrunk(target), 0.5)
    return lambda rows: (rows - source.mean(axis=0)) @ A + target.mean(axis=0)
    # END SOLUTION


# %%
check("07.2", mended_map)

# %% [markdown] tags=["solution-only"]
# 1. *The wrong covariance first.* Rows are whitened with the covariance that they have, and coloured with the one that they are to have.
# 2. *No means.* A covariance knows nothing of them: $\mu_S$ goes before, $\mu_T$ comes after. Taking away `rows.mean()` in place of `source.mean()` looks the same on the source itself; a single new row would then always land on $\mu_T$.
# 3. *Singular covariances.* Six rows in nine columns have directions without any variance, and $0^{-1/2}$ is not a number. Shrinking one of the two is not enough for a condition on both.
#
# The transport map of lesson 07, or any $Q$ between whitening and colouring, is right as well.

# %% [markdown]
# ### 07.3 · What the closed form leaves open (3 points, 10 minutes)
#
# All maps with the right covariance are $A = C_S^{-1/2}\, Q\, C_T^{1/2}$ with $Q$ orthogonal. Without labels nothing chooses between them. Now let a few target rows have labels: `T`, of shape $(k, d)$, holds points of the target after whitening, one for each of $k$ classes, and `S` the whitened means of the same classes in the source. *Which orthogonal $Q$ brings them nearest,* that is, makes
# $$\lVert S Q - T \rVert^2$$
# smallest? $k$ may be smaller or larger than $d$, and where several are best, any will do.


# %%
def turn(S, T):
    # BEGIN SOLUTION
    U, _, Vt = np.linalg.svd(S.T @ T)
    return U @ Vt
    # END SOLUTION


# %%
check("07.3", turn)

# %% [markdown] tags=["solution-only"]
# $\lVert SQ - T \rVert^2 = \lVert S \rVert^2 + \lVert T \rVert^2 - 2 \operatorname{tr}(Q^\top S^\top T)$, since $Q$ changes no length. With $S^\top T = U \Sigma V^\top$ the trace is $\operatorname{tr}(V^\top Q^\top U\, \Sigma)$, at most $\operatorname{tr} \Sigma$, and equal to it for $Q = U V^\top$. (Lesson 07 had $\operatorname{tr}(QM)$, and so $V U^\top$.) Least squares, `np.linalg.lstsq(S, T)`, comes nearer still, but with a matrix that is not orthogonal, and the covariance is lost. Shutting out mirrors costs something whenever the best $Q$ is one.

# %% [markdown]
# ### 07.4 · Where the plan carries a row (2 points, 8 minutes)
#
# Discrete transport carries source rows to target rows at the least squared distance. This time the source's rows have `weights`, positive, of any sum: the plan's row $i$ adds up to $w_i / \sum_j w_j$, each of its $m$ columns to $1/m$. *Write the barycentric map:* each source row arrives at the mean of where the plan sends it. `ot.emd(a, b, cost)` finds the plan for masses `a` and `b`, and `ot.dist(source, target)` the squared distances.


# %%
def carried(source, target, weights):
    # BEGIN SOLUTION
    equal = np.full(len(target), 1 / len(target))
    plan = ot.emd(weights / weights.sum(), equal, ot.dist(source, target))
    return plan @ target / plan.sum(axis=1, keepdims=True)
    # END SOLUTION


# %%
check("07.4", carried)

# %% [markdown] tags=["solution-only"]
# A row of the plan divided by its own sum holds shares, and a mean needs shares. The formula of lesson 07, $n_S \sum_j P_{ij} g_j$, is this for equal masses only: with other masses light rows end near the origin, which nobody chose as a special place. Dividing by the sums of the *columns* answers another question, where a target row came from.

# %% [markdown]
# ### 07.5 · DANN, step by step (4 points, 15 minutes)
#
# Now with gradients. `phi` makes features of a batch, `head` logits of classes from them, and `judge` one logit $d$ a row, shape $(n,)$, for 'this row is from the target'. The judge's loss $L_d$ is a cross-entropy in which both domains count half, whatever their numbers of rows:
# $$L_d = \tfrac12\, \text{mean}_S \big[-\log(1 - \sigma(d))\big] + \tfrac12\, \text{mean}_T \big[-\log \sigma(d)\big] .$$
#
# *First step:* the way back of a layer that is the identity forward and multiplies the gradient by $-\lambda$ backward. (`backward` returns one value for each argument of `forward` after `ctx`: the gradient, or `None` where none is wanted.) *Second step:* one loss, whose plain descent moves the head down the source's cross-entropy $L_y$, the features down $L_y - \lambda L_d$, and the judge down $L_d$ at full strength, with
# $$\lambda = \frac{2}{1 + e^{-10\, \text{progress}}} - 1 .$$


# %%
class Reverse(torch.autograd.Function):
    """Used as Reverse.apply(h, strength)."""

    @staticmethod
    def forward(ctx, h, strength):
        ctx.strength = strength
        return h.view_as(h)

    @staticmethod
    def backward(ctx, gradient):
        # BEGIN SOLUTION
        return -ctx.strength * gradient, None
        # END SOLUTION


# %%
def dann_loss(phi, head, judge, x_S, y_S, x_T, progress):
    # BEGIN SOLUTION
    strength = 2 / (1 + np.exp(-10 * progress)) - 1
    h_S, h_T = phi(x_S), phi(x_T)
    d_S, d_T = (judge(Reverse.apply(h, strength)) for h in (h_S, h_T))
    domain = (F.softplus(d_S).mean() + F.softplus(-d_T).mean()) / 2
    return F.cross_entropy(head(h_S), y_S) + domain
    # END SOLUTION


# %%
check("07.5", dann_loss)

# %% [markdown] tags=["solution-only"]
# The usual mistakes, each of which trains without complaint:
#
# - *no layer*: features and judge then work together, and the domains drift apart;
# - *a minus in front of $L_d$*: the features do right, and the judge is trained to be wrong, which forces nobody;
# - *λ before the loss as well as in the layer*: the judge learns slowly at first, just when it should get ahead;
# - *the rows of both domains in one mean*: the larger batch counts more;
# - *a schedule without the −1*: full strength from the first step, when the judge knows nothing yet.
#
# Without a class of its own, `(1 + strength) * h.detach() - strength * h` does the same: its value is `h`, its gradient $-\lambda$.

# %% [markdown]
# ### 07.6 · Sure, and in proportion (3 points, 10 minutes)
#
# The hospital of lesson 07c hands over a probe and no source row. Its answers to target rows shall become sure, $H(p_i)$ small, and their mean $\bar p = \frac1n \sum_i p_i$ shall have the class frequencies $\pi$ that are known there, `prior`:
# $$\frac1n \sum_i H(p_i) + \mathrm{KL}(\bar p \,\Vert\, \pi), \qquad \mathrm{KL}(\bar p \,\Vert\, \pi) = \sum_k \bar p_k \log \frac{\bar p_k}{\pi_k} .$$
# This is what the colleague has made of it:


# %%
def colleagues_loss(z, prior):
    p = z.softmax(1)
    rows = -(p * p.log()).sum(1).mean()
    mean = p.mean(0)
    return rows - (mean * mean.log()).sum()


# %% [markdown]
# *Before you mend it:* which answers would a network give that is trained with it? Then hand in a loss that is right, and that stays finite, gradient included, when a row is so sure that its other probabilities are rounded to zero.


# %%
def mended_loss(z, prior):
    # BEGIN SOLUTION
    log_p = z.log_softmax(1)
    rows = -(log_p.exp() * log_p).sum(1).mean()
    log_mean = log_p.logsumexp(0) - np.log(len(z))
    return rows + (log_mean.exp() * (log_mean - prior.log())).sum()
    # END SOLUTION


# %%
check("07.6", mended_loss)

# %% [markdown] tags=["solution-only"]
# Trained with the colleague's loss, the probe of 07.8 soon answers one class to everything: the second part *adds* the entropy of the mean, which is smallest when there is no second class. The mean entropy alone has the same trap; lesson 07c's network fell into it, the probe did not. SHOT's $-H(\bar p)$ holds it back, but pulls towards *equal* classes; with a long tail that moves rows into classes that are not theirs, and $\pi$ is the remedy. The divergence the other way round, $\sum_k \pi_k \log(\pi_k / \bar p_k)$, has the same minimum and another gradient. And `p.log()` of a zero is minus infinity, which times zero is not a number; `log_softmax` never makes the zero.

# %% [markdown]
# ### 07.7 · Ten labels to spend (3 points, 12 minutes)
#
# Ten target rows can be labelled, one of each class. Should they *train*, or *choose* between candidates that have never seen these rows? Design the comparison. `pool` holds the numbers of the target rows that can be adapted to, and `labels` their true classes in the same order: with `pool = [17, 4, …]` and `labels = [3, 0, …]`, row 17 is a three. (Read them only to buy one row of each of the ten classes.) `test` holds the rows for the report, and there are `draws` repetitions. *Return the plan,* a list with one dictionary for each arm, `"none"`, `"train"`, `"choose"` and `"both"`, in each draw:
#
# - `"arm"`, its name, and `"draw"`, its number from 0;
# - `"train"` and `"choose"`, the rows whose labels are spent on the one and on the other (either may be empty); in arm `"both"` about half each;
# - `"adapt"`, the rows of the pool that are adapted to without labels;
# - `"report"`, the rows that the accuracy is reported on.
#
# One entry of the list could be `{"arm": "train", "draw": 0, "train": [4, 17, …], "choose": [], "adapt": […], "report": test}`. What a label earns should be the *only* difference between the arms of a draw.


# %%
def plan(pool, labels, test, draws):
    # BEGIN SOLUTION
    runs = []
    for number in range(draws):
        chance = np.random.default_rng(number)
        bought = chance.permutation([chance.choice(pool[labels == c]) for c in np.unique(labels)])
        spent = {"none": (0, 0), "train": (10, 0), "choose": (0, 10), "both": (5, 5)}
        for arm, (train, choose) in spent.items():
            run = {"arm": arm, "draw": number, "adapt": np.setdiff1d(pool, bought), "report": test}
            runs.append(run | {"train": bought[:train], "choose": bought[10 - choose :]})
    return runs
    # END SOLUTION


# %%
check("07.7", plan)

# %% [markdown] tags=["solution-only"]
# The purchase stands before the loop over the arms, so the arms of a draw are paired: the luck of the ten rows cancels in their difference. Arm 'both' gets ten labels like the others, five and five; ten and ten would be a larger budget, and the same ten twice would let the candidate win that learnt them by heart. The ten are shuffled before they are cut, or zero to four would always train and five to nine always choose. Bought rows are left out of `"adapt"` in *every* arm, 'none' included, so that all have looked at the same unlabelled rows. To report on rows that were adapted to is a protocol as well (transductive), but another one, and it must be said.

# %% [markdown]
# ### 07.8 · Open challenge: from the probe, with ten labels (4 points, 25 minutes)
#
# Print is the source, handwriting the target, and the features are GlyphNet's, of unit length; they stay as they are. Here is one such problem, and a probe on it. `ask(rows)` gives the labels of target rows, by their numbers in `target_h`: **ten in all**, at once or one after the other, and you say which.

# %%
from workbook.exercises.lab_07 import draw_digits, label_seller

problem = draw_digits(random)
source_h, source_y, target_h = (problem[name] for name in ("source_h", "source_y", "target_h"))
ask = label_seller(problem["target_y"])  # sells ten; a new seller sells ten again
probe = LogisticRegression(C=30, max_iter=1000).fit(source_h, source_y)
print(source_h.shape, "labelled,", target_h.shape, "not; the probe's weights:", probe.coef_.shape)

# %% [markdown]
# Write a function that adapts and returns *another function*, which takes rows of features, shape $(n, 128)$, and gives $n$ labels. It is judged on five fresh problems, the columns in another order each time, by its mean accuracy on handwriting that was neither adapted to nor labelled: **.97** is wanted. Most of the way there needs no label; without any, we never arrived. All that you have written above may be of use.


# %%
def adapt(source_h, source_y, target_h, ask):
    # BEGIN SOLUTION
    from sklearn.cluster import KMeans

    start = LogisticRegression(C=30, max_iter=1000).fit(source_h, source_y)
    W, b = (torch.tensor(part, requires_grad=True) for part in (start.coef_, start.intercept_))
    h, prior = torch.tensor(target_h), torch.full((10,), 0.1, dtype=torch.float64)
    optimiser = torch.optim.Adam([W, b], lr=0.05)

    def train(rows):
        for _ in range(60):
            z = h @ W.T + b
            loss = mended_loss(z, prior)
            if rows:
                loss = loss + F.cross_entropy(z[rows], torch.tensor(ask(rows)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    train(rows := [])
    for _ in range(2):
        # Five groups of the rows where the second answer comes nearest to the first, and the middle of each.
        p = (h @ W.T + b).detach().softmax(1).numpy()
        second, first = np.sort(p)[:, -2:].T
        doubtful = np.argsort(second / first)[-150:]
        distances = KMeans(5, n_init=3, random_state=0).fit_transform(target_h[doubtful])
        rows += doubtful[distances.argmin(axis=0)].tolist()
        train(rows)
    return lambda new: (torch.tensor(new) @ W.T + b).argmax(1)
    # END SOLUTION


# %%
check("07.8", adapt)

# %% [markdown] tags=["solution-only"]
# The probe's weights move, the features do not. First without a label: sure answers in even proportion let the borders between classes slide into the gaps between the target's clouds, and that removes most of the probe's mistakes. (Sure answers alone are a gamble: in some draws they gain next to nothing.) More steps add little, and a map of the features (transport, MMD) gets less far.
#
# The ten labels then go where the loss cannot decide. Ten random rows help little: most of them were read rightly before. The ten least sure rows help more, but several may come from one corner, and groups spread them. Five and five did better still than ten at once: when the first five have settled their corners, other rows are in doubt.
#
# Another way, with no source at all: ten clusters of the target and the label of the middle of each. Where the clusters are the digits it comes close to what is wanted; in some draws they are not, and it falls far behind.
#
# Two limits. The classes of these digits are equally common, and `prior` says so; with a long tail it would have to be estimated first. And whoever tries variants until the check says 'correct' has chosen on target labels, which is the very thing that lesson 07d warns of. (So have we, when we wrote this.)

# %%
show_progress("07")

# %% [markdown]
# **Sources.** Gretton et al. 2012 (MMD); Sun, Feng and Saenko 2016 (CORAL); Schönemann 1966 (the orthogonal Procrustes problem); Courty et al. 2017 (transport for adaptation); Ganin et al. 2016 (DANN); Liang, Hu and Feng 2020 (SHOT).
