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
# # Lab 04 · The loop, and what may move
#
# Eight exercises on lessons [04](../chapters/04_fine_tuning_pytorch.ipynb) to [04g](../chapters/04g_photographs_pytorch.ipynb), about an hour and three quarters in all, in PyTorch. You write where it says *your answer*; the cell below judges what you wrote on fresh random inputs, as often as you like. Stuck? Each exercise has two or three hints, from a nudge to nearly everything: call `hint("04.1")` and so on.
#
# The words are the course's: a network is a *backbone* with a *head*, its last layer; *logits* are the head's outputs before the softmax, and `F.cross_entropy(logits, labels)` is the mean loss of a batch. A module's *parameters* are what gradients move; its *buffers*, such as the running means and variances of batch normalisation, move in training mode without any.

# %% tags=["parameters"]
seed = 0  # type: int

# %%
import copy

import numpy as np

from workbook.exercises.lab import check, hint, show_progress
from workbook.lesson import begin

begin("torch", seed=seed)

# %%
import torch
from torch import nn
from torch.nn import functional as F

random = np.random.default_rng(seed)

# %% [markdown]
# ### 04.1 · A batch of two (1 point, 6 minutes)
#
# Batch normalisation brings each channel to mean 0 and variance 1. In training it divides by the root of the batch's variance with $1/n$, where $n$ counts the values that a channel has in the batch; the running variance, which takes its place at prediction, is fed the one with $1/(n - 1)$. Suppose that the running mean and variance have arrived exactly at what the present batch feeds them. A batch holds `images` images, with maps of `height` × `width` pixels. *By which factor are the outputs at prediction larger or smaller than those in training,* for this same batch? Return the ratio of the two, prediction over training; leave $\epsilon$ aside.


# %%
def factor(images, height, width):
    # BEGIN SOLUTION
    n = images * height * width
    return np.sqrt((n - 1) / n)
    # END SOLUTION


# %%
check("04.1", factor)

# %% [markdown] tags=["solution-only"]
# The deviations from the mean are the same; in training they are divided by $\sqrt{S/n}$, at prediction by $\sqrt{S/(n - 1)}$, where $S$ is the sum of their squares and $n$ the number of *all* values of the channel, pixels included. The second root is larger, so the outputs are smaller, by $\sqrt{(n - 1)/n}$. Without the root it is the ratio of the variances; counting images and no pixels is right for maps of one pixel only.
#
# This is what lesson 04f left open. For two images and one pixel the two values $a$ and $b$ lie $|a - b|/2$ from their mean, and this is also the root of their variance: training sees $+1$ and $-1$, and all that is left of the inputs is which one was larger. The running variance then is a mean over many batches, and the factor holds on the average only; but the training itself has seen nothing but signs.

# %% [markdown]
# ### 04.2 · One epoch, line by line (3 points, 10 minutes)
#
# Write one epoch of training: for each batch of `batches`, a list of pairs `(x, y)`, one step of the optimiser on the cross-entropy, and one step of the schedule, which counts steps, not epochs. You do not know in which mode the network comes, nor what lies in its `.grad`. Return the mean over *rows* of the losses that the epoch has met, as a number; the last batch may be smaller than the others.


# %%
def one_epoch(network, optimiser, schedule, batches):
    # BEGIN SOLUTION
    network.train()
    total = rows = 0
    for inputs, answers in batches:
        loss = F.cross_entropy(network(inputs), answers)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total += len(inputs) * loss.item()
        rows += len(inputs)
    return total / rows
    # END SOLUTION


# %%
check("04.2", one_epoch)

# %% [markdown] tags=["solution-only"]
# Five lines have an order: gradients are forgotten *before* `backward`, the optimiser steps after it, the schedule after the optimiser. Clearing at the end of each round looks the same, and is, unless somebody left gradients behind before the epoch. A network that was scored before comes in evaluation mode; without `train()` its batch normalisation goes on using old statistics, and nothing complains. A schedule that counts steps and is moved once an epoch hardly leaves its first value.
#
# The mean of the batches' means gives the few rows of the last batch the weight of a full one. And `total += loss`, without `.item()`, keeps the graph of every batch alive until the epoch ends.

# %% [markdown]
# ### 04.3 · The best network was the last (3 points, 15 minutes)
#
# A colleague trains a new head on a frozen backbone, and wants the network of the epoch with the lowest loss on held-out rows:


# %%
def colleagues_training(network, head, batches, held_out, rate, epochs):
    network.requires_grad_(False)
    sgd = torch.optim.SGD(network.head.parameters(), lr=rate)
    network.head = head
    lowest = float("inf")
    for _ in range(epochs):
        network.train()
        for x, y in batches:
            loss = F.cross_entropy(network(x), y)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
        network.eval()
        with torch.no_grad():
            score = F.cross_entropy(network(held_out[0]), held_out[1]).item()
        if score < lowest:
            lowest, kept = score, network.state_dict()
    network.load_state_dict(kept)
    return network


# %% [markdown]
# Here it is at work, on a small network with a `backbone` and a `head`:

# %%
from workbook.exercises.lab_04 import small_network

network, head = small_network(classes=3), nn.Linear(8, 4)
x, y = torch.randn(40, 5), torch.randint(4, (40,))
found = colleagues_training(copy.deepcopy(network), copy.deepcopy(head), [(x, y)], (x, y), rate=0.5, epochs=5)
print("the new head has learnt:", not torch.equal(found.head.weight, head.weight))
print("the backbone is as it was:", torch.equal(found.backbone[1].running_mean, network.backbone[1].running_mean))

# %% [markdown]
# Python has no complaint, and all is wrong: there are three mistakes, and the third shows itself only when the first is mended. *Hand in a function that does what the colleague wanted:* SGD at `rate` on the head alone, the held-out loss after every epoch, and back comes the network of the best epoch, in evaluation mode. The backbone comes in evaluation mode too, and gives the same features all along, while the head learns and afterwards. `held_out` is one pair, rows and labels.


# %%
def mended_training(network, head, batches, held_out, rate, epochs):
    # BEGIN SOLUTION
    network.eval().requires_grad_(False)  # nothing in the backbone moves, running statistics included
    network.head = head.requires_grad_(True)
    new, scores = torch.optim.SGD(head.parameters(), lr=rate), []
    while len(scores) < epochs:
        for rows, labels in batches:
            new.zero_grad()
            F.cross_entropy(network(rows), labels).backward()
            new.step()
        with torch.inference_mode():
            scores.append(F.cross_entropy(network(held_out[0]), held_out[1]).item())
        if scores[-1] == min(scores):
            best = copy.deepcopy(head.state_dict())
    head.load_state_dict(best)
    return network
    # END SOLUTION


# %%
check("04.3", mended_training)

# %% [markdown] tags=["solution-only"]
# 1. *The optimiser was made before the head was replaced.* It holds the old head's parameters, which nobody uses any more, so they have no gradient and are passed over in silence. The new head stays random.
# 2. *Frozen is not frozen.* `requires_grad_(False)` concerns parameters. In training mode batch normalisation uses the batch's statistics and moves its running ones. Putting the old statistics back at the end is no repair: the head has learnt on other features.
# 3. *A state dict is no copy.* It points to the tensors that go on changing, so 'the best' is the last.
#
# Calling `network.train()` and then `network.backbone.eval()` in each epoch is right as well, as long as the last word is `eval()`, and so is computing the features once and training the head on them.

# %% [markdown]
# ### 04.4 · A rate for each part (3 points, 10 minutes)
#
# Lesson 04 asked whether each part could have its own rate, in one training. Write the parameter groups for it. The network has a `stem`, a list of `blocks` and a `head`:

# %%
from workbook.exercises.lab_04 import Tower

print([name for name, _ in Tower(blocks=2).named_parameters()])

# %% [markdown]
# The head gets `rate`, the last block `rate * decay`, the block before it `rate * decay**2`, and so on down to the stem. Parameters that are frozen, single ones or those of a whole block, are left out, and the rates of the other parts stay what they are; each of the other parameters is in exactly one group. Return a list of dictionaries, `[{"params": [...], "lr": 0.1}, ...]`, as PyTorch's optimisers take it; its order does not matter. The check has networks with few and with many blocks.


# %%
def groups(network, rate, decay):
    # BEGIN SOLUTION
    parts = [network.head, *reversed(network.blocks), network.stem]
    return [
        {"params": [p for p in part.parameters() if p.requires_grad], "lr": rate * decay**depth}
        for depth, part in enumerate(parts)
    ]
    # END SOLUTION


# %%
check("04.4", groups)

# %% [markdown] tags=["solution-only"]
# The list of parts says the order once, and `part.parameters()` cannot miss one. Groups made from names are where it goes wrong: `name.startswith("blocks.1")` also catches `blocks.10`, and a rule for layers called 'weight' forgets biases. Drop the parts in which nothing trains from the list, and those below them move up a place. PyTorch refuses a parameter in two groups; about one in none it says nothing. A good assertion to keep: the number of parameters in all groups is that of all trainable ones.

# %% [markdown]
# ### 04.5 · A prior that knows where it starts (2 points, 10 minutes)
#
# L2-SP adds to the loss
# $$\frac\alpha2 \sum_{\text{backbone}} \lVert w - w_0 \rVert^2,$$
# where $w_0$ is what pre-training left. `network` is a small network as in 04.3, half-way through its fine-tuning; `start` is the state dict that the *pre-trained* network had, deep-copied then. These are its keys:

# %%
print(list(small_network().state_dict()))

# %% [markdown]
# The new head happens to have the shape of the old one. *Write the penalty,* so that `(loss + penalty(network, start, alpha)).backward()` works.


# %%
def penalty(network, start, alpha):
    # BEGIN SOLUTION
    body = [(name, p) for name, p in network.named_parameters() if not name.startswith("head.")]
    return alpha / 2 * sum((p - start[name]).square().sum() for name, p in body)
    # END SOLUTION


# %%
check("04.5", penalty)

# %% [markdown] tags=["solution-only"]
# Three traps lie in the state dict. It holds the old head, and a new head of the same shape is then pulled, without any error, towards a head for other classes. It holds running statistics, which no gradient moves. And the tensors of `network.state_dict()` are detached: walk through *them*, and the number is right while its gradient is missing.
#
# Leave weight decay on for the same parameters, and two priors pull at once, one to $w_0$ and one to zero; at rest the weights sit between.

# %% [markdown]
# ### 04.6 · LoRA's first step (2 points, 10 minutes)
#
# A frozen weight $W_0$ has a low-rank update beside it, $W = W_0 + s\,BA$ with $s = \alpha/r$; $B$ is $(d_\text{out}, r)$, $A$ is $(r, d_\text{in})$. Let $G = \partial \ell/\partial W$ at the present $A$ and $B$. Both factors now make one plain gradient step at learning rate `rate`. *By how much does $W$ change?* Derive the gradients of the factors with the chain rule, and return the exact change, for any $A$ and $B$: an array of the shape of $G$. All arrays are NumPy's. Then look at what becomes of it for $B = 0$, where LoRA starts.


# %%
def change(G, A, B, alpha, rate):
    # BEGIN SOLUTION
    s = alpha / A.shape[0]
    stepped_B, stepped_A = B - rate * s * G @ A.T, A - rate * s * B.T @ G
    return s * (stepped_B @ stepped_A - B @ A)
    # END SOLUTION


# %%
check("04.6", change)

# %% [markdown] tags=["solution-only"]
# $d\ell = \langle G, s\,(dB\,A + B\,dA)\rangle$, so $\partial\ell/\partial B = s\,GA^\top$ and $\partial\ell/\partial A = s\,B^\top G$. The scale appears twice in the change, once in these gradients and once before the product. Each factor's gradient belongs to the old values of both: who updates $B$ first and then uses it for $A$ has made two steps. Terms of first order alone leave out the product of the two moves, which is of second order in the rate.
#
# At $B = 0$ only $B$ moves, and $W$ changes by $-\eta s^2\, G A^\top A$. If $A$ were zero as well, nothing would ever move.

# %% [markdown]
# ### 04.7 · A budget of trials, a budget of labels (3 points, 20 minutes)
#
# There are 40 settings (rates, policies, decays) to choose from, and labels for six *draws* of training examples. A trial trains one setting on one draw and gives its validation accuracy; you can pay for 90 trials. Three things make scores differ: the setting is better or worse, which is what you want to know; the draw is easy or hard, for all settings alike; and setting and draw suit each other more or less well. The three have standard deviations of about 0.04, 0.06 and 0.04, around a level that the task sets and nobody tells you. Asking for the same trial twice gives the same number, and costs two.
#
# Here is one such problem; the check draws four hundred.

# %%
from workbook.exercises.lab_04 import draw_search

problem = draw_search(random)
print("settings:", problem["settings"], " draws:", problem["draws"], " budget:", problem["budget"])
print("setting 17 on draw 2:", round(problem["score"](17, 2), 3))

# %% [markdown]
# *Plan the search.* Your function calls `score(setting, draw)`, both counted from 0, and returns two things: the number of the setting it recommends, and an honest estimate of the accuracy that this setting has on draws in general. Over all problems, the setting should lose no more than 0.0125 against the best one in the mean (the reference loses about 0.009, the best of one trial each two to three times as much), and the estimate should be too high about as much as too low (by less than 0.008 in the mean), on hard tasks as on easy ones.


# %%
def search(score, settings, draws, budget):
    # BEGIN SOLUTION
    alive, scores = list(range(settings)), [[] for _ in range(settings)]
    for draw in range(4):
        for setting in alive:
            scores[setting].append(score(setting, draw))
        alive = sorted(alive, key=lambda setting: np.mean(scores[setting]), reverse=True)[: len(alive) // 2]
    winner = alive[0]
    return winner, np.mean([score(winner, draw) for draw in range(4, draws)])
    # END SOLUTION


# %%
check("04.7", search)

# %% [markdown] tags=["solution-only"]
# The plan is *successive halving*: 40 settings on draw 0, the better 20 on draw 1, then 10 and 5, together 75 trials; two more for the report. Each round is paired, all survivors on the same draw, so the luck of the draw cancels between them. A trial for each setting on a random draw throws this away, and chooses the settings that met easy draws. Two full rounds cost 80, most of it for settings that the first round had already beaten; a second round for the better half alone chose as well in our trials. Other plans do: forty, then ten, four times over.
#
# The winner's own scores are why it won, so their mean flatters; the flattery shrinks with more draws and does not vanish. Draws 4 and 5 chose nothing: their mean is unbiased. It wavers, since two draws are two draws; honest and precise are different virtues, and the budget of labels buys only so much of both. (A fixed number can be right in the mean over tasks as well; it says nothing about any of them.)

# %% [markdown]
# ### 04.8 · Open challenge: a policy of your own, at one example (4 points, 25 minutes)
#
# One picture of each digit, drawn over a photograph, and GlyphNet, the lessons' small network, with the weights that it learnt on letters. Here is one such problem; the check draws others.

# %%
from data_scripts.pretrained_torch import load_glyphnet
from workbook.exercises.lab_04 import draw_examples

images, labels = draw_examples(random)
glyphnet = load_glyphnet()
print("images", tuple(images.shape), "labels", labels.tolist())
print("features", tuple(glyphnet.features(images).shape), "head", glyphnet.head)

# %% [markdown]
# Lesson 04b asks for the best prior at one example a class. Write your policy: the function gets a fresh GlyphNet in evaluation mode, with its head for letters, and ten pictures with their labels. It returns what maps pictures `(n, 1, 32, 32)` to logits `(n, 10)`, ready for use: the network itself, or any module or function around it. `network.features(images)` gives what its head sees, and `network.head` may be replaced. What moves and what stays, every rate, every prior and every augmentation is yours; scikit-learn is allowed.
#
# It is judged on test rows that it never sees, by its accuracy in the mean of eight fresh draws: **reach 0.70.** The best policy in lesson 04c's table gets about 0.80, plain fine-tuning at the best of four rates about 0.54. You have half a minute for the eight in all.


# %%
def learn(network, images, labels):
    # BEGIN SOLUTION
    from sklearn.linear_model import LogisticRegression

    features = network.features(images).detach()
    scale = 1 / features.norm(dim=1).mean()
    model = LogisticRegression(C=300, max_iter=1000).fit((scale * features).numpy(), labels.numpy())
    network.head = nn.Linear(features.shape[1], 10)
    weight, bias = scale * torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
    network.head.load_state_dict({"weight": weight, "bias": bias})
    return network
    # END SOLUTION


# %%
check("04.8", learn)

# %% [markdown] tags=["solution-only"]
# The linear probe, the first half of lesson 04b's LP-FT: the strongest prior is to leave the features alone, and ten pictures settle a head on them. Fine-tuned from a random head, the whole network can read its ten pictures in many ways, most of which forget what it knew; rates by depth and L2-SP hold it back, and the fitted head of LP-FT points it in a good direction, but in the table of lesson 04c none of them reaches the probe at one example. At fifty examples a class full fine-tuning has come past it: it is a matter of how much the target's data can say.
#
# Other ways to leave the features alone did as well in our trials: the ten features themselves, at length one, as class means, or a head trained by gradient steps on features of length one. Turned, moved and negated copies of the ten pictures gained nothing. A few small steps for everything after the probe did no great harm either; rates by depth from a random head came out between the probe and plain fine-tuning.
#
# Mind the small things: the factor `scale` must go into the weights as well, since the network will see unscaled features; and a network that comes back in training mode normalises each picture by its neighbours.

# %%
show_progress("04")

# %% [markdown]
# **Sources.** Ioffe and Szegedy 2015 (batch normalisation); Howard and Ruder 2018 (rates by depth); Li, Grandvalet and Davoine 2018 (L2-SP); Hu et al. 2022 (LoRA); Jamieson and Talwalkar 2016 (successive halving); Kumar et al. 2022 (probe first, then fine-tune).
