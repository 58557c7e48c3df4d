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
# # 03b · Listings repaired: the mistakes that published Keras code passes on
#
# **A question.** An article freezes a ResNet-50, puts a small head on it, prints 97.62 % for CIFAR-10 and calls that the accuracy of its transfer. The code runs. How many things can be wrong with a listing that runs?
#
# By the end of this lesson you can
#
# - say which common mistakes stop a program, which warn, and which pass in silence;
# - show by a number or a message what each does, and repair it;
# - write the listing again so that it is right: images in folders, a network of `keras.applications` with *its own* preprocessing, a checkpoint chosen on validation rows, a file that reloads;
# - train two tasks on one trunk, and say what that buys.
#
# *About 35 minutes of reading; under a minute of computing on one core. You need lesson [03](03_fine_tuning_keras.ipynb), where the recipe is done properly from the start.*

# %% tags=["parameters"]
profile = "quick"  # type: str
seed = 0  # type: int
draws = 8  # type: int
joint_draws = 3  # type: int
joint_epochs = 12  # type: int
networks = ["ResNet50", "VGG16"]  # type: list

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np

from workbook.lesson import begin, claim, record_table
from workbook.plotting import COLOURS

defaults = draws >= 8 and joint_draws >= 3 and joint_epochs == 12 and networks == ["ResNet50", "VGG16"]
begin("keras", profile=profile, seed=seed, scope=profile == "quick" and defaults)
if profile != "quick":
    raise NotImplementedError("this lesson runs at profile = 'quick'; its chapter's photographs are in 03c")

# %% [markdown]
# ## 97.62 per cent of what?
#
# That number is the *training* accuracy of the last epoch: the article's log has no validation column. (For comparison, full fine-tuning of ResNet-50 is published at 96.6 % on CIFAR-10's test set by the tllib benchmark, and at 97.4 % for the larger pre-training BiT-M; a frozen
# network reaches far less.) What is a training accuracy worth? We ask a logistic regression on GlyphNet's frozen features, five labelled digits a class; once with the right labels, once with labels drawn by lot. ($C$ is the inverse of its regularisation, here large: we *want* it to memorise.)

# %%
import keras
from sklearn.linear_model import LogisticRegression

from data_scripts.glyphnet_keras import load_backbone, load_glyphnet
from data_scripts.photo_digits import load_photo_digits
from data_scripts.task import sample_k_shot
from workbook.methods.keras.training import accuracy, compile_network, unfreeze

task = load_photo_digits()
images, labels = task.inputs[..., None], task.labels
backbone = load_backbone()


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def features(pictures):
    return unit(backbone.predict(pictures, batch_size=256, verbose=0))


h = features(images)


def probe(train, answers, C=30.0):
    return LogisticRegression(C=C, max_iter=2000).fit(train, answers)


# %%
by_lot = np.random.default_rng(seed).permutation(labels)
scores = {name: {"training rows": [], "test rows": []} for name in ("right labels", "labels by lot")}
for draw in range(draws):
    rows = sample_k_shot(task, 5, seed=draw)
    for name, answers in {"right labels": labels, "labels by lot": by_lot}.items():
        model = probe(h[rows], answers[rows], C=3000.0)
        scores[name]["training rows"].append(model.score(h[rows], answers[rows]))
        scores[name]["test rows"].append(model.score(h[task.test], answers[task.test]))
record_table("03b.training-accuracy", scores, corner="accuracy on")
claim(
    "03b.training-accuracy-says-nothing",
    "in every draw the training accuracy is above 0.95 for right labels and for labels by lot, whose test accuracy "
    "stays below 0.2",
    min(*scores["right labels"]["training rows"], *scores["labels by lot"]["training rows"]) > 0.95
    and max(scores["labels by lot"]["test rows"]) < 0.2,
)

# %% [markdown]
# The two left entries agree; the right ones are a reader of digits and a guess at one in ten. 128 features leave room enough to memorise fifty labels. **Repair:** report test rows, choose on validation rows, never mention the training score as a result.
#
# Two more of that listing's numbers do not fit. A head of *five* outputs cannot name CIFAR-10's ten classes; and its bar shows 1250 steps of 32 pictures, where CIFAR-10 has 50,000 to train on. Multiply before you believe a log:

# %%
print(f"1250 steps × 32 = {1250 * 32:,} pictures")

# %% [markdown]
# That is four fifths of them. A fifth held out for validation would explain it; but then the log should show what it scored.
#
# ## Images in folders
#
# The listings read folders, one a class. We write such folders ourselves: digits over photographs, tinted, as RGB files. (Articles use `ImageDataGenerator` for this; it is legacy: Keras 3's own namespace lacks it, and only `tf.keras` keeps it for old code.) First with naïve names. *What will the second class be called?*

# %%
import tempfile
from pathlib import Path

from PIL import Image

root = Path(tempfile.mkdtemp())
generator = np.random.default_rng(seed)


def write_folders(where, rows, name_of):
    for row in rows:
        folder = root / where / name_of(10 if labels[row] == 0 else int(labels[row]))
        folder.mkdir(parents=True, exist_ok=True)
        tint = generator.uniform(0.6, 1.0, size=3)
        Image.fromarray((255 * task.inputs[row][..., None] * tint).astype(np.uint8)).save(folder / f"{row:04}.png")


def read_folders(where, **settings):
    settings = {"image_size": (32, 32), "batch_size": 20, "verbose": False} | settings
    return keras.utils.image_dataset_from_directory(root / where, **settings)


one_each = sample_k_shot(task, 1, seed=seed)
write_folders("naive", one_each, str)
write_folders("padded", one_each, lambda number: f"{number:02}")
naive, padded = (read_folders(where).class_names for where in ("naive", "padded"))
print("naive :", *naive)
print("padded:", *padded)

# %% [markdown]
# Folders sort as *strings*: 10 comes before 2. (Digit 0 plays the ten here.) Whoever takes output $i$ for class number $i+1$ is right for one class in ten, and with classes of equal size a perfect network scores 10 %. Zero-padded names keep the order. A class without pictures is the other
# trap: labels count the folders that are *there*, so one missing folder moves all labels after it.

# %%
import shutil

shutil.rmtree(root / "naive" / "2")
holes = read_folders("naive").class_names
try:
    read_folders("naive", class_names=naive)
    refused = False
except ValueError as error:
    refused = "class_names" in str(error)
in_place = [np.mean([int(name) == i + 1 for i, name in enumerate(names)]) for names in (naive, padded)]
claim(
    "03b.folders-sort-as-strings",
    "of ten naively numbered folders one stands at its number's place, of zero-padded ones all do",
    in_place == [0.1, 1.0],
)
claim(
    "03b.missing-class-shifts-labels",
    "without folder 2, label two means class 3; a list of class names turns the silent shift into an error",
    naive[2] == "2" and holes[2] == "3" and refused,
)

# %% [markdown]
# **Repair:** padded names, and `class_names=` from the training folder wherever another folder is read.
#
# ## What the network expects at its input
#
# Weights remember the scale of the pixels they were trained on. Each network of `keras.applications` has a module with the `preprocess_input` that belongs to it. Here is one pixel, red 255, green 0, blue 128, as four of them see it, and as `1/255` makes it:

# %%
from workbook.methods.keras.applications import build_classifier, preprocess

pixel = np.array([255.0, 0.0, 128.0]).reshape(1, 1, 1, 3)
seen = {"1/255": pixel / 255}
seen |= {name: preprocess(name, pixel) for name in ("ResNet50", "ResNet50V2", "DenseNet121", "MobileNetV3Small")}
for name, value in seen.items():
    print(f"{name:17}", *(f"{number:9.3f}" for number in np.ravel(value)))

# %%
blue_first = np.ravel(seen["ResNet50"])
claim(
    "03b.resnet-wants-bgr-minus-mean",
    "ResNet50's preprocessing is blue, green, red minus the means 103.939, 116.779, 123.68, and no division",
    bool(np.allclose(blue_first, np.array([128, 0, 255]) - [103.939, 116.779, 123.68], atol=1e-3)),
)
claim(
    "03b.mobilenet-v3-preprocesses-inside",
    "MobileNetV3's preprocess_input returns its input unchanged: the network rescales inside",
    bool(np.array_equal(seen["MobileNetV3Small"], pixel)),
)

# %% [markdown]
# (ResNet50V2 wants −1 to 1; DenseNet each colour with ImageNet's mean removed and divided by its standard deviation.) So a ResNet-50 that is fed `1/255` sees red and blue swapped, and a picture that is almost one colour: numbers between 0 and 1, where it knows numbers from −124 to 151. What does such a mistake cost? Without ImageNet weights here, ask GlyphNet, which wants 0 to 1. A probe with five examples a class, two ways to be wrong: the same wrong input in
# training *and* test, or right in training and wrong only in *deployment*. The probe's $C$ is the same throughout; it is not searched anew for each input.

# %%
INPUTS = {
    "0 to 1 (right)": lambda x: x,
    "0 to 255": lambda x: 255 * x,
    "1/255 twice": lambda x: x / 255,
    "mean and scale of ImageNet": lambda x: (x - 0.449) / 0.226,
    "inverted": lambda x: 1 - x,
}
wrong = {name: features(change(images).astype("float32")) for name, change in INPUTS.items()}
cost = {name: {"wrong throughout": [], "wrong in deployment": []} for name in INPUTS}
for draw in range(draws):
    rows = sample_k_shot(task, 5, seed=draw)
    right = probe(h[rows], labels[rows])
    for name, g in wrong.items():
        cost[name]["wrong throughout"].append(probe(g[rows], labels[rows]).score(g[task.test], labels[task.test]))
        cost[name]["wrong in deployment"].append(right.score(g[task.test], labels[task.test]))
record_table("03b.input-scale", cost, corner="input")

# %%
baseline = np.array(cost["0 to 1 (right)"]["wrong throughout"])
loss_of = {name: baseline - np.array(by_way["wrong throughout"]) for name, by_way in cost.items()}
claim(
    "03b.dark-input-ruins-features",
    "dividing by 255 once too often costs more than thirty points in every draw, even if done throughout",
    bool(loss_of["1/255 twice"].min() > 0.3),
)
claim(
    "03b.deployment-mismatch-is-worse",
    "dividing by 255 once too often in deployment only leaves less than a third of the pictures read, in every draw",
    max(cost["1/255 twice"]["wrong in deployment"]) < 1 / 3,
)

# %% [markdown]
# Read the table by rows. One mistake is nearly free: *inverted*, since GlyphNet has seen light and dark writing. That is luck of this network, not a licence. The others are dear, even when training and test agree; yet nothing is printed, and whoever has no right number to compare with
# sees only a disappointing one. That is how such mistakes survive. **Repair:** put the preprocessing *into* the model. `build_classifier(name, classes, weights, size)` does; its inputs are raw pixels from 0 to 255, and the saved file carries the rest.
#
# ## Head and loss
#
# *The wrong number of outputs* first, since it is quick:

# %%
from keras import layers

logits_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
for outputs in (5, 20):
    head = keras.Sequential([keras.Input((h.shape[1],)), layers.Dense(outputs)])
    head.compile("sgd", logits_loss)
    try:
        head.fit(h[task.train], labels[task.train], verbose=0)
        print(f"{outputs:2} outputs for 10 classes: trains without a word")
    except Exception as error:
        print(f"{outputs:2} outputs for 10 classes: {type(error).__name__}")

# %% [markdown]
# Too few outputs is the harmless case: TensorFlow stops on a CPU (on a GPU, its documentation says, it returns NaN). Too many train in silence: assert the shape. *Softmax with `from_logits=True`* is the interesting mistake. For probabilities $p$ of $K$ classes taken as logits, the loss cannot fall below
#
# $$-\log \frac{e^{1}}{e^{1} + (K-1)\,e^{0}} = \ln\frac{e+K-1}{e},$$
#
# since a 'logit' then lies between 0 and 1: even a perfect $p = (1, 0, \dots, 0)$ is softened by the second softmax. For $K = 10$ that is about 1.46. But what does Keras do? We train three heads on the same features.

# %%
K = len(task.class_names)
floor = np.log((np.e + K - 1) / np.e)


def train_head(*after):
    keras.utils.set_random_seed(seed)
    head = keras.Sequential([keras.Input((h.shape[1],)), layers.Dense(K), *after])
    head.compile(keras.optimizers.Adam(0.1), logits_loss)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        curve = head.fit(h[task.train], labels[task.train], batch_size=128, epochs=20, verbose=0).history["loss"]
    return curve, any("from_logits=True" in str(warning.message) for warning in caught)


heads = {
    "logits": train_head(),
    "softmax": train_head(layers.Softmax()),
    "softmax, then a reshape": train_head(layers.Softmax(), layers.Reshape((K,))),
}
for name, (_, warned) in heads.items():
    print(f"{name:24}", "Keras warns" if warned else "not a word")

# %%
figure, axis = plt.subplots()
for (name, (curve, _)), colour, style in zip(heads.items(), ("blue", "orange", "vermilion"), ("-", "--", "-")):
    axis.plot(range(1, len(curve) + 1), curve, label=name, color=COLOURS[colour], ls=style)
axis.axhline(floor, color=COLOURS["grey"], ls=":", label="floor ln((e + K − 1)/e)")
axis.set(title="Three heads under from_logits=True", xlabel="epoch", ylabel="training loss", ylim=(0, None))
_ = axis.legend()

# %% [markdown]
# *Training loss against epochs. 'Logits' and 'softmax' lie on each other and fall towards zero; 'softmax, then a reshape' sinks to a dotted line near 1.46 and stays above it.*

# %%
end = {name: curve[-1] for name, (curve, _) in heads.items()}
claim(
    "03b.keras-recovers-the-logits",
    "a softmax as last layer trains to the loss of the logits head, within 1e-3, and Keras warns",
    abs(end["softmax"] - end["logits"]) < 1e-3 and heads["softmax"][1] and not heads["logits"][1],
)
claim(
    "03b.double-softmax-has-a-floor",
    "with a reshape after the softmax the loss stays above ln((e + K − 1)/e), and nothing warns",
    min(heads["softmax, then a reshape"][0]) > floor and not heads["softmax, then a reshape"][1],
)

# %% [markdown]
# On TensorFlow Keras looks back from the loss: if the tensor comes *directly* out of a softmax, it warns, takes the logits from before it, and all is well by luck. If anything stands between (a reshape; a cast, as under a mixed-precision policy), there is no warning and the floor is
# there. So the rescue depends on a detail that nobody has in mind. The same holds for a direct call, no compiling involved:

# %%
certain = 50 * np.eye(K, dtype="float32")
with warnings.catch_warnings(record=True):
    warnings.simplefilter("always")
    as_tensor = float(logits_loss(np.arange(K), keras.ops.softmax(certain)))
as_numbers = float(logits_loss(np.arange(K), keras.ops.convert_to_numpy(keras.ops.softmax(certain))))
claim(
    "03b.rescue-or-floor",
    "perfect probabilities cost nothing when they come as the softmax's own tensor, and the floor when as plain numbers",
    keras.backend.backend() != "tensorflow" or (as_tensor < 1e-6 and abs(as_numbers - floor) < 1e-5),
)

# %% [markdown]
# (On the PyTorch backend there is no rescue at all.) **Repair:** no activation in the head, `from_logits=True`, softmax after `predict` where probabilities are wanted. The metric has the same trap in small: `BinaryAccuracy` cuts at 0.5, which is right for probabilities; for logits the cut is 0.

# %%
truth, z = [0, 1, 1, 1], [-1.0, 0.2, 0.4, 3.0]
cuts = {}
for cut in (0.5, 0.0):
    metric = keras.metrics.BinaryAccuracy(threshold=cut)
    metric.update_state(truth, z)
    cuts[cut] = float(metric.result())
claim(
    "03b.binary-accuracy-cuts-at-a-half",
    "four logits, all on the right side of 0: BinaryAccuracy's default finds two right, threshold=0 all four",
    cuts == {0.5: 0.5, 0.0: 1.0},
)

# %% [markdown]
# ## Predictions are not features
#
# Another listing asks VGG16 for layer `block5_2`, calls `.predict` on a layer, and assigns to a layer's input. Those three stop at once, which makes them the kind ones:

# %%
vgg = keras.applications.VGG16(weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3))
attempts = {
    "get_layer('block5_2')": lambda: vgg.get_layer("block5_2"),
    "layer.predict": lambda: vgg.get_layer("block5_pool").predict,
    "layer.input = x": lambda: setattr(vgg.layers[-1], "input", pixel),
}
for what, attempt in attempts.items():
    try:
        attempt()
    except (ValueError, AttributeError) as error:
        print(f"{what:22} {type(error).__name__}")
cut = keras.Model(vgg.input, vgg.get_layer("block5_conv2").output)
print("a model up to block5_conv2 gives", cut.output_shape)

# %% [markdown]
# **Repair:** a new `keras.Model` from the input to the layer's output, by a name that `model.summary()` lists. Its map of places × channels then needs *pooling*, or one picture becomes several rows.
#
# Instead the article falls back on the network's 1000-class *predictions* and calls them features. They are numbers, and a classifier can be fitted to them. *Guess what it costs.* GlyphNet's predictions are probabilities of letters; below them lie its logits, and below those the 128 features. For each, the regulariser $C$ is
# chosen among the same five on validation rows of two draws. Features and logits are scaled to length one; probabilities stay as they are, with sum one.

# %%
source = load_glyphnet()
z = source.predict(images, batch_size=256, verbose=0)
kinds = {"pooled features": h, "logits of letters": unit(z)}
kinds["probabilities of letters"] = keras.ops.convert_to_numpy(keras.ops.softmax(z))
CS = (1.0, 10.0, 100.0, 1e3, 1e4)


def read_with(g, k, C, draw, rows):
    train = sample_k_shot(task, k, seed=draw)
    return probe(g[train], labels[train], C).score(g[rows], labels[rows])


compared = {kind: {} for kind in kinds}
for kind, g in kinds.items():
    for k in (1, 5):
        found = [np.mean([read_with(g, k, C, draw, task.validation) for draw in (1000, 1001)]) for C in CS]
        best_C = CS[int(np.argmax(found))]
        compared[kind][f"k={k}"] = [read_with(g, k, best_C, draw, task.test) for draw in range(draws)]
record_table("03b.predictions-as-features", compared, corner="test accuracy")

# %%
for k in ("k=1", "k=5"):
    gap = np.subtract(compared["pooled features"][k], compared["probabilities of letters"][k])
    claim(
        f"03b.features-beat-predictions-{k.replace('=', '')}",
        f"at {k} pooled features read more than five points more than the source's class probabilities, in every draw",
        bool(gap.min() > 0.05),
    )

# %% [markdown]
# Softmax keeps what decides between *letters* and flattens the rest; what tells two digits apart may be in the rest. The logits, one matrix away from the features, show how little is lost before the softmax. Lesson 05 asks which layer is best.
#
# ## Settings that do nothing
#
# One listing passes `batch_size=` to `fit` together with a generator; another gives more steps than there are data. We count what is really done, by the optimiser's own counter:

# %%
import tensorflow as tf

x, y = h[task.train[:64]], labels[task.train[:64]]


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return x[16 * i : 16 * i + 16], y[16 * i : 16 * i + 16]


def steps_of(data, **settings):
    head = compile_network(keras.Sequential([keras.Input((h.shape[1],)), layers.Dense(K)]), 1e-3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        head.fit(data, verbose=0, shuffle=False, **settings)
    return int(head.optimizer.iterations), sum("ran out of data" in str(w.message) for w in caught), len(caught)


# %%
batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
ignored = [steps_of(batches, batch_size=2), steps_of(Batches(), batch_size=2)]
short = steps_of(batches, steps_per_epoch=3, epochs=2)
claim(
    "03b.batch-size-is-ignored",
    "with a tf.data set or a PyDataset of four batches, batch_size=2 changes nothing: four steps and no message",
    ignored == [(4, 0, 0), (4, 0, 0)],
)
claim(
    "03b.steps-run-out",
    "two epochs of three steps on four batches make four steps, not six; Keras warns that the data ran out",
    short[0] == 4 and short[1] >= 1,
)

# %% [markdown]
# **Repair:** the batch size belongs to the data set. Leave `steps_per_epoch` out unless the data repeat for ever; with it, an epoch is no longer a pass over the data.
#
# ## The listing, right
#
# Now all of it in one piece: padded folders, one set of class names, the network with its own preprocessing, a frozen backbone, a head of the right size, `ModelCheckpoint` on validation, reload, predict. `weights=None`: **these two networks are untrained, at 32 pixels, and no accuracy is claimed**; this is the
# plumbing, and it is the same with `weights="imagenet"` or the path of a local file. The third is GlyphNet, which brings weights; for it the same folders are read in grey.

# %%
parts = {"train": sample_k_shot(task, 10, seed=seed), "validation": task.validation[:100], "test": task.test[:300]}
for part, rows in parts.items():
    write_folders(part, rows, lambda number: f"{number:02}")


def glyphnet_reader():
    pictures, reader = keras.Input((32, 32, 1)), load_backbone()
    reader.trainable = False
    return keras.Model(pictures, layers.Dense(K, name="head")(reader(pictures / 255)))


def run_listing(network, rate, epochs, **settings):
    sets = {
        part: read_folders(part, shuffle=part == "train", seed=seed, class_names=padded, **settings) for part in parts
    }
    assert network.output_shape == (None, len(sets["train"].class_names))
    compile_network(network, rate)
    best = keras.callbacks.ModelCheckpoint(root / "best.keras", monitor="val_accuracy", save_best_only=True)
    fitted = network.fit(
        sets["train"], validation_data=sets["validation"], epochs=epochs, callbacks=[best], shuffle=False, verbose=0
    )
    reloaded = keras.saving.load_model(root / "best.keras")
    kept = reloaded.evaluate(sets["validation"], verbose=0)[1]
    return reloaded, sets, abs(kept - max(fitted.history["val_accuracy"])) < 1e-6


# %%
for name in networks:
    network, sets, kept = run_listing(build_classifier(name, K, size=32), 1e-3, 1, batch_size=50)
    print(f"{name:9} logits {network.predict(sets['test'], verbose=0).shape}, checkpoint is the best epoch: {kept}")
reader, sets, kept = run_listing(glyphnet_reader(), 3e-2, 12, color_mode="grayscale")
read = reader.evaluate(sets["test"], verbose=0)[1]
record_table("03b.listing", {"GlyphNet, frozen, ten examples a class": {"test accuracy": [read]}})
claim(
    "03b.listing-reads-folders",
    "the repaired listing with GlyphNet reads more than three quarters of the test folder, and reloads its best epoch",
    bool(read > 0.75 and kept),
)

# %% [markdown]
# ## Two tasks, one trunk
#
# A third article counts *multi-task learning* (多任务学习) among the ways to transfer: a shared trunk, a head for each task, one joint loss $\ell_T + \lambda \ell_S$ over target and source, here with $\lambda = 1$. (It also says that large pre-trained models must over-fit a small target; chapter 01 measured the reverse.) In Keras: two inputs, the same layers called twice, a
# dictionary of losses. The opponent is plain fine-tuning with the same steps on the digits. *Which of them will still read letters afterwards?*

# %%
from data_scripts.glyphs import load_glyphs
from workbook.methods.keras.training import restart

glyphs = load_glyphs()
letters, names = glyphs.inputs[..., None], glyphs.labels
chosen = np.random.default_rng(seed).choice(glyphs.test, 1000, replace=False)


def two_heads(joint):
    trunk, old = load_backbone(), load_glyphnet().get_layer("head")
    unfreeze(trunk)
    inputs = {part: keras.Input((32, 32, 1), name=part) for part in ("digits", "letters")}
    outputs = {"digits": layers.Dense(K, name="digit_head")(trunk(inputs["digits"]))}
    outputs["letters"] = old(trunk(inputs["letters"]))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.AdamW(1e-3), dict.fromkeys(outputs, logits_loss), {"digits": 1.0, "letters": joint})
    return model


def train_joint(model, draw):
    few = np.resize(sample_k_shot(task, 5, seed=draw), 50 * joint_epochs)
    many = np.random.default_rng(draw).choice(glyphs.train, len(few))
    order = np.random.default_rng(draw).permutation(len(few))
    data = {"digits": images[few[order]], "letters": letters[many]}
    model.fit(data, {"digits": labels[few[order]], "letters": names[many]}, batch_size=25, shuffle=False, verbose=0)


# %%
after = {"plain fine-tuning": 0.0, "joint loss": 1.0}
table = {name: {"digits": [], "letters": []} for name in after}
scored = {"digits": np.resize(task.test, 1000), "letters": chosen}
for name, joint in after.items():
    model = two_heads(joint)
    start = model.get_weights()
    for draw in range(joint_draws):
        restart(model, start)
        train_joint(model, draw)
        said = model.predict(
            {"digits": images[scored["digits"]], "letters": letters[chosen]}, batch_size=250, verbose=0
        )
        table[name]["digits"].append(np.mean((said["digits"].argmax(1) == labels[scored["digits"]])[: len(task.test)]))
        table[name]["letters"].append(np.mean(said["letters"].argmax(1) == names[chosen]))
reads = accuracy(source, letters[chosen], names[chosen])
record_table("03b.joint", table | {"GlyphNet before": {"letters": [reads]}}, corner="test accuracy, k=5")

# %%
kept = np.subtract(table["joint loss"]["letters"], table["plain fine-tuning"]["letters"])
claim(
    "03b.joint-loss-remembers",
    "after the same steps on the digits the joint loss reads more than ten points more letters than plain "
    "fine-tuning, in every draw",
    bool(kept.min() > 0.1),
)

# %% [markdown]
# Plain fine-tuning pays for the digits with the letters (灾难性遗忘, catastrophic forgetting; its letter head was left as it was, only the trunk moved under it). The joint loss keeps them, at the price of source data and of a second forward pass. (In that arm the letter head trains along.) The left column is no verdict on fine-tuning: both arms send a random head's gradients into the trunk at one unsearched rate for about two dozen steps, and both read digits far worse than the frozen features with the same five examples above. Lesson 03 trains the head
# first, searches its rates, and reads far more. Transfer asks for the target only; if you need *both* tasks, train on both. Lesson 04e weighs the cheaper remedies.
#
# ## What to take away
#
# | mistake | what you see | repair |
# |---|---|---|
# | training accuracy as result | a splendid number | test rows, once |
# | five outputs for ten classes; twenty | error on CPU, NaN on GPU; nothing | assert the output shape |
# | folders 1, 10, 2; a missing class | nothing | pad names, pass `class_names` |
# | `1/255` for a network that wants BGR minus mean | nothing; the score suffers | its own `preprocess_input`, inside the model |
# | softmax and `from_logits=True` | a warning, or nothing and a floor | logits |
# | `BinaryAccuracy` on logits | nothing | `threshold=0` |
# | predictions as features | nothing | pooled features |
# | no such layer, `layer.predict` | error | `keras.Model(input, layer.output)` |
# | `batch_size=` with a data set | nothing | batch in the data set |
# | too many steps | a warning | leave `steps_per_epoch` out |
#
# > **Mistakes box.** *Most rows of that table say 'nothing'. A program that runs has passed the weakest of tests.* Before you believe a listing: multiply its steps, print one preprocessed pixel, check the first loss against $\ln K$ (and the last against the floor), look for the validation column.
#
# **A question left open.** With an inverted picture GlyphNet hardly suffered, with a dark one badly. Could one *measure* how far an input is from what a network knows, before deploying it? (Chapter 07.) The lab of chapter 03 hides five of these mistakes in one script.
#
# **Sources.** Keras documentation, *Keras Applications* and `image_dataset_from_directory` · K. He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016 · K. Simonyan and A. Zisserman, *Very Deep Convolutional Networks for Large-Scale Image Recognition*, ICLR 2015 · A. Kolesnikov et al., *Big Transfer (BiT)*, ECCV 2020 ·
# R. Caruana, *Multitask Learning*, Machine Learning 1997 · C. Zhang et al., *Understanding Deep Learning Requires Rethinking Generalization*, ICLR 2017 (labels by lot).
