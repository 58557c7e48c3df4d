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
# # 01b · Evaluation: the rules this course keeps
#
# **A question.** Two people fine-tune the same network on the same task. One reports 0.84, the other 0.75. Both are honest. What happened, and what should they have reported?
#
# By the end of this lesson you can
#
# - tell the luck of the *draw* from the luck of *training*, and measure both;
# - compare two methods in pairs, and say why that is sharper;
# - say what choosing on test rows would have added to your result;
# - read an interval and a band, and say what they do not cover.
#
# *About 15 minutes of reading; about twenty seconds of computing. It stands alone; chapter [01](01_concepts.ipynb) shows the experiment that these rules serve.*

# %% tags=["parameters"]
profile = "quick"  # type: str
seed = 0  # type: int
draws = 6  # type: int
trainings = 3  # type: int
steps = 80  # type: int

# %%
import numpy as np

from workbook.lesson import begin, claim, record_table

defaults = draws == 6 and trainings == 3 and steps == 80
begin("torch", profile=profile, seed=seed, scope=profile == "quick" and defaults)
if profile != "quick":
    raise NotImplementedError("this lesson runs at profile = 'quick'; photographs come from chapter 03 on")

# %% [markdown]
# ## Two sources of luck
#
# The network is GlyphNet, pre-trained on letters; the task is handwritten digits, **one labelled example a class**. Which ten images you happen to label is one source of luck. Which random numbers training uses (the new head's weights, the order, the
# shifts) is another. So: six draws of examples, each fine-tuned three times.

# %%
from data_scripts.handwriting import load_handwriting
from data_scripts.pretrained_torch import load_glyphnet
from workbook.methods.torch.learning_curve import CANDIDATES, Bench

bench = Bench(load_handwriting(), load_glyphnet, steps)
setting = CANDIDATES["finetuned"][2]
runs = [("finetuned", 1, 100 + draw, setting, "test", run) for draw in range(draws) for run in range(trainings)]
table = np.reshape(bench.run_all(runs), (draws, trainings))
record_table(
    "01b.every-run", {f"draw {d}": {f"training {r}": [x] for r, x in enumerate(row)} for d, row in enumerate(table)}
)

# %% [markdown]
# There are your two honest people: pick any two entries. Down a column the draw changes, along a row only the training. Let $s^2_w$ be the mean variance within rows. The means of the rows vary by the draws *and* by what is left of the trainings after averaging
# $r$ of them, so the draws' own variance is estimated by $s^2_b = \operatorname{Var}(\text{row means}) - s^2_w / r$.

# %%
within = table.var(axis=1, ddof=1).mean()
between = max(0.0, table.mean(axis=1).var(ddof=1) - within / trainings)
spread = {"between draws": [np.sqrt(between)], "between trainings on one draw": [np.sqrt(within)]}
record_table("01b.luck", {"standard deviation of accuracy": spread})
claim(
    "01b.both-kinds-of-luck",
    "both the draw and the training move the accuracy of one-shot fine-tuning by more than half a point",
    bool(min(between, within) > 0.005**2),
)

# %% [markdown]
# Both are there, so five seeds on *one* draw understate the doubt: **a new draw must come with each seed.** That is what 'draws' means in this course.
#
# ## Intervals, and what they cover
#
# 'Mean ± half-width' is always Student's 95 % interval, $\bar a \pm t_{n-1} \, s / \sqrt n$ over $n$ draws. It is what the table of one number a draw deserves, and no more. It does **not** cover
#
# - the choice of the 629 test images, which all draws share;
# - draws that overlap: 50 examples a class are 500 of 899 training rows, so intervals there are too narrow;
# - *new writers*: all thirteen people have digits in training and in test rows;
# - another machine's rounding, which a long training amplifies to another last digit.
#
# With three draws Student's factor is 4.3, so a live table is wide on purpose. How wide must be *simulated* to be believed: does the interval hold the true mean 95 times in 100, even for three values?

# %%
from workbook.statistics import mean_interval, paired_difference

chance = np.random.default_rng(seed)
intervals = [mean_interval(chance.normal(0.8, 0.05, size=3)) for _ in range(4000)]
covered = np.mean([low <= 0.8 <= high for _, low, high in intervals])
naive = np.mean([abs(mean - 0.8) <= 1.96 * (high - mean) / 4.303 for mean, _, high in intervals])
record_table("01b.coverage", {"three normal draws": {"Student's factor 4.303": [covered], "factor 1.96": [naive]}})
claim(
    "01b.student-keeps-its-word",
    "for three draws Student's interval covers 94 to 96 times in 100, and ± 1.96 standard errors fewer than 85",
    bool(0.94 <= covered <= 0.96 and naive < 0.85),
)

# %% [markdown]
# ## Compare in pairs
#
# Give both arms the same draws and take differences: what a lucky draw adds to both, cancels. A linear probe against the nearest neighbour on pixels, one example a class, forty draws:

# %%
probe, pixels = (
    bench.run_all([(arm, 1, draw, CANDIDATES[arm][0]) for draw in range(40)]) for arm in ("probe", "pixels")
)
paired = paired_difference(probe, pixels)
apart = [mean_interval(values) for values in (probe, pixels)]
halves = {"paired": [paired.high - paired.mean], "unpaired": [np.hypot(*(i.high - i.mean for i in apart))]}
record_table("01b.pairing", {"half-width of the interval for the difference": halves})
claim(
    "01b.pairing-sharpens",
    "over forty draws the paired interval for probe minus pixels is narrower than the unpaired one",
    bool(halves["paired"][0] < halves["unpaired"][0]),
)

# %% [markdown]
# It costs nothing, and it works as far as the two arms agree on which draws are lucky. Compare means of *different* draws, and you pay for both spreads.
#
# ## Choose on validation rows
#
# How much does peeking flatter? Suppose twenty settings are all equally good, right nine times in ten, and you report the best of them on 100 test images:

# %%
best_of_twenty = chance.binomial(100, 0.90, size=(10_000, 20)).max(axis=1) / 100
record_table(
    "01b.peeking", {"accuracy": {"every setting, in truth": [0.90], "best of twenty, as seen": [best_of_twenty.mean()]}}
)
claim(
    "01b.peeking-flatters",
    "choosing the best of twenty equal settings on 100 test rows adds more than four points out of nothing",
    bool(best_of_twenty.mean() - 0.90 > 0.04),
)

# %% [markdown]
# So settings are chosen on validation rows, for draws that are not reported, with the same number of candidates for every arm; test rows are scored once, with the setting fixed. The validation rows are labelled too: say so when you count labels.
#
# ## Bands
#
# Beside some numbers stands a *band*. It comes from a reference grid of $n$ draws with mean $m$ and standard deviation $s$, and is the prediction interval for the mean of *your* $m'$ draws, $m \pm t_{n-1} \, s \sqrt{1/n + 1/m'}$ at 99 %. Your last digits will differ
# from your neighbour's; both should stand inside. In a table of fifty numbers one mark may be luck, several are not.
#
# ## What to take away
#
# - Report a mean over *draws*, its interval, and what the interval leaves out.
# - Same draws, same augmentation, same search budget for every arm; differences in pairs.
# - Choose on validation rows. The test rows answer one question, once.
# - Compare with the best simple method, tuned as well as yours: a gain over a careless baseline is no gain.
#
# > **Mistakes box.** *Several seeds on one draw. ± 1.96 standard errors on three values. The best epoch, or the best of many settings, picked on the test set. Two means of different draws compared. An interval that crosses zero read as 'equal'.*
#
# **A question left open.** Every rule here needs labelled target rows to choose on. What if there are none? (Chapter 07.) The lab of chapter 01 has an experiment to design by these rules.
#
# **Sources.** Student, *The Probable Error of a Mean*, Biometrika 1908 · X. Bouthillier et al., *Accounting for Variance in Machine Learning Benchmarks*, MLSys 2021 · J. Dodge et al., *Show Your Work*, EMNLP 2019.
