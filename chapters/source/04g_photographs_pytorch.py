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
# # 04g · Photographs in PyTorch: what to train when every step costs
#
# **A question.** You fine-tune a network on two hundred photographs of your own. It fits all of them; on the validation pictures it is far worse. Over-fitting, you say, and add augmentation, weight decay, a smaller rate. Nothing helps, because nothing was over-fitted. What else tells the two sets of pictures apart?
#
# By the end of this lesson you can
#
# - bring photographs to a network: decoded once, augmented picture by picture, normalised in one place;
# - cut a backbone between two stages (its named blocks of layers), cache the maps (特征图) that come out there, and say what that saves and what it costs;
# - compare policies at a budget of *seconds*, and report a score on few test pictures with an honest interval;
# - leave behind a model that names its classes, and a one-page report with its worst mistakes.
#
# *About 35 minutes of reading; under a minute of computing at the quick profile, about three at public, on one core. At quick the pictures are digits over pieces of photographs and the network is GlyphNet; at public they are photographs of ants and bees and the network has seen ImageNet. `python -m workbook run 04 -p data_dir=FOLDER` runs it on your own. The loop is that of [04](04_fine_tuning_pytorch.ipynb).*

# %% tags=["parameters"]
profile = "quick"  # type: str quick, public or gpu
data_dir = ""  # type: str a folder of your own pictures
backbone = ""  # type: str
per_class = 0  # type: int
seed = 0  # type: int
draws = 0  # type: int trainings of each policy, 0: as many as the profile has
pace = 1.0  # type: float share of the profile's training steps
save_to = ""  # type: str where the folder with model and report is made, empty: runs/models

# %%
import matplotlib.pyplot as plt
import numpy as np

from workbook.lesson import begin, claim, device, record, record_table
from workbook.plotting import COLOURS

defaults = not (data_dir or backbone or per_class or draws) and pace == 1.0
begin("torch", profile=profile, seed=seed, scope=defaults and profile in ("quick", "public"))
photographs = bool(data_dir) or profile != "quick"
ARMS = ("head", "last stage", "last two stages", "everything", "scratch")
if photographs:
    steps, upper = (200, 50, 30, 10, 10), (3e-4, 1e-3, 3e-3)
    rates = ((1e-3, 3e-3, 1e-2), upper, upper, (1e-4, 2e-4, 4e-4), (1e-3, 3e-3, 1e-2))
else:
    steps, rates = (200, 100, 40, 40, 40), ((1e-2, 3e-2, 1e-1), *[(3e-3, 1e-2, 3e-2)] * 4)
STEPS = {arm: max(4, round(pace * number)) for arm, number in zip(ARMS, steps)}
RATES = dict(zip(ARMS, rates))
BANDS = {"quick": (0.93, 0.98), "public": (0.84, 0.97)}  # of the probe, the head and the last stage
draws = draws or (2 if photographs else 3)

# %% [markdown]
# ## Look at the data
#
# `load_pictures` decodes every picture once, into `uint8` squares of the size that the backbone (主干网络) was trained on: four times smaller in memory than floats, and never decoded again. `describe` counts the classes, says how unequal they are, and names files that could not be read. *Before you run a model on pictures, ask of the rows below: could you tell these classes apart, and by what?*

# %%
import torch

from data_scripts.backbones_torch import Classifier, load_backbone
from data_scripts.pictures import choose_backbone, load_pictures
from workbook.methods.picture_report import drawable

name = choose_backbone(profile, backbone=backbone, data_dir=data_dir)
pretrained = load_backbone(name)
task = load_pictures(profile, size=pretrained.size, data_dir=data_dir, per_class=per_class)
classes, shown = len(task.class_names), drawable(task.class_names)
print(task.describe())
figure, axes = plt.subplots(min(classes, 5), 1, figsize=(8, 1.15 * min(classes, 5)))
for label, axis in enumerate(axes):
    axis.imshow(np.hstack(task.inputs[task.train[task.labels[task.train] == label][:8]]))
    axis.set(xticks=[], yticks=[])
    axis.set_ylabel(shown[label], rotation=0, ha="right", va="center")
_ = figure.suptitle("Training pictures, one class a row")

# %% [markdown]
# *Rows of up to eight training pictures, one row for each of the first classes, cut square and scaled to the size that the network takes.*
#
# ## Numbers to beat
#
# We train on ten pictures a class at quick; otherwise on all there are, up to a hundred a class and four hundred together, with at most 300 for validation and 800 to test on. Four baselines (基线): always the most frequent class; the nearest training picture by pixels (最近邻); a linear probe (线性探测), logistic regression on the frozen features; and the same probe on the features of the same network with *random* weights, which shows what its architecture alone is worth. Their settings come from validation rows or from cross-validation inside
# the training rows. For an accuracy the interval is Wilson's: the range of true accuracies with which the count seen is compatible (95 %).

# %%
from workbook.methods.torch.photographs import floats, through

where = device() if profile == "gpu" else "cpu"
pictures = torch.from_numpy(task.inputs).permute(0, 3, 1, 2)  # uint8, a view
labels, generator = torch.from_numpy(task.labels), np.random.default_rng(seed)
most = max(2, min(100, 400 // classes)) if photographs else 10
of_class = [task.train[task.labels[task.train] == label] for label in range(classes)]
rows = np.concatenate([generator.permutation(one)[:most] for one in of_class])
validation, test = (generator.permutation(part)[:n] for part, n in ((task.validation, 300), (task.test, 800)))
kept = np.concatenate([rows, validation, test])
place = np.full(len(labels), -1)
place[kept] = np.arange(len(kept))  # row → where its features stand
print(f"used: {len(rows)} training pictures, {len(validation)} for validation, {len(test)} to test on")

# %%
from sklearn.neighbors import KNeighborsClassifier

from workbook.methods.features import classifier, contrast
from workbook.statistics import paired_difference, wilson_interval


def hits(model, features, asked):
    model.fit(features[place[rows]], task.labels[rows])
    return np.equal(model.predict(features[place[asked]]), task.labels[asked]).astype(float)


torch.manual_seed(seed)
random_weights = load_backbone(name, pretrained=False)
features, noise = (through(net, pictures[kept], device=where).numpy() for net in (pretrained, random_weights))
small = [through(torch.nn.AdaptiveAvgPool2d(side), pictures[kept]).flatten(1).numpy() for side in (8, 16, 32)]
near = KNeighborsClassifier(1)
pixels = max([*small, *map(contrast, small)], key=lambda x: hits(near, x, validation).mean())
linear = classifier("logistic regression", int(np.bincount(task.labels[rows]).min()))
right = {
    "majority": 1.0 * (task.labels[test] == np.bincount(task.labels[rows]).argmax()),
    "pixels": hits(near, pixels, test),
    "random weights": hits(linear, noise, test),
    "probe": hits(linear, features, test),
}


# %%
def wilson(correct):
    count = round(float(np.sum(correct)))  # a mean over draws need not be whole
    _, low, high = wilson_interval(count, len(correct))
    return {"accuracy": [np.mean(correct)], "95 % from": [low], "to": [high]}


record_table("04g.baselines", {arm: wilson(correct) for arm, correct in right.items()}, corner="test pictures")
claim(
    "04g.weights-are-worth-it",
    "on the same test pictures the probe beats nearest pixels, and the same probe on random weights, "
    "by more than five points with its interval",
    min(paired_difference(right["probe"], right[arm]).low for arm in ("pixels", "random weights")) > 0.05,
)

# %% [markdown]
# Pixels and random weights may stand in either order; the distance from random weights to the probe is what the weights have learned. (At public, be careful with its size: the ants and bees were taken from ImageNet, so these weights may have met some of the very pictures.) The probe is the number that fine-tuning (微调) has to beat, and it took one pass over the pictures.
#
# ## From files to batches
#
# Three jobs, three places. **Decode** once, before training. **Augment** (数据增强) `uint8` pictures, at the moment a batch is made, *one call a picture*: a transform of `torchvision.transforms.v2` draws its random numbers once a call, as lesson 04 showed. **Normalise** inside the network: the backbone begins with whatever its weights were trained with, so that nobody else has to. (For most it is 'subtract the mean, divide by the spread'; this SqueezeNet goes back to 0 to 255 and subtracts a mean, GlyphNet only turns colours to grey.)
#
# Which changes leave a label true is a question about your classes. A mirrored ant is an ant; a mirrored digit may be none; a mirrored road sign says something else. So digits are shifted here, photographs are cropped at random and mirrored: if your classes differ by left and right, take the flip out.

# %%
from torchvision.transforms import v2

size = pretrained.size
if photographs:
    augment = v2.Compose([v2.RandomResizedCrop(size, scale=(0.5, 1.0)), v2.RandomHorizontalFlip()])
else:
    augment = v2.RandomCrop(size, padding=2, padding_mode="edge")


def augmented(chosen):
    return torch.stack([augment(picture) for picture in pictures[chosen]])


# %%
torch.manual_seed(seed)
same = pictures[rows[:1]].expand(8, -1, -1, -1)
versions = {"one call a picture": augmented(rows[:1].repeat(8)), "one call for the batch": augment(same)}
figure, axes = plt.subplots(2, 1, figsize=(8, 2.9))
for axis, (title, batch) in zip(axes, versions.items()):
    axis.imshow(np.hstack(batch.permute(0, 2, 3, 1).numpy()))
    axis.set(title=title, xticks=[], yticks=[])
kinds = [len({picture.numpy().tobytes() for picture in batch}) for batch in versions.values()]
claim(
    "04g.one-draw-a-call",
    "eight calls give several versions of one picture, one call for the batch gives a single one",
    kinds[0] >= 3 and kinds[1] == 1,
)

# %% [markdown]
# *One training picture eight times, above and below. Above, each copy is changed in its own way; below, all eight in the same way.*
#
# ## Cut the network where training begins
#
# What is frozen (冻结) computes the same for a picture at every step. So compute it once: `Backbone.split(stage)` gives what comes before a stage and the rest, on the same weights. We keep the maps before the last two stages; those before the last stage, and the features, follow from them. *Predict: is a training step on the last stage's maps cheaper than one through everything by a little, by half, or by more?*

# %%
import time

stages = [stage for stage, _ in pretrained.stages.named_children()]
CUT = {"last stage": stages[-1], "last two stages": stages[-2]}


def parts(network, arm):
    """What stays as it is, and what trains."""
    if arm == "head":
        return network.backbone, network.head
    if arm in CUT:
        lower, rest = network.backbone.split(CUT[arm])
        return lower, torch.nn.Sequential(rest, network.head)
    return torch.nn.Identity(), network


begun = time.perf_counter()
lower, rest = pretrained.split(CUT["last two stages"])
maps = {"last two stages": through(lower, pictures[kept], device=where)}
maps["last stage"] = through(rest[:1], maps["last two stages"], device=where)
maps["head"] = through(rest[1:], maps["last stage"], device=where)
record("04g.maps-once", time.perf_counter() - begun, unit="s", digits=1)
print({arm: tuple(one.shape[1:]) for arm, one in maps.items()})
claim(
    "04g.same-features",
    "the pieces, one after the other, give the features of the whole network to a thousandth of their size",
    bool(np.abs(maps["head"].numpy() - features).max() < 1e-3 * np.abs(features).max()),
)

# %% [markdown]
# The loop is that of lesson 04, on inputs that may be maps or pictures. What is frozen stands before the cut, outside the module that trains: it ran in evaluation mode, so its batch normalisation (批量归一化) kept the statistics it came with.

# %%
from torch.nn import functional as F

from workbook.methods.torch.training import next_rows


def train(module, inputs, rate, steps, draw):
    torch.manual_seed(draw)  # v2 draws from PyTorch's global random numbers
    generator, order = torch.Generator().manual_seed(draw), torch.empty(0, dtype=torch.int64)
    optimiser = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    module.to(where).train()
    for _ in range(steps):
        batch, order = next_rows(order, len(rows), 16, generator)
        chosen = rows[batch.numpy()]
        loss = F.cross_entropy(module(floats(inputs(chosen), where)), labels[chosen].to(where))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return module.eval()


# %%
def run(arm, rate, draw):
    torch.manual_seed(draw)
    network = Classifier(load_backbone(name, pretrained=arm != "scratch"), classes)
    _, module = parts(network, arm)
    begun = time.perf_counter()
    train(module, (lambda chosen: maps[arm][place[chosen]]) if arm in maps else augmented, rate, STEPS[arm], draw)
    spent = time.perf_counter() - begun
    return network.eval(), module, spent


def logits(arm, module, asked):
    return through(module, maps[arm][place[asked]] if arm in maps else pictures[asked], device=where)


# %% [markdown]
# ## Five policies, a few seconds each
#
# On a laptop the budget is time, not steps. *Head* trains the new linear layer alone; *last stage* and *last two stages* train it together with one or two stages, all three on cached maps. *Everything*, and *scratch*, the same network from random weights, train on freshly augmented pictures. What trains less may make more steps: the numbers in `STEPS` were set so that policies on cached maps get about as many seconds as *everything* and *scratch*, or fewer. The column *all its steps* of the second table shows how far that came true on this machine; it leaves out the one pass that made the maps, which all trainings share.
#
# Each policy has three rates, tried in one training with random numbers of its own (a *draw*) and judged by the cross-entropy (交叉熵) on validation rows, which is finer than an accuracy on so few. If a row's lowest loss stands at one of its ends, try a rate beyond.

# %%
search, spent = {}, {}
for arm in ARMS:
    for column, rate in zip(("lowest rate", "middle rate", "highest rate"), RATES[arm]):
        _, module, seconds = run(arm, rate, 1000)
        loss = F.cross_entropy(logits(arm, module, validation), labels[validation]).item()
        search.setdefault(arm, {})[column] = [loss]
        spent.setdefault(arm, []).append(seconds)
chosen_rate = {arm: RATES[arm][int(np.argmin([x for [x] in losses.values()]))] for arm, losses in search.items()}
record_table("04g.search", search, corner="validation cross-entropy")
step = {arm: [1000 * np.median(seconds) / STEPS[arm]] for arm, seconds in spent.items()}
times = {arm: {"a step of 16": step[arm], "all its steps": [step[arm][0] * STEPS[arm]]} for arm in ARMS}
record_table("04g.step", times, corner="training", unit="ms", digits=1)
claim(
    "04g.cached-steps",
    "a step on the maps before the last stage takes less than three quarters of the time of a step through everything",
    bool(step["last stage"][0] < 0.75 * step["everything"][0]),
)

# %% [markdown]
# A step of *everything* and *scratch* holds the augmentation of its sixteen pictures too. The two do the same arithmetic: where their times differ all the same, it shows how far to trust times taken once in a notebook, and why the claim asks for less than the table shows.
#
# Now each policy is trained at its rate in new draws, and the test pictures are scored.

# %%
trained = {arm: [run(arm, chosen_rate[arm], draw)[:2] for draw in range(seed, seed + draws)] for arm in ARMS}
judged = {
    arm: np.mean([F.cross_entropy(logits(arm, module, validation), labels[validation]).item() for _, module in pairs])
    for arm, pairs in trained.items()
}
winner = min(ARMS, key=judged.get)
chances = {arm: [logits(arm, module, test).softmax(1).numpy() for _, module in pairs] for arm, pairs in trained.items()}
scores = {arm: np.array([p.argmax(1) == task.labels[test] for p in of], float) for arm, of in chances.items()}
bars = {arm: wilson(correct) for arm, correct in right.items()}
for arm, correct in scores.items():
    share = correct.mean(1)
    bars[arm] = wilson(correct.mean(0)) | {"lowest draw": [share.min()], "highest draw": [share.max()]}
band = BANDS.get(profile) if defaults else None
bands = {(arm, "accuracy"): band for arm in ("probe", "head", "last stage") if band}
record_table("04g.test", bars, corner=f"{len(test)} test pictures", expected=bands)
record_table(
    "04g.judged", {arm: {"validation cross-entropy": [x]} for arm, x in judged.items()}, corner="mean of draws"
)

# %%
figure, axis = plt.subplots(figsize=(7.5, 4))
for height, (arm, bar) in enumerate(reversed(bars.items())):
    colour = COLOURS["blue"] if arm in ARMS else COLOURS["grey"]
    axis.plot([bar["95 % from"], bar["to"]], [height, height], color=colour)
    axis.plot(bar["accuracy"], [height], "D", color=colour)
axis.set_yticks(range(len(bars)), list(bars)[::-1])
axis.set(xlabel="accuracy on test pictures", title="Baselines (grey) and policies (blue), Wilson's 95 % intervals")
axis.set_xlim(0, 1)
differences = {arm: correct.mean(0) - right["probe"] for arm, correct in scores.items()}
record_table("04g.against-probe", {arm: {"difference": d} for arm, d in differences.items()}, corner="policy − probe")
claim(
    "04g.scratch-is-behind",
    "within this budget every policy on cached maps beats training from scratch, on the same pictures, "
    "by more than ten points with its interval",
    min(paired_difference(scores[arm].mean(0), scores["scratch"].mean(0)).low for arm in maps) > 0.1,
)

# %% [markdown]
# *Accuracy with its interval for the four baselines in grey and the five policies in blue, on an axis from 0 to 1. At both profiles the head and the last stage stand close to the probe; pixels, random weights and training from scratch to the left of them.*
#
# The table of accuracies holds two spreads. The *lowest* and *highest draw* are trainings: other heads, other orders of the same pictures. Compare how far apart they are in each row: with many weights and few steps there is more luck in it. Wilson's interval is over test pictures, and where those are few it is wide however often you train. A *paired* comparison (配对比较) does better. Both methods saw the same test pictures, so what is easy for both cancels, and only the pictures on which they disagree count. Read the table *policy − probe* by its
# intervals: one that holds zero says that this test set cannot tell the policy from the probe. And do not read *scratch* as what the network could learn from these pictures: it had a few steps, and inputs scaled for weights that it does not have.
#
# ## What caching costs
#
# Cached maps are maps of pictures as they are: before the cut, no augmentation. To see its price we train the last stage once more, same rate, same steps, but on augmented pictures that go through the frozen part at every step. *Predict which of the two is more accurate, and how many times the seconds the second one takes.*

# %%
fresh, seconds = [], []
for draw in range(seed, seed + draws):
    torch.manual_seed(draw)
    network = Classifier(load_backbone(name), classes)
    lower, module = parts(network, "last stage")
    begun = time.perf_counter()
    train(
        module,
        lambda chosen, lower=lower: through(lower, augmented(chosen), device=where),
        chosen_rate["last stage"],
        STEPS["last stage"],
        draw,
    )
    seconds.append(time.perf_counter() - begun)
    fresh.append((logits("last stage", module, test).argmax(1) == labels[test]).double().numpy())
record_table("04g.price", {"augmented − cached": {"accuracy": np.mean(fresh, 0) - scores["last stage"].mean(0)}})
record("04g.price-in-time", np.median(seconds) / np.median(spent["last stage"]), unit="times the seconds", digits=1)

# %% [markdown]
# The seconds are plain to see; the accuracy is whatever its interval says. In so few passes augmentation has little time to help, and may even cost: the pictures are harder, the steps no more, and the rate is the one found without it. In a long training it would have its chance. A tempting middle way is to cache *augmented* maps: then each picture has one random version, the same in every pass, which is no augmentation at all.
#
# ## The mistake: two ways into the network
#
# Back to the opening question. A second script scores the model on validation pictures. Its author knows two things: 'ImageNet networks need normalised pictures', and 'pictures are divided by 255'. Both are true, and both have been taken care of: the network prepares its pictures itself, and `floats` has divided. *Which of the two hurts more when it is done again outside?*

# %%
habit = v2.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
PATHS = {"as in training": lambda x: x, "normalised outside": habit, "divided twice": lambda x: x / 255}
kept_networks = [network for network, _ in trained[winner]]


def share_right(path, network, asked):
    answers = through(network, path(floats(pictures[asked])), device=where).argmax(1)
    return (answers == labels[asked]).double().mean().item()


seen = {how: [share_right(path, network, validation) for network in kept_networks] for how, path in PATHS.items()}
seen_in_training = {how: share_right(path, kept_networks[0], rows) for how, path in PATHS.items()}
both = {how: {"validation": [np.mean(seen[how])], "training, first draw": [seen_in_training[how]]} for how in PATHS}
record_table("04g.second-path", both, corner=f"accuracy, {winner}")
claim(
    "04g.divided-twice",
    "validation pictures divided by 255 twice cost more than ten points of accuracy in every draw, "
    "and training pictures on the same path lose more than ten points too",
    min(np.subtract(seen["as in training"], seen["divided twice"])) > 0.1
    and seen_in_training["as in training"] - seen_in_training["divided twice"] > 0.1,
)

# %% [markdown]
# No error, no warning. Dividing twice leaves almost black squares, on which a network gives nearly always the same answer. Normalising outside is treacherous: it stretches the contrast more than fourfold, and how much that costs depends on the network. Where batch normalisation has stored the scale of its inputs, much; where layers are little more than products, sums and ReLU,
# a stretched input mostly stretches the logits, and few answers move. Then a wrong path hides behind a good score until the pictures change.
#
# A validation score ruined like this passes for over-fitting, and no regularisation mends it. The test: score the *training* pictures through the validation path. Over-fitting leaves them right; this mistake does not. The repair is to have one entrance: `uint8` squares in, everything else inside the network.
#
# ## Look at the mistakes
#
# The network we keep is that of the policy with the lowest validation loss. *Before you look: will its worst mistakes be pictures on which you would hesitate?*

# %%
from workbook.methods.picture_report import confusion_matrix, plot_confusion, plot_mistakes, worst_mistakes

network = kept_networks[0].eval()
probabilities = through(network, pictures[task.test], device=where).softmax(1).numpy()
answered = task.labels[task.test], probabilities.argmax(1)
_ = plot_confusion(confusion_matrix(*answered, classes), task.class_names, title=f"Policy: {winner}")
_ = plot_mistakes(task, worst_mistakes(task.labels[task.test], probabilities, task.test, most=8))
answer, correct = np.concatenate([p.max(1) for p in chances[winner]]), np.concatenate(scores[winner]) == 1
sure = {word: answer[which] for word, which in (("right", correct), ("wrong", ~correct)) if which.any()}
record_table("04g.confidence", {word: {"mean probability of the answer": [p.mean()]} for word, p in sure.items()})
claim(
    "04g.wrong-is-less-sure",
    "right answers are surer than wrong ones by more than two points on the mean",
    len(sure) < 2 or bool(sure["right"].mean() - sure["wrong"].mean() > 0.02),
)

# %% [markdown]
# *First figure: the confusion matrix (混淆矩阵), true classes in rows, dark on the diagonal. Second: up to eight test pictures that were classified wrongly with the highest probability, each under its true class, the answer and its probability.*
#
# Wrong answers are less sure on the mean; the worst may still be as sure as any right one. Look at them one by one: wrong labels, two things in one picture, a kind that training never held.
#
# ## Leave something behind
#
# Weights in `safetensors`, and beside them what a stranger needs: the classes by name, the backbone, the size. Reloaded, it must give the same answers.

# %%
import tempfile

from workbook.methods.picture_report import results_folder, write_report
from workbook.methods.torch.photographs import load_classifier, save_classifier

temporary = tempfile.TemporaryDirectory()
folder = results_folder("04g", task, under=save_to or ("" if photographs else temporary.name))
save_classifier(folder / "model.safetensors", network, task.class_names)
reloaded, about = load_classifier(folder / "model.safetensors")
again = through(reloaded, pictures[task.test[:64]]).softmax(1).numpy()
print({key: about[key] for key in ("backbone", "size", "input")})
claim(
    "04g.reload",
    "the reloaded network gives every class the same probability, to 1e-5, for all test pictures tried",
    bool(np.abs(again - probabilities[:64]).max() < 1e-5) and tuple(about["class_names"]) == task.class_names,
)

facts = {"backbone": name, "policy": f"{winner}, rate {chosen_rate[winner]:g}, {STEPS[winner]} steps of 16 pictures"}
facts |= {f"baseline: {arm}": f"{np.mean(correct):.1%} of {len(test)} test pictures" for arm, correct in right.items()}
write_report(folder, task, probabilities, lesson="04g", facts=facts, model_file="model.safetensors")
print("written:", ", ".join(sorted(path.name for path in folder.iterdir())))
if photographs and not save_to:
    print("in", folder.relative_to(folder.parents[2]))
temporary.cleanup()

# %% [markdown]
# ## What the photographs gave
#
# A run at public on 2026-11-21, on one core of a two-core machine, SqueezeNet on ants and bees; yours, if you ran public, stands above.

# %%
from workbook.reference import read_reference, record_values

reference = read_reference("04g_photographs_pytorch_public")


def shown_at_public(table, columns):
    rows = {}
    for (arm, column), (value, _, _) in record_values(reference, "public", table).items():
        if column in columns:
            rows.setdefault(arm, {})[column] = [value]
    return rows


scored, timed = ("accuracy", "95 % from", "to"), ("a step of 16", "all its steps")
record_table("04g.public", shown_at_public("04g.test", scored), corner="public, 153 test pictures")
record_table("04g.public-step", shown_at_public("04g.step", timed), corner="public, training", unit="ms", digits=1)

# %% [markdown]
# On these photographs nothing that cost more did better than the head alone. But the pre-training had seen such pictures, and 153 test pictures leave room for several points. Training everything for ten steps was a lottery; with a GPU it would get thousands. Among the mistakes, look for ants on flowers answered 'bees': did the network look at the animal or at the background? What carries over is the order of work: probe first, then the last stage on cached maps, and more only if the *validation* pictures say that it was worth the wait.
#
# ## What to take away
#
# - Decode once, augment `uint8` picture by picture, normalise inside the network: one entrance for training, validation, test and the stranger.
# - Cached maps make steps on the upper stages cheap; the price is augmentation below the cut.
# - Compare policies at one budget, choose by validation loss, and say how many test pictures a score rests on.
# - A model is finished when its file names the classes and somebody has looked at its worst mistakes.
#
# > **Mistakes box.** *Scoring through a second path of preprocessing.* *Caching augmented maps and calling it augmentation.* *Mirroring what has a left and a right.* *Ranking policies on a hundred and fifty pictures without an interval.*
#
# **A question left open.** If you may label fifty more pictures, which ones? Those of the worst mistakes are test pictures and must stay out. The lab of chapter 04 continues with policies and rates.
#
# **Sources.** E. B. Wilson, *Probable Inference, the Law of Succession, and Statistical Inference*, JASA 22, 1927 · F. Iandola et al., *SqueezeNet*, arXiv:1602.07360, 2016 · J. Deng et al., *ImageNet: A Large-Scale Hierarchical Image Database*, CVPR 2009 · J. Yosinski et al., *How transferable are features in deep neural networks?*, NeurIPS 2014 · PyTorch, *Transfer Learning for Computer Vision Tutorial* (the ants and bees).
