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
# # Lab 01 · What is transferred, and what was measured
#
# Eight exercises on lessons [01](../chapters/01_concepts.ipynb) and [01b](../chapters/01b_evaluation.ipynb), about an hour and a half in all. They need NumPy, SciPy and scikit-learn; PyTorch only makes the features of the last one. You write where it says *your answer*; the cell below judges what you wrote on fresh random inputs, as often as you like. Stuck? Each exercise has two or three hints, from a nudge to nearly everything: call `hint("01.1")` and so on.
#
# Words as in the course: an *arm* is one of the methods compared; a *draw* is one choice of labelled examples, named by its seed; $k$ is the number of labelled examples a class; *rows* are numbers of examples in a data set.

# %% tags=["parameters"]
seed = 0  # type: int

# %%
import numpy as np

from workbook.exercises.lab import check, hint, show_progress
from workbook.lesson import begin

begin("torch", seed=seed)
random = np.random.default_rng(seed)

# %% [markdown]
# ### 01.1 · Which kind of transfer? (2 points, 8 minutes)
#
# Six situations. In each, something is learned first (the source) and something afterwards (the target).
#
# - **A.** A network names printed letters, from labelled examples. Then it is to name handwritten digits; ten of them have labels.
# - **B.** A shop's pictures of thirty kinds of goods are labelled. The same thirty kinds are to be told apart in a webcam's pictures, which nobody has labelled.
# - **C.** A hospital's X-rays are labelled: pneumonia or not. The same X-rays are now to be sorted by fracture or not, and a hundred have that label.
# - **D.** A network fills holes cut into street photographs that nobody has labelled. Then it is to name flowers, from two hundred labelled photographs.
# - **E.** A pile of handwritten letters is shuffled and divided. One half has labels and a model learns from it; it is to name those of the other half.
# - **F.** Recordings of birds in a forest are sorted into groups without a single label. What was learned is to help with groups of machine noises in a factory, again without labels.
#
# For each write three words: is the target's *domain* `"same"` as the source's or `"other"`, is the *task* `"same"` or `"other"`, and where did somebody give *labels*: `"none"`, `"source"`, `"target"` or `"both"`? The answer is a dictionary, `{"A": ("same", "same", "none"), ...}`.

# %%
facts = None
# BEGIN SOLUTION
facts = {
    "A": ("other", "other", "both"),
    "B": ("other", "same", "source"),
    "C": ("same", "other", "both"),
    "D": ("other", "other", "target"),
    "E": ("same", "same", "source"),
    "F": ("other", "other", "none"),
}
# END SOLUTION

# %% [markdown]
# And write the table of Pan and Yang as a function of three such words, which returns `"inductive"`, `"transductive"`, `"unsupervised"` or `"no transfer"`. Combinations for which the table has no name are not asked.


# %%
def kind(domain, task, labels):
    # BEGIN SOLUTION
    if domain == "same" and task == "same":
        return "no transfer"
    if task == "same":
        return "transductive"
    return "unsupervised" if labels == "none" else "inductive"
    # END SOLUTION


# %%
check("01.1", facts, kind)

# %% [markdown] tags=["solution-only"]
# C changes the question and keeps the pictures: the domain is the same, the task is not. D is the one that most people get wrong: filling holes needs no labels, since the pictures supply the answers, but that does not make the transfer unsupervised; the target has labels and another task, so it is inductive. In E half and half come from one shuffled pile: this is ordinary learning, and a good check of whether 'domain' was understood as a distribution and not as a file. Which of these would move features, which parameters? All could.

# %% [markdown]
# ### 01.2 · Predict where the curves cross (2 points, 6 minutes)
#
# A frozen network is good at once, but what its source did not keep is lost to it: some error stays, however many labels there are. A network that is trained throughout has no such floor, and needs more labels. A simple model of the two errors at $k$ examples a class:
# $$\text{frozen network:}\quad \text{floor} + \frac{\text{frozen}}{\sqrt k}, \qquad\qquad \text{trained network:}\quad \frac{\text{trained}}{\sqrt k}.$$
# *Guess first: if the floor is halved, how much later do the curves cross?* Then return the $k$ at which they do, as it comes out, not rounded; 0 if the trained network is ahead from the first example on, and `np.inf` if it never gets ahead.


# %%
def crossing(floor, frozen, trained):
    # BEGIN SOLUTION
    if trained <= frozen:
        return 0
    return np.inf if floor == 0 else ((trained - frozen) / floor) ** 2
    # END SOLUTION


# %%
check("01.2", crossing)

# %% [markdown] tags=["solution-only"]
# Equal errors mean $\text{floor} \sqrt k = \text{trained} - \text{frozen}$. The square is what gets lost most often, and with it the point: the crossing moves with the *square* of the floor. The other usual slip is a formula without its limits: squaring hides the sign of $\text{trained} - \text{frozen}$, so that a network which is always ahead seems to overtake at some $k$. The model is a caricature (chapter 01 shows the measured curves), but the right caricature: two numbers decide, how much the source kept and how hungry for labels the trained network is.

# %% [markdown]
# ### 01.3 · A draw that can be trusted (3 points, 12 minutes)
#
# `labels` holds the class of every row of a data set, whole numbers from 0. `train` holds the numbers of those rows that may be learned from. Write the function that draws $k$ rows of each class, by these rules:
#
# - it returns row numbers of the data set, in any order, and only such as are in `train`; no row twice;
# - the same seed gives the same rows, another seed others, and no random numbers but its own are touched;
# - draws are *nested*: the rows for a small $k$ are among those for a larger $k$ of the same seed;
# - every row of `train` has its chance.


# %%
def sample(labels, train, k, seed):
    # BEGIN SOLUTION
    generator = np.random.default_rng(seed)
    drawn = []
    for label in np.unique(labels[train]):
        rows = generator.permutation(train[labels[train] == label])
        drawn.append(rows[:k])
    return np.concatenate(drawn)
    # END SOLUTION


# %%
check("01.3", sample)

# %% [markdown] tags=["solution-only"]
# The permutation does not know of $k$; only the cut does. `generator.choice(rows, k, replace=False)` looks the same and is not nested, since what it draws first depends on how many are wanted. `np.flatnonzero(labels[train] == label)` gives places *within* `train`, the most expensive of the usual mistakes: it raises nothing, and it draws test rows. `np.random.seed(seed)` makes it repeatable, and everybody else's random numbers with it.

# %% [markdown]
# ### 01.4 · Helps, hurts, or cannot tell (3 points, 12 minutes)
#
# Two learners, each without a source and with three; every array holds one accuracy a draw, and all have the same draws in the same order. The keys are pairs such as `("probe", "letters")`; without a source, `("probe", None)`.

# %%
from workbook.exercises.lab_01 import draw_accuracies

accuracies = draw_accuracies(random)
for arm, values in accuracies.items():
    print(f"{arm[0]:10}  {arm[1] or 'no source':11}", *(f"{value:.3f}" for value in values))

# %% [markdown]
# Which source helps which learner, and which does harm? Return a dictionary with an entry `(low, high, word)` for each learner *with* a source, under the same key: the two ends of Student's 95 % interval for the mean gain over the same learner without a source, and one of the words `"helps"`, `"hurts"`, `"cannot tell"`. Other dictionaries have other numbers of draws. Compute the interval by hand, with `scipy.stats.t.ppf` for the quantile.


# %%
def effects(accuracies):
    # BEGIN SOLUTION
    from scipy.stats import t

    found = {}
    for (learner, source), values in accuracies.items():
        if source is None:
            continue
        gain = values - accuracies[learner, None]
        n = len(gain)
        half = t.ppf(0.975, n - 1) * gain.std(ddof=1) / np.sqrt(n)
        low, high = gain.mean() - half, gain.mean() + half
        word = "helps" if low > 0 else "hurts" if high < 0 else "cannot tell"
        found[learner, source] = low, high, word
    return found
    # END SOLUTION


# %%
check("01.4", effects)

# %% [markdown] tags=["solution-only"]
# Subtract first, then average: the luck of a draw is in both lists and cancels. With two separate intervals, every source here would be 'cannot tell'. 'Negative' means worse than the *same* learner without the source: against the better of the two learners nearly every probe would look harmful, and the difference would be one of learners. And 1.96 instead of Student's factor makes intervals of six draws a quarter too narrow, enough to turn 'cannot tell' into a discovery.

# %% [markdown]
# ### 01.5 · The best of many (2 points, 8 minutes)
#
# Somebody tries `settings` settings, all exactly as good as each other: each gets a test row right with probability `accuracy`, independently. All are scored on `rows` test rows, and the best score is published. *Guess first for twenty settings that are right nine times in ten, on a hundred rows.* Then write the accuracy that is published, in the mean over many worlds in which this happens. A simulation will do, if it takes well under a second.


# %%
def best_of(settings, rows, accuracy):
    # BEGIN SOLUTION
    worlds = np.random.default_rng(0).binomial(rows, accuracy, size=(5000, settings))
    return worlds.max(axis=1).mean() / rows
    # END SOLUTION


# %%
check("01.5", best_of)

# %% [markdown] tags=["solution-only"]
# The largest in each world, then the mean over worlds; the other order (the mean of each setting, then the largest) gives hardly more than the truth, and the largest of all numbers drawn is far too much. There is a closed form as well: $\mathrm{E} \max = \sum_t \bigl(1 - F(t)^m\bigr)$ for the distribution function $F$ of the binomial. 'Two standard errors' is right for one number of settings, and only for that.

# %% [markdown]
# ### 01.6 · An accuracy out of nothing (3 points, 12 minutes)
#
# A colleague has few rows and very many columns, keeps the twenty columns that have most to do with the label, and cross-validates. Does the function do what it should? We let it guess the results of *coin flips* from pure noise.

# %%
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler


def colleagues_guesses(x, y, folds):
    x = StandardScaler().fit_transform(x)
    x = SelectKBest(k=20).fit_transform(x, y)
    guesses = np.empty_like(y)
    for test in folds:
        train = np.setdiff1d(np.arange(len(y)), test)
        guesses[test] = LogisticRegression(max_iter=1000).fit(x[train], y[train]).predict(x[test])
    return guesses


noise, coins = random.normal(size=(120, 2000)), random.integers(0, 2, 120)
folds = np.array_split(random.permutation(120), 4)
right = (colleagues_guesses(noise, coins, folds) == coins).mean()
print("coin flips guessed right more than three times in four:", right > 0.75)

# %% [markdown]
# `folds` is a list of arrays of row numbers; each fold is guessed by a model that was fitted on the others, or so it seems. Repair it: the same three steps, but nothing that is used for guessing a fold may know anything of that fold, neither labels nor inputs.


# %%
def honest_guesses(x, y, folds):
    # BEGIN SOLUTION
    from sklearn.pipeline import make_pipeline

    steps = make_pipeline(StandardScaler(), SelectKBest(k=20), LogisticRegression(max_iter=1000))
    found = np.zeros(len(y), dtype=int)
    for fold in folds:
        others = np.setdiff1d(np.arange(len(y)), fold)
        found[fold] = steps.fit(x[others], y[others]).predict(x[fold])
    return found
    # END SOLUTION


# %%
check("01.6", honest_guesses)

# %% [markdown] tags=["solution-only"]
# Among two thousand columns of noise, some agree with the coin by chance, on *all* rows; choosing them with the test rows' labels in view carries these labels into the model, and cross-validation afterwards cannot see it. The scaler is the smaller leak: it knows no labels, and here it hardly changes a guess. It is moved all the same, since a rule is easier to keep than an estimate of its breach. Two repairs that are none: the selection in the loop but still `fit(x, y)`, and a scaler fitted *anew on the test rows*, which makes the guess for one row depend on the others.

# %% [markdown]
# ### 01.7 · A plan for a fair comparison (3 points, 15 minutes)
#
# Design an experiment. `candidates` gives for each arm a list of settings that could be tried (`{"probe": ["C 1", "C 10", ...], "scratch": [...], ...}`, lists of different lengths); `budget` says how many runs the *search* for settings may take in all; `draws` are the seeds of the draws to be reported. This is how a colleague does it, whose favourite is the first arm:


# %%
def colleagues_plan(candidates, budget, draws):
    favourite = next(iter(candidates))
    return {
        "search": [(favourite, setting, draws[0], "test") for setting in candidates[favourite]],
        "report": [(arm, draw, "test") for arm in candidates for draw in draws],
    }


# %% [markdown]
# How many rules of lesson 01b does that break? List them; then write a plan that breaks none. `"search"` is a list of `(arm, setting, draw, rows)`, `"report"` one of `(arm, draw, rows)`: the reported runs take the setting that the search has found. `rows` is `"validation"` or `"test"`; a draw is a whole number of your choice. The budget need not be used up, and is never too small for a fair plan. One rule that 01b leaves to common sense: a search in which an arm has only one setting, or with only one draw, is none.


# %%
def plan(candidates, budget, draws):
    # BEGIN SOLUTION
    search_draws = [max(draws) + 1, max(draws) + 2, max(draws) + 3]
    each = min(budget // (len(candidates) * len(search_draws)), *map(len, candidates.values()))
    search = [
        (arm, setting, draw, "validation")
        for arm, settings in candidates.items()
        for setting in settings[:each]
        for draw in search_draws
    ]
    return {"search": search, "report": [(arm, draw, "test") for arm in candidates for draw in draws]}
    # END SOLUTION


# %%
check("01.7", plan)

# %% [markdown] tags=["solution-only"]
# The colleague chooses on test rows, on one draw, on a draw that is then reported, and tunes only the favourite; the report itself is in order, which is how such comparisons pass. Trying every candidate of every arm looks generous and is not fair: the arm with the longest list gets most chances to be lucky, and the budget breaks. Dividing the budget by the *lists* instead of by the arms does the same in a quieter way. Fresh draws for each setting are the third classic: then the luckier draw wins.

# %% [markdown]
# ### 01.8 · Open challenge: one label a class, and a pile without any (3 points, 20 minutes)
#
# Chapter 01 left a question open: can one have more than the probe at very few labels? Here you get the frozen features of digits over photographs, **one** labelled example a class, and five hundred pictures of the same kind that nobody has labelled. Here is one such problem, with test rows to try things out on (one alone says little: `list(draw_one_shot(random, problems=8))` makes eight); the check makes others, from pictures that have never been shown to anybody.

# %%
from workbook.exercises.lab_01 import draw_one_shot

problem = next(draw_one_shot(random))
print({name: values.shape for name, values in problem.items()})

# %% [markdown]
# Write a function that learns from `x`, `y` and `pool`, and returns another function, which takes features and gives labels. It is judged by its accuracy on test rows, in the mean over sixteen draws: **0.87** is wanted, well above what a linear probe makes of the ten labels, and the reference stays clear above it. The label of a row must not depend on the rows that are asked about beside it, so learn from the pile, not from test rows. scikit-learn is allowed.


# %%
def learn(x, y, pool):
    # BEGIN SOLUTION
    def unit(rows):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    classes = np.unique(y)
    everything = np.concatenate([unit(x), unit(pool)])
    centres = np.stack([unit(x)[y == label].mean(axis=0) for label in classes])
    for _ in range(10):
        nearest = (everything @ unit(centres).T).argmax(axis=1)
        nearest[: len(y)] = np.searchsorted(classes, y)
        centres = np.stack([everything[nearest == place].mean(axis=0) for place in range(len(classes))])
    return lambda rows: classes[(unit(rows) @ unit(centres).T).argmax(axis=1)]
    # END SOLUTION


# %%
check("01.8", learn)

# %% [markdown] tags=["solution-only"]
# k-means that starts from the labelled rows, on features of length 1, and keeps these rows in their classes. GlyphNet's features lie in heaps, one for each digit, although it has never learned a digit; ten labels only have to say which heap is which. Fitting a classifier to its own guesses for the pile (self-training with logistic regression) gains little, since it goes on believing what it said first; one that first takes over only what it is surest of can even lose, for at one example a class it is sure of the wrong things. What nobody has labelled is not for nothing, though: the method takes for granted that the pile holds these ten classes and no others, in similar numbers. Say so when you report it.

# %%
show_progress("01")

# %% [markdown]
# **Sources.** Pan and Yang 2010 (kinds of transfer); Wang et al. 2019 (negative transfer); Ambroise and McLachlan 2002 (selection before cross-validation); Basu, Banerjee and Mooney 2002 (k-means from labelled seeds).
