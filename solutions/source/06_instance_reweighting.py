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
# # Lab 06 · Weights: broken, mended, put to use
#
# Eight exercises on lessons [06](../chapters/06_instance_reweighting.ipynb) to [06c](../chapters/06c_photographs_reweighting.ipynb), about an hour and a half in all. They need NumPy and scikit-learn, no framework. You write where it says *your answer*; the cell below judges what you wrote on fresh random inputs, as often as you like. Stuck? Each exercise has two or three hints: call `hint("06.1")` and so on.
#
# The notation is the course's: the source $S$ has labels, the target $T$ has none; $p_S$ and $p_T$ are the densities of their inputs, and $w(x) = p_T(x)/p_S(x)$ is the weight of a source row. With $n_S$ and $n_T$ rows,
# $$\mathbb E_S[w\,\ell] = \mathbb E_T[\ell], \qquad \mathbb E_S[w] = 1, \qquad n_\text{eff} = \frac{(\sum_i w_i)^2}{\sum_i w_i^2}.$$
# For large $n$ the share of rows that counts, $n_\text{eff}/n$, is $1/\mathbb E_S[w^2]$.

# %% tags=["parameters"]
seed = 0  # type: int

# %%
import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from workbook.exercises.lab import check, hint, show_progress

random = np.random.default_rng(seed)

# %% [markdown]
# ### 06.1 · Rows that count (1 point, 4 minutes)
#
# The source is normal with mean 0 and variance 1 in each of several independent columns. The target is the same, with *every* column moved by `shift`. Before you simulate anything: of `n` source rows with their true weights, *how many count?* Write the number that $n_\text{eff}$ tends to for large $n$ (not rounded), as a function.


# %%
def rows_that_count(n, columns, shift):
    # BEGIN SOLUTION
    return n * np.exp(-columns * shift**2)
    # END SOLUTION


# %%
check("06.1", rows_that_count)

# %% [markdown] tags=["solution-only"]
# The weight is a product of one factor a column, and the columns are independent, so $\mathbb E_S[w^2] = (e^{\delta^2})^d = e^{d\delta^2}$. In other words only the distance between the centres matters, $\delta\sqrt d$: who takes $d\,\delta$ for it, as if all columns pulled in one line, finds far too few rows. Taking $e^{-\delta^2}$ forgets that every column has its say, and $e^{-d\delta^2/2}$ takes $\mathbb E_S[e^{2\delta x}]$ for $e^{\delta^2}$ in place of $e^{2\delta^2}$.

# %% [markdown]
# ### 06.2 · To break a ratio (2 points, 8 minutes)
#
# Now nothing moves; the target is only *wider*. For a source $N(0, \sigma_S^2)$ and a target $N(0, \sigma_T^2)$, lesson 06 finds
# $$\mathbb E_S[w^2] = \frac{\sigma_S^2}{\sigma_T \sqrt{2\sigma_S^2 - \sigma_T^2}} \qquad \text{as long as } \sigma_T^2 < 2\sigma_S^2 .$$
# *Break it to order:* which $\sigma_T$, wider than $\sigma_S$, leaves exactly the share `share` of the rows? `source_scale` is $\sigma_S$.


# %%
def target_scale(source_scale, share):
    # BEGIN SOLUTION
    return source_scale * np.sqrt(1 + np.sqrt(1 - share**2))
    # END SOLUTION


# %%
check("06.2", target_scale)

# %% [markdown] tags=["solution-only"]
# With $t = \sigma_T^2/\sigma_S^2$ the share is $\sqrt{t(2 - t)}$. Squared: $t^2 - 2t + \text{share}^2 = 0$, so $t = 1 \pm \sqrt{1 - \text{share}^2}$; the wider target takes the plus sign. The minus sign is a narrower target, where rows are thrown away but no weight is ever large. The scale of the source only sets the unit: who forgets it is right for $\sigma_S = 1$.

# %% [markdown]
# ### 06.3 · To mend a ratio (3 points, 12 minutes)
#
# A colleague estimates weights by a classifier of the domain, and finds 'no shift at all':


# %%
def colleagues_ratio(source, target):
    """Weights of the source's rows."""
    rows = np.concatenate([StandardScaler().fit_transform(source), StandardScaler().fit_transform(target)])
    domain = np.repeat([0, 1], [len(source), len(target)])  # 1 is the target
    p = LogisticRegression().fit(rows, domain).predict_proba(rows[: len(source)])[:, 0]
    return p / (1 - p)


moved = colleagues_ratio(random.normal(0, 1, (300, 2)), random.normal(1, 1, (200, 2)))
print("largest and smallest weight agree:", np.ptp(moved) < 1e-3)

# %% [markdown]
# Both columns have moved by a whole standard deviation, so there is something to see. The function has three mistakes, of which you will meet the second only when the first is gone. *Hand in one that is right,* for samples of any sizes and units.


# %%
def mended_ratio(source, target):
    # BEGIN SOLUTION
    rows = StandardScaler().fit_transform(np.concatenate([source, target]))
    is_target = np.arange(len(rows)) >= len(source)
    model = LogisticRegression(max_iter=1000).fit(rows, is_target)
    return len(source) / len(target) * np.exp(model.decision_function(rows[: len(source)]))
    # END SOLUTION


# %%
check("06.3", mended_ratio)

# %% [markdown] tags=["solution-only"]
# 1. *A scaler for each sample.* Afterwards both have mean 0 and variance 1 in every column: the very difference that was to be measured is gone. One scaler for both keeps it. With none at all the ratio would depend on units, since the penalty acts on coefficients.
# 2. *Upside down.* Column 0 of `predict_proba` is the source's probability, so `p / (1 - p)` is $p_S/p_T$ but for a factor, and the rows least like the target lead.
# 3. *The sizes.* The odds of 'target' are $\frac{p_T(x)\,n_T}{p_S(x)\,n_S}$; without the factor $n_S/n_T$ the mean weight says which sample is larger. A fit does not mind, an estimated risk or a cap does. Dividing by the mean of the weights mends it as well.
#
# The other tempting repair, two densities estimated one by one and divided, does well in one column and falls apart in many, where the denominator is nearly zero almost everywhere.

# %% [markdown]
# ### 06.4 · Losses, not values (2 points, 8 minutes)
#
# Fit a line (in several columns, a plane) that minimises
# $$\sum_i w_i \big(b_0 + x_i^\top b - y_i\big)^2 .$$
# Your only tool is `np.linalg.lstsq(A, right, rcond=None)[0]`, which knows nothing of weights. `x` is a table with one row an example and one or more columns; `y` and `w` have a number for each row, and some weights may be zero. Return one array, the constant first, then the slopes.


# %%
def weighted_line(x, y, w):
    # BEGIN SOLUTION
    root = np.sqrt(w)
    A = np.column_stack([np.ones(len(x)), x])
    return np.linalg.lstsq(A * root[:, None], y * root, rcond=None)[0]
    # END SOLUTION


# %%
check("06.4", weighted_line)

# %% [markdown] tags=["solution-only"]
# $w r^2 = (\sqrt w\, r)^2$ for the residual $r$, so everything that makes up a residual is multiplied by $\sqrt w$: the columns, the constant and $y$. Multiplying $x$ alone moves rows to where nobody measured anything, which is the classic mistake (06b): features scaled in place of losses. Multiplying everything by $w$ counts each row with $w^2$; the weights of `np.polyfit` do the same to you. And a column of ones that is added *after* the scaling is not weighted.

# %% [markdown]
# ### 06.5 · A cap and a mean (3 points, 10 minutes)
#
# A few rows carry most of the weight, and you decide that none may weigh more than `bound`. The mean is to be 1 all the same, and rows below the cap are to keep their proportions to each other. *Write it;* `w` is positive, of any mean, and `bound` is above 1.


# %%
def cap(w, bound):
    # BEGIN SOLUTION
    low, high = 0.0, bound / w.min()
    for _ in range(100):
        middle = (low + high) / 2
        too_small = np.minimum(middle * w, bound).mean() < 1
        low, high = (middle, high) if too_small else (low, middle)
    return np.minimum(high * w, bound)
    # END SOLUTION


# %%
check("06.5", cap)

# %% [markdown] tags=["solution-only"]
# All admissible answers are $\min(c\,w, B)$, and their mean only grows with $c$: halving an interval finds the $c$ with mean 1. The usual answers do one half. Scaled to mean 1 and then cut, the mean is too small; cut and then scaled, the largest weight is above the bound again; the second step repeated a few times gets near, and repeated to the end is right. Subtracting a number in place of dividing by one (the nearest point with these constraints, which `kmm` takes at each step) keeps bound and mean but not the proportions.

# %% [markdown]
# ### 06.6 · The weight inside, the weight outside (3 points, 12 minutes)
#
# How strongly to weight? Candidates are flattened weights $w^\gamma$, and there is no target label to choose by. *Write importance-weighted cross-validation* of a linear model and squared loss:
# $$\hat R(\gamma) = \frac1n \sum_i w_i\, \big(f_\gamma^{(-i)}(x_i) - y_i\big)^2,$$
# where $f_\gamma^{(-i)}$ was trained with weights $w^\gamma$ on all rows but those of row $i$'s fold. `folds` says for every row which fold it is in (0, 1, 2 …); the folds need not be of one size. `w` has mean 1. `LinearRegression().fit(x, y, sample_weight=…)` is yours to use.


# %%
def target_risk(x, y, w, gamma, folds):
    # BEGIN SOLUTION
    losses = np.empty(len(y))
    for k in np.unique(folds):
        kept, held = folds != k, folds == k
        model = LinearRegression().fit(x[kept], y[kept], sample_weight=w[kept] ** gamma)
        losses[held] = (model.predict(x[held]) - y[held]) ** 2
    return np.mean(w * losses)
    # END SOLUTION


# %%
check("06.6", target_risk)

# %% [markdown] tags=["solution-only"]
# Inside stands the setting that is tried, outside the question that is asked: how well does it do *in the target*? So the full weight stands outside, whatever $\gamma$ stands inside. Without it the choice serves the source and leans towards $\gamma = 0$; with $w^\gamma$ outside, each candidate is measured by a yardstick of its own, and they cannot be compared. Dividing by the sum of the weights fold by fold makes a fold with hardly a wanted row speak as loudly as the others, and a mean of the folds' means makes a small fold speak as loudly as a large one.

# %% [markdown]
# ### 06.7 · A plan before the run (3 points, 12 minutes)
#
# Three arms, no weights, full weights and flattened ones, are to be compared over several draws. You have row numbers: `source` (labelled), `register` (a sample of the target without labels) and `test` (labelled rows of the target, for the final report only). `arms` holds names, `draws` is how many draws there are. *Return the plan,* a list with one dictionary for each arm in each draw:
#
# - `"arm"` and `"draw"` (counted from 0);
# - `"ratio_source"` and `"ratio_target"`, the rows between which the ratio is estimated;
# - `"train"`, about four fifths of the source, each row once, and `"choose"`, about a fifth, for settings such as $\gamma$;
# - `"report"`, the rows that the accuracy is reported on.
#
# All rows are given as row numbers, in arrays or lists: of `source = [40, 7, 93, 21, 60]`, a part may be `[93, 21]`. Every run has all these entries, even where an arm makes no use of the ratio.
#
# The plan should let you compare the arms *within* a draw, and keep from every row what it must not be used for.


# %%
def plan(source, register, test, arms, draws):
    # BEGIN SOLUTION
    runs = []
    for number in range(draws):
        order = np.random.default_rng(number).permutation(source)
        choose, train = np.split(order, [len(order) // 5])
        rows = {"ratio_source": train, "ratio_target": register, "train": train, "choose": choose, "report": test}
        runs += [{"arm": arm, "draw": number, **rows} for arm in arms]
    return runs
    # END SOLUTION


# %%
check("06.7", plan)

# %% [markdown] tags=["solution-only"]
# The rows are dealt once a draw, before the loop over the arms, so the arms of a draw are *paired*: luck in the draw cancels in their difference. Test rows appear under `"report"` and nowhere else. The ratio needs no labels, so taking test rows for it crashes nothing and looks harmless; but the weights are then made for just those rows, and the report says nothing of new ones (if that is what you want, say 'transductive'). The register cannot choose, since it has no labels: the choice is made on source rows, with the weights of 06.6.

# %% [markdown]
# ### 06.8 · Open challenge: picked, and nobody says how (4 points, 25 minutes)
#
# A labelled sample with five columns and two classes, picked from the target's population by a mechanism that you are not told. In some samples the *columns* decided which rows were picked, possibly in a way that no straight line describes; in others the *label* did. Beside it, an unlabelled sample of the target. Here is one such problem; the check draws others.

# %%
from workbook.exercises.lab_06 import draw_picked, small_model

problem = draw_picked(random, random.choice(["one side", "both sides", "label"]))
print({name: values.shape for name, values in problem.items()})
better = small_model(problem, problem["true_weights"]) > small_model(problem, np.ones(600))
print("the true weights help:", better)

# %% [markdown]
# The model is not yours to choose: a logistic regression on the first two columns, trained with *your* weights. Write the function that makes the weights, one for each source row, of which only the proportions count; it may look at all five columns, and `source_y` holds 0 and 1. It is judged by the model's accuracy on target rows that it never sees, in fifteen fresh problems: six tenths of what the true weights gain over no weights are wanted, where columns picked the rows *and* where labels did. The reference keeps about eight tenths in the first case and nearly all in the second; no single method that we tried gets there in both.
# All that you have written above may be of use.


# %%
def weigh(source_x, source_y, target_x):
    # BEGIN SOLUTION
    # The first story, 'picked by the label': EM for the target's class frequencies.
    prior = np.bincount(source_y) / len(source_y)
    p, frequencies = LogisticRegression().fit(source_x, source_y).predict_proba(target_x), prior
    for _ in range(100):
        adjusted = p * (frequencies / prior)
        frequencies = (adjusted / adjusted.sum(axis=1, keepdims=True)).mean(axis=0)
    by_label = (frequencies / prior)[source_y]
    # Does it explain the target's columns, their squares and their products?
    expand = PolynomialFeatures(2, include_bias=False)
    source, target = expand.fit_transform(source_x), expand.fit_transform(target_x)
    left = np.average(source, axis=0, weights=by_label) - target.mean(axis=0)
    if np.max(np.abs(left) / target.std(axis=0)) < 0.2:
        return by_label
    # The second story, 'picked by the columns'.
    return cap(mended_ratio(source, target), 5)
    # END SOLUTION


# %%
check("06.8", weigh)

# %% [markdown] tags=["solution-only"]
# Each story has its own weights, and each can be tested without target labels, because it says what the weighted source must look like. If the label picked the rows, one number a class explains *everything* about the columns. If it does not, the columns picked.
#
# The ratio of densities used for both kinds keeps under half of the gain where labels picked: it brings $p(x)$ into order, and there $p(y \mid x)$ has moved too. EM used for both does harm where columns picked, for it ascribes to the classes what is none of theirs. A ratio without squares does not see a mechanism that takes both ends, and one without a cap lets a few outlying rows speak for everyone. Balancing the classes gains nothing, since neither story asks for balance.
#
# The threshold of a fifth of a standard deviation lies between what chance leaves and what the wrong story leaves, at these sample sizes, save for a rare sample of either kind. It is the lower one for a reason: EM does harm where columns picked, while a density ratio still gains something where labels did; a test with a permutation in place of a number is a good way on.

# %%
show_progress("06")

# %% [markdown]
# **Sources.** Kish 1965 (effective sample size); Shimodaira 2000 (flattened weights); Huang et al. 2007 (kernel mean matching); Bickel, Brückner and Scheffer 2007 (a classifier of the domain); Sugiyama, Krauledat and Müller 2007 (importance-weighted cross-validation); Saerens, Latinne and Decaestecker 2002 (EM for class frequencies).
