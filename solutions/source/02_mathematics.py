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
# # Lab 02 · The formulas, by hand
#
# Eight exercises on lessons [02](../chapters/02_mathematics.ipynb) to [02d](../chapters/02d_distances_and_label_shift.ipynb), about an hour and a quarter in all. They need NumPy and a pencil, no framework. You write where it says *your answer*; the cell below judges what you wrote on fresh random inputs, as often as you like. Stuck? Each exercise has two or three hints, from a nudge to nearly everything: call `hint("02.1")` and so on; a hint costs no points.
#
# The notation is the course's: $z$ are logits, outputs before the softmax, $(n, K)$ for $n$ rows and $K$ classes; $y$ are labels, numbers from 0 to $K - 1$; $p = \mathrm{softmax}(z)$; 'log' is the natural logarithm. The loss is the cross-entropy, in the mean over rows:
# $$\ell = -\frac1n \sum_{i} \log p_{i, y_i}.$$

# %% tags=["parameters"]
seed = 0  # type: int

# %%
import numpy as np

from workbook.exercises.lab import check, hint, show_progress

random = np.random.default_rng(seed)

# %% [markdown]
# ### 02.1 · The loss of a head that knows nothing (1 point, 3 minutes)
#
# Before anything is trained, you can know what the first loss must be. A head whose weights and biases are all zero gives zero logits for every input. *Which loss does it have, for `classes` classes?* Work it out on paper first, then write it down as a function.


# %%
def untrained_loss(classes):
    # BEGIN SOLUTION
    return np.log(classes)
    # END SOLUTION


# %%
check("02.1", untrained_loss)

# %% [markdown] tags=["solution-only"]
# All logits are equal, so every class gets $1/K$, and $-\log(1/K) = \log K$. The first loss of a real script should come out near it; a leak of the labels cannot be seen yet, since this head does not look at its inputs. The usual wrong answers are $1/K$, which is the accuracy of guessing, and $1 - 1/K$, its error rate: both are about decisions, and the loss is about probabilities. Who answers $\log_2 K$ counts in bits.

# %% [markdown]
# ### 02.2 · The gradient, term by term (3 points, 8 minutes)
#
# Write the derivative of the mean loss $\ell$ with respect to every logit, an array of the shape of `z`. It must stay finite for logits of a thousand: $e^{1000}$ is more than a computer can hold.


# %%
def gradient(z, y):
    # BEGIN SOLUTION
    shifted = np.exp(z - z.max(axis=1, keepdims=True))
    p = shifted / shifted.sum(axis=1, keepdims=True)
    return (p - np.eye(z.shape[1])[y]) / len(z)
    # END SOLUTION


# %%
check("02.2", gradient)

# %% [markdown] tags=["solution-only"]
# For one row $\ell = -z_y + \log \sum_j e^{z_j}$, so $\partial \ell / \partial z_i = p_i - [i = y]$, and the mean over rows divides by $n$. Forgetting the division gives the gradient of the sum: the same direction, but a learning rate that silently depends on the batch size. A softmax along the wrong axis adds up to one over the rows of a class; nothing complains, since the shape is right. `p[:, y] -= 1` takes whole columns; `p[np.arange(n), y] -= 1` takes one entry a row. Subtracting a row's largest logit changes nothing in $p$ and keeps every exponent at or below zero. The largest logit of the *whole array* would not do: a row far below it would be left with zeros only.

# %% [markdown]
# ### 02.3 · What a head hands to the backbone (2 points, 6 minutes)
#
# Logits are $z = h W^\top + b$ for features $h$ of shape $(n, d)$, weights $W$ of shape $(K, d)$ and biases $b$ of shape $(K,)$. Write the derivative of the mean loss with respect to the *features*: what backpropagation hands down to the pre-trained network. *And guess before you check: what does a head with $W = 0$ hand down?*


# %%
def to_features(W, b, h, y):
    # BEGIN SOLUTION
    return gradient(h @ W.T + b, y) @ W
    # END SOLUTION


# %%
check("02.3", to_features)

# %% [markdown] tags=["solution-only"]
# The chain rule: $\partial \ell / \partial h = (\partial \ell / \partial z)\, W$. With $W = 0$ it is zero, so for one step the backbone does not move while the head learns; with a large random $W$ the backbone gets a large push in a random direction. The most common wrong answer is the transpose product, `gradient(...).T @ h`, which is the gradient of the head's own weights.

# %% [markdown]
# ### 02.4 · Softmax, twice (2 points, 8 minutes)
#
# A colleague's network ends in a softmax, and the loss applies softmax again, as many published listings do:


# %%
def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def colleagues_loss(z, y):
    return -np.log(softmax(softmax(z))[np.arange(len(y)), y]).mean()


certain = 50 * np.eye(10)
print("always right and certain; is the loss below 0.001?", colleagues_loss(certain, np.arange(10)) < 1e-3)

# %% [markdown]
# The network is right about every row, and certain; its loss is not near zero. *How low can this loss go*, for `classes` classes, whatever the network does?


# %%
def floor(classes):
    # BEGIN SOLUTION
    return np.log((np.e + classes - 1) / np.e)
    # END SOLUTION


# %%
check("02.4", floor)

# %% [markdown] tags=["solution-only"]
# The outer softmax sees probabilities in place of logits. It is most certain of a class when that one is 1 and the others are 0, and then gives it $e/(e + K - 1)$; minus the logarithm of that is the floor. What `np.eye(K)` reaches as *logits* is far above: its inner softmax is not certain at all. With $e + K$ in the place of $e + K - 1$ the right class is counted among its rivals. The repair is a network that ends in logits, or a loss that is told `from_logits=False`.

# %% [markdown]
# ### 02.5 · Whose statistics? (3 points, 12 minutes)
#
# Batch normalisation of rows `x`, of shape $(n, d)$, by the rules of PyTorch with $m = 0.1$. Each column is normalised, $(x - \text{mean})/\sqrt{\text{variance} + 10^{-5}}$; scale and offset are left out. `state` is a dictionary with `"mean"` and `"var"`, the running statistics, each of shape $(d,)$. Return two things, the normalised rows and the *new* state, again a dictionary with both names, and leave the given one alone. PyTorch computes a variance in two ways: rows are normalised with the one that divides by $n$, and the running variance moves towards the one that divides by $n - 1$. `training` is `True` or `False`: *which statistics are used, and which move, in either case?*


# %%
def batch_norm(x, state, training):
    # BEGIN SOLUTION
    if not training:
        return (x - state["mean"]) / np.sqrt(state["var"] + 1e-5), dict(state)
    moved = {
        "mean": 0.9 * state["mean"] + 0.1 * x.mean(axis=0),
        "var": 0.9 * state["var"] + 0.1 * x.var(axis=0, ddof=1),
    }
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5), moved
    # END SOLUTION


# %%
check("02.5", batch_norm)

# %% [markdown] tags=["solution-only"]
# Three confusions are common. One is the two variances: `x.var(axis=0, ddof=1)` for the rows too makes every output a little too small. One is whose statistics normalise: with the batch's in evaluation, the answer to a picture depends on its neighbours in the batch. The third is the direction of $m$: Keras counts the share that is *kept* (0.99 by default), PyTorch the share that is *new* (0.1). And a state that moves during evaluation is a leak: test rows have entered the model.

# %% [markdown]
# ### 02.6 · Pulled towards the start (2 points, 10 minutes)
#
# Near the data's own optimum $\hat w$ the loss of the target is nearly quadratic, with curvature $H$ (symmetric, positive definite). Fine-tuning with a prior around the pre-trained weights $w_0$ (L2-SP) minimises
# $$\tfrac12 (w - \hat w)^\top H (w - \hat w) + \tfrac{\lambda}{2} \lVert w - w_0 \rVert^2 .$$
# Set the derivative to zero, solve for $w$, and write the solution. `strength` is $\lambda$.


# %%
def optimum(H, w_hat, w_0, strength):
    # BEGIN SOLUTION
    both = H + strength * np.eye(len(H))
    return np.linalg.solve(both, H @ w_hat + strength * w_0)
    # END SOLUTION


# %%
check("02.6", optimum)

# %% [markdown] tags=["solution-only"]
# $H(w - \hat w) + \lambda (w - w_0) = 0$ gives $(H + \lambda I)\, w = H \hat w + \lambda w_0$. In NumPy, `H + strength` adds $\lambda$ to every entry and `H + strength * np.eye(d)` to the diagonal. Leaving out $\lambda w_0$ is weight decay: it pulls what was pre-trained towards zero. A plain weighted average of $\hat w$ and $w_0$ is right only where the curvature is the same in every direction; here each direction finds its own compromise.

# %% [markdown]
# ### 02.7 · The classes are not as frequent as they were (3 points, 10 minutes)
#
# A classifier was trained where classes had the frequencies `prior_source`, and gives probabilities `p` of shape $(n, K)$. Where it is used they are `prior_target`, of shape $(K,)$ like the other; pictures of a class look the same as before, so $p(x \mid y)$ has not changed. Write the probabilities that it should give there.


# %%
def adjust(p, prior_source, prior_target):
    # BEGIN SOLUTION
    raw = p * (prior_target / prior_source)
    return raw / raw.sum(axis=1, keepdims=True)
    # END SOLUTION


# %%
check("02.7", adjust)

# %% [markdown] tags=["solution-only"]
# Bayes: $p_T(y \mid x) \propto p(x \mid y)\, p_T(y) \propto p_S(y \mid x)\, p_T(y)/p_S(y)$. Multiplying by the target's frequencies alone leaves the source's in as well; dividing by the source's alone is right only where all classes are equally frequent; turning the ratio round makes rare classes likely.

# %% [markdown]
# ### 02.8 · Open challenge: a target that nobody labelled (3 points, 20 minutes)
#
# A source with three equally frequent classes and labels, and a target of the same classes in quite other frequencies, without labels. Here is one such problem; the check draws others. (`target_y` is there for you to measure with: your function does not get it.)

# %%
from workbook.exercises.lab_02 import draw_shifted

problem = draw_shifted(random)
print({name: values.shape for name, values in problem.items()})

# %% [markdown]
# Write a function that labels the target's rows: an array with a class, 0, 1 or 2, for each. Somebody who *knew* the target's frequencies could adjust the source's classifier and would be right more often than it is. Your function does not know them. How much of this gain does it keep? On average over six fresh problems nine tenths are wanted; the reference keeps nearly all. scikit-learn is allowed, and so is everything that you have written above.


# %%
def predict(source_x, source_y, target_x):
    # BEGIN SOLUTION
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=1000).fit(source_x, source_y)
    p, prior = model.predict_proba(target_x), np.bincount(source_y) / len(source_y)
    frequencies = prior
    for _ in range(100):
        frequencies = adjust(p, prior, frequencies).mean(axis=0)
    return adjust(p, prior, frequencies).argmax(axis=1)
    # END SOLUTION


# %%
check("02.8", predict)

# %% [markdown] tags=["solution-only"]
# The EM algorithm for class frequencies (Saerens, Latinne and Decaestecker 2002): adjust with the present estimate of the frequencies, take the mean of the adjusted probabilities as the next one, and repeat. One round is already much better than none, but its estimate is still drawn towards the source's frequencies. Counting the *predicted classes* once, and adjusting with these counts, lies nearer, and stops short as well, since mistaken rows are counted too. (The confusion matrix on held-out source rows mends that; it is the other good way.) Balancing the classes of the source does nothing, because they were balanced.

# %%
show_progress("02")

# %% [markdown]
# **Sources.** Ioffe and Szegedy 2015 (batch normalisation); Li, Grandvalet and Davoine 2018 (L2-SP); Saerens, Latinne and Decaestecker 2002 (EM for class frequencies).
