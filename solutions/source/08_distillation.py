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
# # Lab 08 · The teacher's answers, and what becomes of them
#
# Eight exercises on lessons [08](../chapters/08_distillation.ipynb) to [08e](../chapters/08e_photographs_distillation.ipynb), about an hour and three quarters in all. They need PyTorch and NumPy. You write where it says *your answer*; the cell below judges what you wrote on fresh random inputs, as often as you like. Stuck? Each exercise has two or three hints: call `hint("08.1")` and so on.
#
# The notation is the course's: $z$ are the student's logits and $v$ the teacher's, $(n, K)$ for $n$ rows and $K$ classes; $p_s = \mathrm{softmax}(z/T)$ and $p_t = \mathrm{softmax}(v/T)$ at temperature $T$; $y$ are labels, $-1$ where a row has none. The distillation loss is
# $$L = \alpha\, T^2\, \mathrm{KL}\big(p_t \,\|\, p_s\big) + (1 - \alpha)\, \mathrm{CE}\big(y, \mathrm{softmax}(z)\big), \qquad \mathrm{KL}(p \,\|\, q) = \sum_i p_i \log \frac{p_i}{q_i} .$$
# Both terms are means over *all* rows; a row without a label adds nothing to the second.

# %% tags=["parameters"]
seed = 0  # type: int

# %%
import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from workbook.exercises.lab import check, hint, show_progress
from workbook.lesson import begin

begin("torch", seed=seed)
random = np.random.default_rng(seed)

# %% [markdown]
# ### 08.1 · What was written, what was meant (1 point, 5 minutes)
#
# A colleague's loss has no $T^2$: it is $\alpha\,\mathrm{KL} + (1 - \alpha)\,\mathrm{CE}$. Up to a common factor, which Adam does not mind, that is the loss above with *another* $\alpha$, and much less of the teacher. You may not touch the code, only the setting. *Which $\alpha$ must you give it,* so that teacher and labels are balanced as in $L$ with $\alpha$ = `share`? Write it as a function; at $T = 1$ there is nothing to mend, and it returns `share`.


# %%
def setting(share, T):
    # BEGIN SOLUTION
    return share * T**2 / (share * T**2 + 1 - share)
    # END SOLUTION


# %%
check("08.1", setting)

# %% [markdown] tags=["solution-only"]
# The two terms must stand in the same proportion: $\alpha' : (1 - \alpha') = \alpha T^2 : (1 - \alpha)$. Lesson 08 asks the question the other way round, and its formula answers what the colleague gets for what was written. Two powers of $T$ are lost: one because the logits enter as $z/T$, one because softened probabilities lie nearer to each other. (The second holds at high temperature only, so the balance is 'about' right, whatever the $T$.)

# %% [markdown]
# ### 08.2 · Three teachers, and rows that nobody labelled (3 points, 12 minutes)
#
# Now there are several teachers: `v` has the shape $(m, n, K)$. They speak with one voice, the *mean of their softened probabilities*, and that is $p_t$. Write the derivative of $L$ with respect to every logit of the student, an array of the shape of `z`. The inputs are NumPy arrays, and `y` holds $-1$ for rows without a label. Work it out on paper; the rest of this lab lets autograd do it.


# %%
def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def gradient(z, v, y, T, alpha):
    # BEGIN SOLUTION
    soft = T * (softmax(z / T) - softmax(v / T).mean(axis=0))
    hard = softmax(z) - np.eye(z.shape[1])[y]
    hard[y == -1] = 0
    return (alpha * soft + (1 - alpha) * hard) / len(z)
    # END SOLUTION


# %%
check("08.2", gradient)

# %% [markdown] tags=["solution-only"]
# The lesson's $(p_s - p_t)/T$ for a fixed $p_t$ holds for any $p_t$, so only the voice is new; times $T^2$ one power of $T$ is left over. Averaging *logits* is another voice: it is the geometric mean of the teachers' probabilities, brought back to one, in which one teacher that thinks a class impossible has a veto.
#
# The silent trap is `np.eye(K)[-1]`: an index of $-1$ is no error, it is the *last class*, and so every row without a label becomes a labelled example of it. (PyTorch's `F.cross_entropy` refuses $-1$ unless told `ignore_index=-1`, and then divides by the labelled rows alone, which is another loss: with three labelled rows in a batch of sixty-four it makes much of three rows.)

# %% [markdown]
# ### 08.3 · Five mistakes in one loss (3 points, 12 minutes)
#
# Every row has a label now. A colleague shows you this:


# %%
def colleagues_loss(student_logits, teacher_logits, labels, T, alpha):
    student = F.softmax(student_logits / T, dim=1)
    teacher = F.softmax(teacher_logits, dim=1)
    soft = F.kl_div(teacher.log(), student, reduction="none").mean()
    hard = F.cross_entropy(F.softmax(student_logits, dim=1), labels)
    return alpha * soft + (1 - alpha) * hard


logits = torch.tensor(random.normal(0, 3, (6, 10)))
itself = colleagues_loss(logits, logits, logits.argmax(dim=1), 4.0, 1.0)
print("a student that says what its teacher says has no soft loss:", itself.abs().item() < 1e-6)

# %% [markdown]
# There are five mistakes in the four lines from `teacher = …` to `return …`, and none stops the training. *Hand in a loss that is $L$.* Besides, no gradient may reach the teacher's logits, and it must be right for logits of a thousand, too.


# %%
def repaired_loss(student_logits, teacher_logits, labels, T, alpha):
    # BEGIN SOLUTION
    log_s = F.log_softmax(student_logits / T, dim=1)
    log_t = F.log_softmax(teacher_logits.detach() / T, dim=1)
    soft = F.kl_div(log_s, log_t, log_target=True, reduction="batchmean")
    return alpha * T**2 * soft + (1 - alpha) * F.cross_entropy(student_logits, labels)
    # END SOLUTION


# %%
check("08.3", repaired_loss)

# %% [markdown] tags=["solution-only"]
# 1. *A temperature on one side.* The student can then match only by making its own logits $T$ times as large: at $T = 1$ it would be far too sure.
# 2. *Arguments in the wrong order.* `F.kl_div(input, target)` is $\mathrm{KL}(\text{target} \,\|\, \text{input})$, and `input` is the logarithm of the *student's* probabilities. The other way round the student is punished for putting probability where the teacher has none, and hardly for leaving out what the teacher thinks possible.
# 3. *The mean over entries.* It divides by the classes as well, and so does the default of `F.kl_div`; `"batchmean"` divides by the rows.
# 4. *Softmax twice* in the labels' term: its loss has a floor (02.4) and a feeble gradient.
# 5. $T^2$ *is missing.*
#
# `F.softmax(…).log()` is minus infinity where a probability has become 0, and $0 \cdot \infty$ is not a number; `F.log_softmax` is finite. (A small constant inside the logarithm makes it finite as well, and wrong: no disagreement can cost more than that constant's logarithm.) Without `log_target=True` `F.kl_div` takes its second argument for probabilities; given logarithms, it returns nan. The cross-entropy of student and teacher in place of the divergence is no mistake for training, since it differs by the teacher's entropy, a constant; but it is not zero for a student that agrees, so you no longer see from the loss how near it is.

# %% [markdown]
# ### 08.4 · Who is being taught? (3 points, 15 minutes)
#
# The loop around the loss, by the same colleague. `batches` is a list of tensors of row numbers, one for each batch; `augment` returns a randomly changed version of the pictures that it gets, another one at each call; and `loss` takes the student's logits and the teacher's, in this order.

# %%
from workbook.exercises.lab_08 import small_network


def colleagues_training(student, teacher, images, batches, augment, loss, rate):
    sgd = torch.optim.SGD([*student.parameters(), *teacher.parameters()], lr=rate)
    student.train()
    teacher.train()
    for rows in batches:
        answers = teacher(augment(images[rows]))
        loss(student(augment(images[rows])), answers).backward()
        sgd.step()
    return student


student, teacher, images = small_network(1), small_network(2), torch.randn(64, 1, 8, 8)
before = copy.deepcopy(list(teacher.state_dict().values()))
_ = colleagues_training(
    student, teacher, images, torch.arange(64).split(16), lambda x: x + torch.rand(()), F.mse_loss, 0.1
)
changed = [not torch.equal(*pair) for pair in zip(before, teacher.state_dict().values())]
print("every tensor of the teacher has changed:", all(changed))

# %% [markdown]
# The teacher is being taught as well, and that is not all. *Hand in a loop* with plain SGD, at the rate `rate` and with one step a batch in the order given, after which every tensor of the teacher is what it was. It returns the student, ready to be asked for an answer.


# %%
def training(student, teacher, images, batches, augment, loss, rate):
    # BEGIN SOLUTION
    optimiser = torch.optim.SGD(student.parameters(), lr=rate)
    student.train()
    teacher.eval()
    for batch in batches:
        views = augment(images[batch])
        with torch.no_grad():
            answers = teacher(views)
        optimiser.zero_grad()
        loss(student(views), answers).backward()
        optimiser.step()
    return student.eval()
    # END SOLUTION


# %%
check("08.4", training)

# %% [markdown] tags=["solution-only"]
# 1. *The optimiser holds the teacher's weights.* The quickest way to bring two networks together is to move both, towards whatever is easiest to agree on.
# 2. *The teacher is in training mode*: its batch normalisation answers by the neighbours in the batch, and its running statistics drift, even if no weight is trained.
# 3. *The teacher's graph* is built at every step for nothing. `no_grad` stops it; `detach` on the answers only throws it away.
# 4. *Two views*: `augment` was called twice, so the student is told the answer to a picture that it has not seen. Answers computed once, for pictures as they are, are the same mistake.
# 5. *Gradients add up*, since nobody sets them to zero.
# 6. *The student comes back in training mode*, so that its answer to one picture would depend on the others.
#
# What was right is easily lost: without `student.train()` a student that comes in evaluation mode learns with the running statistics of its random start.

# %% [markdown]
# ### 08.5 · Two forgeries (3 points, 15 minutes)
#
# Losses on inner maps, $(N, C, H, W)$, for a student with as many channels as the teacher. The *attention* loss compares where the squares, added over the channels, are large, each map scaled to length 1. The *hint* loss asks what the best regressor leaves over: `left_over(maps, given)` is the share of the variance of `maps` that no 1×1 convolution of `given` can reproduce.

# %%
from workbook.exercises.lab_08 import draw_maps, left_over
from workbook.methods.torch.hints import attention_loss

maps = draw_maps(random)
print("another picture's maps satisfy attention:", attention_loss(maps.roll(1, dims=0), maps).item() < 1e-6)
print("another picture's maps satisfy hints:", left_over(maps, maps.roll(1, dims=0)) < 1e-6)

# %% [markdown]
# Each loss is blind to something. *Forge two sets of maps* from given ones, of the same shape:
#
# - the first satisfies attention completely (a loss of 0, but for rounding) and leaves over at least *half* of the variance: the hint loss would complain loudly;
# - the second leaves nothing over (but for rounding), and has an attention loss of at least 0.1.
#
# Return both, in this order; each may be random. The two functions above tell you how well you forge: `attention_loss(first, maps)` and `left_over(maps, first)`.


# %%
def forge(maps):
    # BEGIN SOLUTION
    signs = torch.where(torch.rand_like(maps) < 0.5, -1.0, 1.0)
    return signs * maps, maps + 100 * maps.abs().max()
    # END SOLUTION


# %%
check("08.5", forge)

# %% [markdown] tags=["solution-only"]
# *The first.* At each place only the length of the vector of channels counts, so any change of direction is allowed: a random sign, a shuffle of the channels at each place anew. A change that is the same everywhere, a factor, a new order or one rotation of all channels, is a 1×1 convolution and does not fool the regressor.
#
# *The second.* Whatever a 1×1 convolution can undo is allowed: adding a constant makes every place shine nearly alike, multiplying one channel by a thousand makes the attention that channel's. A common factor or a rotation changes lengths equally or not at all.
#
# So attention is blind to *what* is there, and hints are blind to *how loudly* it is said. If the regressor is not given to the optimiser, hints are blind to nothing, and ask the student to reproduce the teacher's channels through an arbitrary mixture.

# %% [markdown]
# ### 08.6 · Eight bits (2 points, 10 minutes)
#
# Another way to be small. Quantise the numbers `x` affinely, as in lesson 08c: an interval $[a, b]$ that contains 0, a scale $s = (b - a)/255$, a zero point $o = \mathrm{round}(-a/s)$, and $q = \mathrm{round}(x/s) + o$, so that $\hat x = s\,(q - o)$. You have no interval, only `seen`, the calibration's values, from which to take the smallest possible one. `x` comes later, and nothing keeps it inside. Return three things: `q`, an array of the shape of `x`, really in eight bits (`uint8`), the scale and the zero point. An example: where `seen` goes from −0.5 to 2.05, the scale is 0.01, the zero point 50, and 0.304 becomes 80.


# %%
def quantise(x, seen):
    # BEGIN SOLUTION
    low, high = min(seen.min(), 0.0), max(seen.max(), 0.0)
    scale = (high - low) / 255
    zero = round(-low / scale)
    return np.clip(np.round(x / scale) + zero, 0, 255).astype(np.uint8), scale, zero
    # END SOLUTION


# %%
check("08.6", quantise)

# %% [markdown] tags=["solution-only"]
# Values behind a ReLU are never negative, and other layers may see none near zero at all; yet padding is zero, so the interval is widened to hold it. What lies outside must be *clipped* before it becomes `uint8`: NumPy and PyTorch count on from 255 to 0, and the largest activation of a picture becomes one of the smallest. Taking the interval from `x` itself is dynamic quantisation, honest but slower, as the range must be found for each input; taking it from test rows is a leak.

# %% [markdown]
# ### 08.7 · Which of them answers faster? (3 points, 15 minutes)
#
# Design a measurement. `calls` is a dictionary from a contender's name to a function; you make one call by `calls[name]()`. `clock()` returns the time in seconds. You may make `budget` calls in all, the same number for each of the three contenders. (The machine is simulated, so that nobody has to wait and your own computer's troubles do not matter.) You have been warned:
#
# - a contender's first calls are slow, up to sixteen of them;
# - every now and then something else takes the machine for a while, in the middle of a call;
# - it gets warm: the longer you measure, the slower is everything.
#
# Return a dictionary from each name to the seconds of a *typical* call. Above all the proportions of the three must be right. The cell below has such a machine for you to try on, by `typical(machine.calls, machine.clock, 150)`; it stays warm, so make a new one for every trial. `machine.true` says what its calls would take if it stayed cold. The check has another one.

# %%
from workbook.exercises.lab_08 import Machine

machine = Machine(random, budget=150)
print("three contenders:", ", ".join(machine.calls))


# %%
def typical(calls, clock, budget):
    # BEGIN SOLUTION
    times = {name: [] for name in calls}
    for _ in range(budget // len(calls)):
        for name, call in calls.items():
            begun = clock()
            call()
            times[name].append(clock() - begun)
    return {name: np.median(many[16:]) for name, many in times.items()}
    # END SOLUTION


# %%
check("08.7", typical)

# %% [markdown] tags=["solution-only"]
# Each trouble has its remedy, and none of them helps against the others. The *first calls* are left out; a median that includes sixteen of them is no longer in the middle of the rest. *Interruptions* only ever add time: a median hardly notices, a mean pays for each, and most for the fastest contender. Against the *drift* neither helps: the contenders take turns, so that it slows all alike. Measured one after the other, the last one loses.
#
# The fastest call of each, which some tools report, is stable too; but it tells what happened once, on a cold machine. On a real machine change the order in each turn as well, for a contender that always follows the same neighbour finds its cache as that one leaves it.

# %% [markdown]
# ### 08.8 · Open challenge: two digits that it never saw (4 points, 25 minutes)
#
# Lesson 08b took one digit away, here it is two. A teacher, GlyphNet with a new head for all ten digits, has answered once for a pile of handwritten digits of 8 × 8 pixels, and is gone. On the pile are *no pictures of two of the digits*. The student may have a thousand parameters (a linear layer has 650), no more. Here is one such problem; the check draws others.

# %%
from workbook.exercises.lab_08 import draw_unseen

problem = draw_unseen(random, missing=(3, 8))
print({name: tuple(values.shape) for name, values in problem.items()})
called = torch.isin(problem["answers"].argmax(dim=1), torch.tensor([3, 8])).double().mean()
print("the teacher calls fewer than one picture in ten a 3 or an 8:", called.item() < 0.1)

# %% [markdown]
# Write the function that makes the student, a module that maps pictures `(n, 64)` to logits `(n, 10)`, all in float32:
#
# - `pile`, `answers`: pictures without the two digits, `(n, 64)`, and the teacher's logits for them, `(n, 10)`;
# - `missing`: the two digits, as a tuple;
# - `mixed`: 200 pictures of all ten digits, each about equally frequent, without labels or answers.
#
# For the problem above the call is `make_student(problem["pile"], problem["answers"], (3, 8), problem["mixed"])`, and `test_x` and `test_y` are for you to measure with. The check has fresh ones, in five problems in which every digit is missing once, and takes the mean: at least 60 in a hundred pictures of the missing digits are to be read, and 85 in a hundred of all. The reference reads nearly 80 and nearly 90. A student of the teacher's first choices hardly ever calls the missing digits.


# %%
def make_student(pile, answers, missing, mixed):
    # BEGIN SOLUTION
    T, student = 4.0, nn.Linear(64, 10)
    optimiser = torch.optim.Adam(student.parameters(), lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        repaired_loss(student(pile), answers, answers.argmax(dim=1), T, 1.0).backward()
        optimiser.step()
    # Raise the two digits' biases until each is called a tenth of the time.
    two = list(missing)
    with torch.no_grad():
        for _ in range(300):
            called = F.one_hot(student(mixed).argmax(dim=1), 10).double().mean(dim=0)
            student.bias[two] += 0.5 * (0.1 - called[two]).float()
    return student
    # END SOLUTION


# %%
check("08.8", make_student)

# %% [markdown] tags=["solution-only"]
# Two things are needed, and neither is enough alone.
#
# *The small probabilities.* Some pictures of a 5 look a little like a 3, others a little like an 8, and only the teacher's soft answers say which. A student of first choices can at best notice that a picture is like none of the eight. The correction below then makes it call *some* of the missing digits, but far fewer than the student of soft answers, and it takes one of the two for the other much more often.
#
# *The bias.* On the pile the two digits were nearly always improbable, and the student has learnt that, too: without the correction it reads a small part of them, whatever the temperature. The pile has lied about frequencies, not about resemblances, so a correction of two numbers mends it; the mixed pictures say how far, and no label is read. It is label shift (02.7) with a prior of zero. Who raises the two biases until each digit is called twice as often as it is there reads nearly all of the missing ones, and loses about a quarter of the others.
#
# A larger $T$ listens to the small probabilities more closely: $T = 4$ did better than 1, which passed nearly every time. Beyond that nothing was gained, and the eight others lost a little. Regression on the logits is the limit of large $T$, has a closed form, and does nearly as well. A hidden layer of twelve units read fewer of the missing digits than none. What cannot help is more weight for labels, as there are none to be had for the two.

# %%
show_progress("08")

# %% [markdown]
# **Further, without a check.** The lessons left questions that take more time than a check may. *A student that has the letters too:* pre-train `small_student` (08) on the letters of `data_scripts.glyphs`, then distil; does the teacher still add anything? *Answers for another version:* give `distil` (08) the answers for unshifted pictures; what do they cost? *Rounding in training:* put `x + (rounded(x) - x).detach()` into a student's forward pass, whose gradient is that of `x`, and compare with 08c. *In Keras:* the loop of 08.4 as one overridden method (08d).
#
# **Sources.** Hinton, Vinyals and Dean 2015 (distillation, the omitted digit); Romero et al. 2015 (hints); Zagoruyko and Komodakis 2017 (attention); Jacob et al. 2018 (integers for inference); Bengio et al. 2013 (a gradient for rounding).
