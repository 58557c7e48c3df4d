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
# # 02d · Distances and label shift: when closer is worse
#
# **A question.** Two samples of 50 rows come from one and the same distribution. A function that has been copied into many repositories says that they are about a third of a unit apart, on a scale from 0 to 2. Which of its lines make a distance out of nothing? And where a distance is real: is it a success to bring it to zero?
#
# By the end of this lesson you can
#
# - measure a distance between two samples without the mistake that makes equal samples look different;
# - say what such a distance sees, what it misses, and what it does not mean;
# - prove that perfectly aligned features must err when the classes have other frequencies;
# - say how the error of a simulation falls with its size, and compare 10⁵ rows in all pairs without holding the pairs.
#
# *About 25 minutes of reading; about twenty seconds of computing. Before it: Ben-David's bound, lesson [02c](02c_two_distributions.ipynb), repeated in the first paragraph. Symbols are on the [reference page](README.md).*

# %% tags=["parameters"]
profile = "quick"  # type: str
seed = 0  # type: int
repetitions = 150  # type: int
gpu_on_cpu = False  # type: bool

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm

from workbook.lesson import begin, claim, gpu, record, record_table
from workbook.plotting import COLOURS
from workbook.statistics import mean_interval

begin("torch", profile=profile, seed=seed, scope=profile == "quick" and repetitions == 150)
if profile != "quick":
    raise NotImplementedError("this lesson runs at profile = 'quick'; photographs come from chapter 03 on")

# %% [markdown]
# ## Measuring the distance: the proxy A-distance
#
# For a classifier $h$ from a class $\mathcal H$, with error $\varepsilon_S(h)$ in the source and $\varepsilon_T(h)$ in the target, Ben-David's bound says
#
# $$\varepsilon_T(h) \le \varepsilon_S(h) + \tfrac12 d_{\mathcal H \Delta \mathcal H} + \lambda^*.$$
#
# $d_{\mathcal H \Delta \mathcal H}$ is twice the largest difference, between the domains, of the probability that two classifiers of $\mathcal H$ disagree; it needs no labels. $\lambda^*$ is the smallest $\varepsilon_S(h) + \varepsilon_T(h)$ that one $h$ can have; it needs the target's.
#
# For thresholds on one number the distance can be computed; for networks the supremum is out of reach. Ben-David et al. (2007) replace it: train a classifier to tell source rows from target rows, let $\varepsilon$ be its error on **held-out** rows, and report the *proxy A-distance* (代理A距离) $\hat d = 2(1 - 2\varepsilon)$. It is 0 when the two cannot be told apart
# ($\varepsilon = \frac12$) and 2 when they never are mistaken. For $N(0, 1)$ against $N(\delta, 1)$, equally often, the best classifier cuts in the middle, at $\delta/2$, and errs with $\varepsilon = 1 - \Phi(\delta/2)$ ($\Phi$ is the standard normal distribution function). Then $\hat d = 2(2\Phi(\delta/2) - 1)$, exactly the $d_{\mathcal H \Delta \mathcal H}$ that thresholds have there.
#
# A widely copied function takes one small step more. It tries several strengths of the penalty and reports the **smallest error seen on the test half**; an error above one half is folded to $1 - \varepsilon$ first. What does this give for two samples of the *same* distribution, with 20 features and true distance zero? Beside it stand the training error, which is reported too, and better ways.

# %%
from sklearn.linear_model import RidgeClassifier, RidgeClassifierCV

from workbook.methods.domain_distance import STRENGTHS, proxy_a_distance


def proxies(rows, domain, chance):
    """The proxy A-distance of one cut into halves, wrongly in three ways and rightly in one."""
    order = np.concatenate([chance.permutation(np.flatnonzero(domain == side)) for side in (0, 1)])
    train, test = order[0::2], order[1::2]
    chosen = RidgeClassifierCV(STRENGTHS).fit(rows[train], domain[train])  # chooses inside the training half
    candidates = [RidgeClassifier(strength).fit(rows[train], domain[train]) for strength in STRENGTHS]
    seen = np.array([np.mean(c.predict(rows[test]) != domain[test]) for c in candidates])
    epsilon = {
        "on the training rows": np.mean(chosen.predict(rows[train]) != domain[train]),
        "best on the test half": seen.min(),
        "best on the test half, folded": np.minimum(seen, 1 - seen).min(),
        "chosen inside the training half": np.mean(chosen.predict(rows[test]) != domain[test]),
    }
    return {name: 2 * (1 - 2 * value) for name, value in epsilon.items()}


# %%
domain, found = np.repeat([0, 1], 50), []
for repetition in range(repetitions):
    rows = np.random.default_rng([seed, repetition]).normal(size=(100, 20))
    ours = proxies(rows, domain, np.random.default_rng(repetition))
    ours["the same, negative values cut to 0"] = max(0.0, ours["chosen inside the training half"])
    ours["proxy_a_distance"] = proxy_a_distance(rows[:50], rows[50:], seed=repetition)
    found.append(ours)
null = {name: [one[name] for one in found] for name in found[0]}
shown = {
    name: {"mean, truth 0": values, "share below 0": np.less(values, 0).astype(float)} for name, values in null.items()
}
record_table("02d.null", shown, corner="ε taken as")

# %% [markdown]
# Every wrong version finds a distance where there is none. Choosing on the test half and folding, together, make a third of a unit out of nothing: the smallest of several noisy errors is low by luck, and folding turns bad luck into good. Someone who then *reduces* this number by an adaptation method reduces noise. The right version wavers around zero, and
# **about half of its values are negative**. That is as it must be: an estimate whose truth is 0 and which never goes below 0 must be too high on average, unless it is always 0 (the fifth row). So report it signed; cut it at zero, if at all, after averaging.
#
# The version to keep is `workbook.methods.domain_distance.proxy_a_distance`: every row is held out once, by a classifier whose penalty has been chosen on the other half, and the two domains' errors are averaged, so that unequal sizes do not look like a shift. Does it also find what *is* there? One of 20 features is shifted by $\delta$; five draws.

# %%
apart = {}
for delta in (0.5, 1.0, 2.0):
    pairs = [np.random.default_rng([seed, s]).normal(size=(2, 2000, 20)) for s in range(5)]
    moved = [(a, b + delta * (np.arange(20) == 0)) for a, b in pairs]
    apart[delta] = [proxy_a_distance(a, b, seed=s) for s, (a, b) in enumerate(moved)]
truth = {delta: 2 * (2 * norm.cdf(delta / 2) - 1) for delta in apart}
columns = {delta: {"proxy": apart[delta], "2(2Φ(δ/2) − 1)": [truth[delta]]} for delta in apart}
record_table("02d.proxy", {f"δ={delta:g}": row for delta, row in columns.items()}, corner="2,000 rows a side")

# %%
right, wrong, kept = (
    mean_interval(null[name])
    for name in ("chosen inside the training half", "best on the test half, folded", "proxy_a_distance")
)
claim(
    "02d.proxy-a-distance",
    "chosen and folded on the test half, equal samples seem more than 0.25 apart; chosen inside the training half, "
    "less than 0.1 either way; and a real shift is found within 0.1 of its exact value",
    wrong.low > 0.25
    and max(abs(end) for each in (right, kept) for end in (each.low, each.high)) < 0.1
    and max(abs(np.mean(apart[delta]) - truth[delta]) for delta in apart) < 0.1,
)

# %% [markdown]
# It does. On average it can only fall short: a fitted classifier is at most as good as the best there is.
#
# ### What a line cannot see
#
# One classifier cuts the space once. Its best value is the distance over *single* classifiers, and the bound asks for *pairs*. [02c](02c_two_distributions.ipynb) shows a case where they differ: $N(0, 3^2)$ against $N(0, 1)$, whose densities cross at $\pm c$. The set that tells them apart is the interval between, which two thresholds can describe and one cannot. Give the
# linear classifier $|x|$ as a second feature, and it can.

# %%
c = np.sqrt(9 * np.log(9) / 8)
truth_pairs = 2 * ((2 * norm.cdf(c) - 1) - (2 * norm.cdf(c / 3) - 1))
scales = {"x": [], "x and its size": [], "exact, pairs of thresholds": [truth_pairs]}
for s in range(5):
    wide, narrow = np.random.default_rng([seed, s]).normal(size=(2, 2000, 1)) * np.array([3, 1])[:, None, None]
    scales["x"].append(proxy_a_distance(wide, narrow, seed=s))
    both = (np.hstack([v, np.abs(v)]) for v in (wide, narrow))
    scales["x and its size"].append(proxy_a_distance(*both, seed=s))
record_table("02d.scales", {"N(0, 3²) against N(0, 1)": scales}, corner="features of the classifier")
claim(
    "02d.a-line-misses-scale",
    "the proxy of a linear classifier on x is within 0.15 of 0 for equal means; with |x|, within 0.15 of the exact value",
    abs(np.mean(scales["x"])) < 0.15 and abs(np.mean(scales["x and its size"]) - truth_pairs) < 0.15,
)

# %% [markdown]
# The best single threshold would see half of the exact value; the fitted line cuts near the common mean, where it sees none of it. So a proxy near zero says only that *this* classifier found nothing. Name the classifier when you report it.
#
# ### On real features
#
# GlyphNet is the small network of [01](01_concepts.ipynb), trained on printed letters; it gives 128 features an image. We compare those of half the handwritten digits with the other half, with that other half laid over photographs, and with printed digits. The interval is over five cuts of the *same* rows: it shows what the cut does, not what other writers would.

# %%
from data_scripts.handwriting import load_handwriting
from data_scripts.photo_digits import load_photo_digits
from data_scripts.pretrained_torch import load_glyphnet
from data_scripts.printed_digits import load_printed_digits
from workbook.methods.torch.training import as_images, extract_features

network = load_glyphnet()
tasks = {"handwriting": load_handwriting(part="first"), "handwriting, other half": load_handwriting(part="second")}
tasks |= {"photo_digits": load_photo_digits(part="second"), "printed": load_printed_digits()}
features = {name: extract_features(network, as_images(task.inputs)).numpy() for name, task in tasks.items()}
real = {
    f"handwriting against {name}": {
        "features": [proxy_a_distance(features["handwriting"], other, seed=s) for s in range(5)]
    }
    for name, other in features.items()
    if name != "handwriting"
}
record_table("02d.real", real, corner="proxy A-distance")

# %%
claim(
    "02d.features-tell-print-from-pen",
    "in GlyphNet's features handwriting and its other half are within 0.2 of 0, handwriting and print above 1.5",
    abs(np.mean(real["handwriting against handwriting, other half"]["features"])) < 0.2
    and np.mean(real["handwriting against printed"]["features"]) > 1.5,
)

# %% [markdown]
# The two halves of the handwriting are as one; photographs behind the digits move the features a good part of the way; print and pen are nearly perfectly told apart. And yet lesson 01 reads pen with features learned from print: **a large distance does not mean that transfer fails.** It says that *some* direction separates the domains, not that the task uses it.
#
# ## Label shift: when alignment is the harm
#
# If the bound says that $d$ should be small, why not train a feature map $\phi$ until it is zero? Because of the term that nobody sees, $\lambda^*$. Let class frequencies differ, $p_S(y{=}1) = \pi_S$ and $p_T(y{=}1) = \pi_T$, while $p(x \mid y)$ stays: *label shift* (标签偏移). Suppose the features are perfectly aligned, so that $\phi(x)$ has one distribution in both domains. Any classifier on $\phi$ then says 1 equally
# often in both; let $q$ be that frequency. If its prediction $\hat y$ is 1 with frequency $q$ where the label is 1 with frequency $\pi$, it is wrong at least $|q - \pi|$ of the time, because $|P(\hat y{=}1) - P(y{=}1)| \le P(\hat y \ne y)$. Use this once in each domain, and then the triangle inequality for numbers:
#
# $$\varepsilon_S + \varepsilon_T \;\ge\; |q - \pi_S| + |q - \pi_T| \;\ge\; |\pi_S - \pi_T|.$$
#
# If the features are aligned only up to a total variation distance $\tau$ (no set's probability differs by more), the classifier says 1 with frequencies $q_S$ and $q_T$ that differ by at most $\tau$, and $|q_S - \pi_S| + |q_T - \pi_T| \ge |\pi_S - \pi_T| - \tau$. So $\varepsilon_T \ge |\pi_S - \pi_T| - \tau - \varepsilon_S$: **the better the alignment and the better the source classifier, the higher the floor under the target error.** (Zhao et al. 2019 prove
# a bound of this kind with the Jensen–Shannon distance.)
#
# An example meets it exactly. Class 0 is uniform on $[-2, -1]$, class 1 on $[1, 2]$, in both domains. The threshold 0 is never wrong, anywhere. The source is half and half, the target has $\pi_T = 0.9$. Now align: move the target's inputs, keeping their order, so that their distribution becomes the source's.


# %%
def aligned_error(pi_T, n=10_000):
    """Align by rank; also the target error of the threshold 0, before and after."""
    inputs, labels = {}, {}
    for domain, ones in {"S": n // 2, "T": round(n * pi_T)}.items():
        labels[domain] = np.arange(n) >= n - ones
        zeros = n - ones
        low, high = (np.linspace(-2, -1, max(zeros, 1))[:zeros], np.linspace(1, 2, max(ones, 1))[:ones])
        inputs[domain] = np.concatenate([low, high])
    mapped = np.sort(inputs["S"])  # the target's i-th value becomes the source's i-th
    return inputs, labels, np.mean((inputs["T"] >= 0) != labels["T"]), np.mean((mapped >= 0) != labels["T"])


# %%
frequencies = np.arange(0.1, 0.91, 0.1)
before, after = np.array([aligned_error(pi)[2:] for pi in frequencies]).T
inputs, labels, *_ = aligned_error(0.9)
figure, axes = plt.subplots(1, 4, figsize=(11, 3.3), width_ratios=(1, 1, 1, 1.3))
panels = {"source": ("S", inputs["S"]), "target": ("T", inputs["T"]), "target, aligned": ("T", inputs["S"])}
for axis, (title, (domain, values)) in zip(axes, panels.items()):
    by_class = [values[~labels[domain]], values[labels[domain]]]
    colours = [COLOURS["blue"], COLOURS["vermilion"]]
    axis.hist(by_class, bins=np.arange(-2, 2.01, 0.1), stacked=True, color=colours, label=["class 0", "class 1"])
    axis.axvline(0, color="black", lw=1, ls=":")
    axis.set(title=title, xlabel="x", ylim=(0, 1000))
axes[0].set_ylabel("rows")
axes[0].legend(loc="upper left", fontsize=9)
axes[3].plot(frequencies, before, marker="o", color=COLOURS["green"], label="as they are")
axes[3].plot(frequencies, after, marker="s", color=COLOURS["purple"], label="aligned")
axes[3].set(title="error on the target", xlabel="share of class 1 in the target", ylim=(-0.02, 0.5))
_ = axes[3].legend(loc="upper center", fontsize=9)

# %% [markdown]
# *Four panels. Source: two equal blocks, class 0 left of zero and class 1 right. Target: a low block left, a tall one right. Aligned target: two equal blocks again, but four fifths of the left block are class 1. Last panel, target error against the target's share of class 1: flat at zero without alignment; with it, a V that is zero
# at one half and rises to 0.4 at both ends.*

# %%
claim(
    "02d.label-shift",
    "unaligned, the target error is zero; perfectly aligned, it is |π_S − π_T| exactly (within 1e-9), the lower bound",
    before.max() == 0 and np.abs(after - np.abs(frequencies - 0.5)).max() < 1e-9,
)

# %% [markdown]
# In the bound's terms: alignment took $d$ to zero, left $\varepsilon_S$ at zero, and pushed $\lambda^*$ from 0 to at least $|\pi_S - \pi_T|$. The cost moved from the term that everybody measures to the one that nobody can. A distance that falls is no success by itself. Two ways out, which chapter 07 tries: estimate $\pi_T$ first, or align *within* classes, as far as the target's
# classes can be guessed.
#
# ## On a GPU: 10⁸ draws, and every pair of 10⁵ points
#
# First, how does a simulation's error fall as its size $n$ grows? Two quantities for $N(0, 1)$ as the source and $N(\delta, 1)$ as the target, $\delta = 0.5$, have known values to compare with. The *importance weight* $w(x) = p_T(x)/p_S(x) = e^{\delta x - \delta^2/2}$ has the second moment $\mathbb E_S[w^2] = \mathbb E_S[e^{2 \delta x}]\, e^{-\delta^2} = e^{2 \delta^2 - \delta^2} = e^{\delta^2}$; it tells how much
# reweighting costs. And the target error of 02c's threshold at 0 is $P_T[x \ge 2] = 1 - \Phi(2 - \delta)$. The root mean square error should shrink as $1/\sqrt n$, by ten for a hundredfold $n$; from ten repetitions it is known only to about a quarter of itself.

# %% tags=["gpu", "nbval-ignore-output"]
import time

import torch

section = gpu(on_cpu=gpu_on_cpu)


def simulate(n, number, delta=0.5, block=10_000_000):
    """Means over n draws: the squared weight under the source, and the share of target inputs beyond 2."""
    generator = torch.Generator(section.device).manual_seed(number)
    totals = torch.zeros(2, dtype=torch.float64, device=section.device)
    for start in range(0, n, block):
        x = torch.randn(min(block, n - start), generator=generator, device=section.device)
        totals[0] += torch.exp(2 * (delta * x - delta**2 / 2)).sum(dtype=torch.float64)
        totals[1] += (x + delta >= 2).sum()
    return (totals / n).tolist()


# %% tags=["gpu", "nbval-ignore-output"]
if section:
    sizes = section.size((10**4, 10**6, 10**8), (10**3, 10**5))
    rms = {}
    begun = time.perf_counter()
    for n in sizes:
        gaps = np.array([simulate(n, number) for number in range(10)]) - [np.exp(0.25), norm.sf(1.5)]
        second, wrong = np.sqrt((gaps**2).mean(axis=0))
        rms[f"n = {n:.0e}"] = {
            "weights": [second],
            "weights × √n": [second * n**0.5],
            "error of the threshold": [wrong],
        }
    record_table("02.gpu.simulation", rms, corner="root mean square error", digits=6)
    record("02.gpu.simulation-seconds", time.perf_counter() - begun, unit="s")

# %% [markdown]
# Second, a distance over *all pairs*. The squared maximum mean discrepancy (最大均值差异) with the Gaussian kernel $k(x, y) = e^{-\lVert x - y \rVert^2 / (2 s^2)}$ of width $s$ is $\mathbb E\, k(x, x') + \mathbb E\, k(y, y') - 2\, \mathbb E\, k(x, y)$, where $x, x'$ are independent source rows and $y, y'$ target rows; the unbiased estimate drops each row's pair with itself (chapter 07 derives it). At
# $10^5$ rows a side the three matrices have $3 \cdot 10^{10}$ entries together, so they are summed in blocks and never held. For $N(0, I_d)$ against $N(m, I_d)$, where differences are normal with variance 2 in each coordinate, the truth is $2 \big(\tfrac{s^2}{s^2 + 2}\big)^{d/2} \big(1 - e^{-\lVert m \rVert^2 / (2 (s^2 + 2))}\big)$, a check. The share of the card's peak counts only the arithmetic of the products $x^\top y$, and the peak is a large matrix
# product in the same precision, timed on the spot.


# %% tags=["gpu", "nbval-ignore-output"]
def kernel_sum(x, y, width, block):
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for a in x.split(block):
        for b in y.split(block):
            squares = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
            total += torch.exp(squares.clamp_(min=0).div_(-2 * width**2)).sum(dtype=torch.float64)
    return total.item()


def mmd2_unbiased(x, y, width, block=10_000):
    within = sum((kernel_sum(v, v, width, block) - len(v)) / (len(v) * (len(v) - 1)) for v in (x, y))
    return within - 2 * kernel_sum(x, y, width, block) / (len(x) * len(y))


def seconds(work):
    """Seconds of the second call, and what it returned; the first warms up."""
    for _ in range(2):
        begun = time.perf_counter()
        result = work()
        if section.device == "cuda":
            torch.cuda.synchronize()
    return time.perf_counter() - begun, result


# %% tags=["gpu", "nbval-ignore-output"]
if section:
    n, d, width, side = section.size(100_000, 2_000), 64, 8.0, section.size(16_384, 1_024)
    x, y = torch.randn(2, n, d, generator=torch.Generator(section.device).manual_seed(0), device=section.device)
    y[:, 0] += 1
    square = torch.randn(side, side, device=section.device)
    matmul, _ = seconds(lambda: square @ square)
    del square
    if section.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    taken, found = seconds(lambda: mmd2_unbiased(x, y, width))
    exact = 2 * (width**2 / (width**2 + 2)) ** (d / 2) * (1 - np.exp(-1 / (2 * (width**2 + 2))))
    record("02.gpu.mmd-relative-error", abs(found - exact) / exact)
    record("02.gpu.mmd-seconds", taken, unit="s")
    record("02.gpu.mmd-share-of-matrix-peak", (3 * n * n * 2 * d / taken) / (2 * side**3 / matmul))
    if section.device == "cuda":
        record("02.gpu.mmd-peak-memory", torch.cuda.max_memory_allocated() / 2**20, unit="MiB", digits=0)

# %% [markdown]
# Expect the share to be well below one: with 64 features the matrix product is cheap, and the time goes into writing, exponentiating and adding each block. No figure from a real device is recorded beside this lesson yet.
#
# ## What to take away
#
# - A distance is measured by a classifier on held-out rows, its penalty chosen inside the training half, and reported signed.
# - It is the distance that *this* classifier sees: a line sees no change of scale.
# - A large distance need not hurt, and a distance made small may: under label shift, perfect alignment costs at least the difference of the class frequencies, in source and target error together.
# - A simulation's error falls as $1/\sqrt n$; sums over all pairs are taken in blocks.
#
# > **Mistakes box.** *A penalty picked on the rows that are then scored; an error folded at one half; the training error as ε; negative values cut before averaging. 'The distance is small, so the domains are equal.' 'The distance fell, so the method works.'*
#
# **A question left open.** Reweighting needs $p_T/p_S$. What is left of it when the ratio must be estimated, and how many rows is a weighted sample worth? (Chapter 06.) And how does one choose between adaptation methods, if the distance cannot be trusted and there are no target labels? (Chapter 07.) The lab of chapter 02 ends with a target that nobody labelled.
#
# **Sources.** S. Ben-David, J. Blitzer, K. Crammer and F. Pereira, *Analysis of Representations for Domain Adaptation*, NeurIPS 2006 (proceedings 2007: the proxy A-distance) · S. Ben-David et al., *A theory of learning from different domains*, Machine Learning 79, 2010 · H. Zhao,
# R. Tachet des Combes, K. Zhang and G. Gordon, *On Learning Invariant Representations for Domain Adaptation*, ICML 2019 · A. Gretton et al., *A Kernel Two-Sample Test*, JMLR 13, 2012.
