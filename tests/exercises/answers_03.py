"""Right and wrong answers of lab 03; the wrong ones with a part of what the learner is told.

Keras is imported when an answer is asked, so that tests of other labs need not wait for it.
"""

import importlib.util
import tempfile
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit, softmax

if importlib.util.find_spec("triton"):
    import triton  # noqa: F401  It aborts the process if it comes after TensorFlow, and other labs' answers bring it.


def share_left(rows, batch, epochs, momentum, trainable):
    return momentum ** (epochs * np.ceil(rows / batch)) if trainable else 1.0


def share_left_step_by_step(rows, batch, epochs, momentum, trainable):
    old = 1.0
    for _ in range(epochs):
        for _ in range(0, rows, batch):
            old *= momentum if trainable else 1
    return old


def fold(W, b, mean, std):
    return (W / (255 * std[:, None]))[:, :, ::-1], b - (W * (mean / std)[:, None]).sum(axis=(0, 1, 2))


def fold_by_asking(W, b, mean, std):
    """Feeds the old layer with unit pictures: what it says of them is what the new one must."""

    def old(x):
        return (W * ((x[..., ::-1] / 255 - mean) / std)[..., None]).sum(axis=(0, 1, 2)) + b

    black = np.zeros(W.shape[:3])
    new = np.zeros_like(W)
    for place in np.ndindex(*W.shape[:3]):
        one = black.copy()
        one[place] = 1
        new[place] = old(one) - old(black)
    return [new, old(black)]


def fold_in_place(W, b, mean, std):
    W /= 255 * std[:, None]
    return W[:, :, ::-1], b - (W * 255 * mean[:, None]).sum(axis=(0, 1, 2))


def pipeline(*steps):
    """Return an answer to 03.4 that takes these steps in this order."""

    def training_batches(rows, load, augment, batch):
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices(rows)
        todo = {
            "load": lambda data: data.map(load),
            "cache": lambda data: data.cache(),
            "shuffle": lambda data: data.shuffle(len(rows)),
            "shuffle once": lambda data: data.shuffle(len(rows), reshuffle_each_iteration=False),
            "shuffle two": lambda data: data.shuffle(2),
            "shuffle a batch": lambda data: data.shuffle(batch),
            "batch": lambda data: data.batch(batch),
            "full batches": lambda data: data.batch(batch, drop_remainder=True),
            "augment": lambda data: data.map(lambda x, y: (augment(x), y)),
            "repeat": lambda data: data.repeat(),
            "prefetch": lambda data: data.prefetch(1),
        }
        for step in steps:
            data = todo[step](data)
        return data

    return training_batches


def recall(model, data):
    classes = model.output_shape[-1]
    hits, counts = np.zeros(classes), np.zeros(classes)
    for x, y in data:
        said = np.asarray(model(x)).argmax(axis=1)
        np.add.at(counts, y.numpy(), 1)
        np.add.at(hits, y.numpy(), said == y.numpy())
    return hits / counts


def one_pass(data):
    return tuple(np.concatenate(many) for many in zip(*[(x.numpy(), y.numpy()) for x, y in data], strict=True))


def recall_of_arrays(model, data):
    x, y = one_pass(data)
    said = model.predict(x, verbose=0).argmax(axis=1)
    return [float(np.mean(said[y == label] == label)) for label in range(model.output_shape[-1])]


def recall_in_two_passes(model, data):
    said = model.predict(data, verbose=0).argmax(axis=1)
    y = np.concatenate([y for _, y in data])
    return [np.mean(said[y == label] == label) for label in range(model.output_shape[-1])]


def precision(model, data):
    x, y = one_pass(data)
    said = np.asarray(model(x)).argmax(axis=1)
    return [np.mean(y[said == label] == label) for label in range(model.output_shape[-1])]


def mean_of_batches(model, data):
    shares = []
    with np.errstate(invalid="ignore"):
        for x, y in data:
            right = np.asarray(model(x)).argmax(axis=1) == y.numpy()
            classes = np.arange(model.output_shape[-1])[:, None]
            shares.append(((classes == y.numpy()) & right).sum(axis=1) / (classes == y.numpy()).sum(axis=1))
    return shares


def one_against_the_rest(model, data):
    x, y = one_pass(data)
    said = np.asarray(model(x)).argmax(axis=1)
    return [np.mean((said == label) == (y == label)) for label in range(model.output_shape[-1])]


def recall_without_the_last_batch(model, data):
    return recall_of_arrays(model, data.take(int(data.cardinality()) - 1))


def overall(model, data):
    x, y = one_pass(data)
    return np.mean(np.asarray(model(x)).argmax(axis=1) == y)


def thaw(network, rate, *, flags="right", logits=True, compile_when="last", at=None, optimiser=None):
    import keras

    def compiled():
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
        network.compile(optimiser or keras.optimizers.AdamW(at or rate), loss, metrics=["accuracy"])

    if compile_when == "first":
        compiled()
    backbone = network.get_layer("backbone")
    if flags not in ("from inside", "all at last"):
        backbone.trainable = True
    for layer in backbone.layers:
        keep = isinstance(layer, keras.layers.BatchNormalization) and flags != "norms"
        other = not layer.name.startswith("block2") and flags != "everything"
        layer.trainable = not (keep or other)
    if flags in ("all at last", "none at last"):
        backbone.trainable = flags == "all at last"
    if compile_when == "last":
        compiled()
    return network


def thaw_by_the_course(network, rate):
    from workbook.methods.keras.training import compile_network, unfreeze

    unfreeze(network.get_layer("backbone"), ("block2",))
    return compile_network(network, rate)


def thaw_with_a_new_head(network, rate):
    network.get_layer("head").set_weights([np.zeros(w.shape) for w in network.get_layer("head").get_weights()])
    return thaw(network, rate)


def thaw_with_the_old_optimiser(network, rate):
    network.optimizer.learning_rate = rate
    return thaw(network, rate, optimiser=network.optimizer)


def thaw_backbone_only(network, rate):
    network.get_layer("head").trainable = False
    return thaw(network, rate)


def script(*mistakes, keep="val_accuracy", file=False, compiled="each stage", report="test", stages=(False, True)):
    """Return the lab's script with these mistakes and no others.

    With `file` it keeps the lab's form; else it is quicker, augmenting inside the network and keeping the best epoch in
    memory.
    """

    def fine_tune(backbone, images, labels, rows, epochs=8):
        import keras
        import tensorflow as tf
        from keras import layers

        x, classes = images.astype("float32"), int(labels.max()) + 1
        x = x / 255 if "outside" in mistakes or "wrapped" in mistakes else x
        parts = {part: (x[which], labels[which]) for part, which in rows.items()}
        shift = layers.RandomTranslation(2 / 32, 2 / 32, fill_mode="nearest")
        scaled = pictures = keras.Input(x.shape[1:])
        if "cache" in mistakes:
            data = tf.data.Dataset.from_tensor_slices(parts["train"]).map(lambda x, y: (shift(x, training=True), y))
            given = {"x": data.cache().shuffle(99).batch(10)}
        elif file:
            data = tf.data.Dataset.from_tensor_slices(parts["train"]).cache().shuffle(99).batch(10)
            given = {"x": data.map(lambda x, y: (shift(x, training=True), y))}
        else:
            given, scaled = dict(zip("xy", parts["train"], strict=True)), layers.GaussianNoise(0.1)(pictures)
        scaled = scaled if {"scale", "outside", "wrapped"} & set(mistakes) else scaled / 255
        scaled = scaled / 255 if "twice" in mistakes else scaled
        z = layers.Dense(classes)(backbone(scaled, training=False))
        if "loss" in mistakes or "probabilities" in mistakes:
            z = keras.ops.clip(keras.ops.softmax(z), 1e-7, 1)
        z = keras.ops.clip(z, 1e-7, 1) if "clip" in mistakes else z
        reader = keras.Model(pictures, z)
        loss = keras.losses.SparseCategoricalCrossentropy("probabilities" not in mistakes and "plain" not in mistakes)
        with tempfile.TemporaryDirectory() as folder:
            if file:
                best = keras.callbacks.ModelCheckpoint(Path(folder) / "a.keras", keep, save_best_only=True, mode="max")
            else:
                best = keras.callbacks.EarlyStopping(keep, patience=99, restore_best_weights=True, mode="max")
            for number, stage in enumerate(stages):
                backbone.trainable = stage
                for layer in backbone.layers:
                    if isinstance(layer, layers.BatchNormalization) and "norms" not in mistakes:
                        layer.trainable = False
                if compiled == "each stage" or not number:
                    reader.compile(keras.optimizers.AdamW(1e-3), loss, metrics=["accuracy"])
                held = parts[next((part for part in ("test", "train") if part in mistakes), "validation")]
                held = (255 * held[0], held[1]) if "bytes held" in mistakes else held
                given |= {"validation_data": held, "callbacks": [best] if keep else [], "verbose": 0}
                reader.fit(**given, epochs=epochs, shuffle=False)
            reader = keras.saving.load_model(best.filepath) if file else reader
        asked, right = parts[report]
        if "wrapped" in mistakes:
            reader = keras.Sequential([keras.Input(x.shape[1:]), layers.Rescaling(1 / 255), reader])
            asked = 255 * asked
        return reader, float(np.mean(np.asarray(reader(asked, training=False)).argmax(axis=1) == right))

    return fine_tune


ALL = ("cache", "scale", "loss", "norms", "test")


def script_of_another_form(backbone, images, labels, rows, epochs=8):
    """Bytes in, shifts inside the network, early stopping in place of a file."""
    import keras
    from keras import layers

    from workbook.methods.keras.training import unfreeze

    network = keras.Sequential(
        [
            keras.Input(images.shape[1:]),
            layers.RandomTranslation(0.1, 0.1, fill_mode="nearest"),
            layers.Rescaling(1 / 255),
            backbone,
            layers.Dense(len(np.unique(labels))),
        ]
    )
    held = images[rows["validation"]].astype("float32"), labels[rows["validation"]]
    for prefixes, rate in (((), 1e-2), (("block2",), 1e-3), (("",), 1e-4)):
        unfreeze(backbone, prefixes)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        network.compile(keras.optimizers.Adam(rate), loss)
        stop = keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True)
        x, y = images[rows["train"]].astype("float32"), labels[rows["train"]]
        network.fit(x, y, batch_size=5, epochs=epochs, validation_data=held, callbacks=[stop], verbose=0)
    said = network.predict(images[rows["test"]].astype("float32"), verbose=0).argmax(axis=1)
    return network, np.mean(said == labels[rows["test"]])


def without_training(backbone, images, labels, rows, epochs=8):
    import keras

    pictures = keras.Input(images.shape[1:])
    return keras.Model(pictures, keras.layers.Dense(3)(backbone(pictures / 255))), 1.0


def ways(pictures):
    """Return the pictures in all eight ways, (8, n, 32, 32, 1)."""
    turned = [np.rot90(pictures, turns, axes=(1, 2)) for turns in range(4)]
    return np.stack(turned + [some.transpose(0, 2, 1, 3) for some in turned])


def from_0_to_1(pictures):
    return (pictures - pictures.min()) / np.ptp(pictures)


def probabilities(reader, pictures):
    """Return softmax of what the reader says of pictures, whatever axes stand in front of theirs."""
    many = pictures.reshape(-1, *pictures.shape[-3:])
    return softmax(np.asarray(reader(many)), axis=1).reshape(*pictures.shape[:-3], -1)


KNOWN = {}


def all_eight(reader, pictures):
    """Return the probabilities in all eight ways, (8, n, 10). For each answer the same clients come again: ask once."""
    key = pictures.tobytes()
    if key not in KNOWN:
        KNOWN[key] = probabilities(reader, ways(from_0_to_1(pictures)))
    return KNOWN[key]


def surest(reader, pictures, number=8):
    p = all_eight(reader, pictures)[:number]
    return p[p[:, ::4].max(axis=2).mean(axis=1).argmax()].argmax(axis=1)


def least_entropy_of_a_few(reader, pictures):
    low, high = np.quantile(pictures, [0.001, 0.999])
    laid = ways(((pictures - low) / (high - low)).clip(0, 1))
    p = probabilities(reader, laid[:, :10])
    best = (p * np.log(p + 1e-9)).sum(axis=(1, 2)).argmax()
    return list(probabilities(reader, laid[best]).argmax(axis=1))


def surest_of_each(reader, pictures):
    p = all_eight(reader, pictures)
    return p[p.max(axis=2).argmax(axis=0), np.arange(len(pictures))].argmax(axis=1)


RIGHT = {
    "03.1": [logit, lambda c: -np.log(1 / c - 1), lambda c: brentq(lambda z: expit(z) - c, -50, 50)],
    "03.2": [share_left, share_left_step_by_step],
    "03.3": [fold, fold_by_asking],
    "03.4": [
        pipeline("load", "cache", "shuffle", "batch", "augment"),
        pipeline("load", "cache", "shuffle", "augment", "batch", "prefetch"),
    ],
    "03.5": [recall, recall_of_arrays],
    "03.6": [
        thaw,
        thaw_by_the_course,
        lambda network, rate: thaw(network, rate, flags="from inside"),
        lambda network, rate: thaw(network, rate, compile_when="first"),
    ],
    "03.7": [script(file=True), script_of_another_form, script("probabilities"), script("wrapped")],
    "03.8": [surest, least_entropy_of_a_few],
}

WRONG = {
    "03.1": [
        (lambda c: c, "the cut for probabilities"),
        (lambda c: 0.0, "one half"),
        (lambda c: -logit(c), "the sign is turned round"),
        (expit, "makes a probability of a logit"),
        (np.log, "never above 0"),
        (lambda c: np.log2(c / (1 - c)), "powers of two"),
        (lambda c: np.log10(c / (1 - c)), "powers of ten"),
        (lambda c: c - 0.5, "is not"),
    ],
    "03.2": [
        (lambda n, b, e, m, t: m ** (e * (n // b)) if t else 1, "is a step too"),
        (lambda n, b, e, m, t: m ** (e * n / b) if t else 1, "a whole number of steps"),
        (lambda n, b, e, m, t: m ** np.ceil(e * n / b) if t else 1, "do not run on"),
        (lambda n, b, e, m, t: 100 * share_left(n, b, e, m, t), "between 0 and 1"),
        (lambda n, b, e, m, t: m**e if t else 1, "not once an epoch"),
        (lambda n, b, e, m, t: (1 - m) ** (e * -(-n // b)) if t else 1, "PyTorch counts the other"),
        (lambda n, b, e, m, t: 1 - share_left(n, b, e, m, True), "the share of the new"),
        (lambda n, b, e, m, t: share_left(n, b, e, m, True), "keeps its averages"),
        (lambda n, b, e, m, t: 1.0, "nothing would be lost"),
        (lambda n, b, e, m, t: 0.9**35, "not for"),
    ],
    "03.3": [
        (lambda W, b, m, s: (W / (255 * s[:, None]), fold(W, b, m, s)[1]), "red and blue"),
        (lambda W, b, m, s: (fold(W, b, m, s)[0], b), "subtracted nowhere"),
        (lambda W, b, m, s: (W[:, :, ::-1] / (255 * s[:, None]), fold(W, b, m, s)[1]), "not turned with them"),
        (lambda W, b, m, s: (255 * fold(W, b, m, s)[0], fold(W, b, m, s)[1]), "numbers from 0 to 1"),
        (lambda W, b, m, s: (fold(W, b, m, s)[0], fold(W, b, m * s, s)[1]), "not divided by the deviation"),
        (lambda W, b, m, s: (fold(W, b, m, s)[0], fold(W, b, -m, s)[1]), "added where"),
        (lambda W, b, m, s: (fold(W, b, m, s)[0], fold(W, b, m[::-1], s[::-1])[1]), "mixes the two orders"),
        (lambda W, b, m, s: (fold(W, b, m, s)[0], 2 * b), "the bias is not"),
        (lambda W, b, m, s: (W, b), "the kernel is the old one"),
        (lambda W, b, m, s: (0 * W, 0 * b), "are off by"),
        (lambda W, b, m, s: fold(W, b, m, s)[0], "expected two things back"),
        (fold_in_place, "changes the weights that it was given"),
    ],
    "03.4": [
        (pipeline("load", "augment", "cache", "shuffle", "batch"), "with the shift that it had"),
        (pipeline("load", "shuffle", "batch", "augment", "cache"), "with the shift that it had"),
        (pipeline("load", "shuffle", "batch", "augment"), "loaded again"),
        (pipeline("load", "cache", "batch", "augment"), "the rows' own"),
        (pipeline("load", "shuffle", "cache", "batch", "augment"), "drawn once"),
        (pipeline("load", "cache", "shuffle once", "batch", "augment"), "drawn once"),
        (pipeline("load", "cache", "batch", "shuffle", "augment"), "always together"),
        (pipeline("load", "cache", "shuffle two", "batch", "augment"), "close to their places"),
        (pipeline("shuffle once", "load", "cache", "shuffle a batch", "batch", "augment"), "close to their places"),
        (pipeline("batch", "load", "cache", "augment"), "reads one"),
        (lambda rows, load, augment, batch: load(rows), "reads one"),
        (pipeline("load", "cache", "shuffle", "full batches", "augment"), "it is dropped"),
        (pipeline("load", "cache", "shuffle", "batch"), "no picture is augmented"),
        (pipeline("load", "cache", "shuffle", "repeat", "batch", "augment"), "does not end"),
        (pipeline("load", "cache", "shuffle", "augment"), "a single picture"),
        (lambda rows, load, augment, batch: rows, "expected a tf.data.Dataset"),
    ],
    "03.5": [
        (recall_in_two_passes, "not of the same rows"),
        (precision, "this *answer*"),
        (overall, "one number a class"),
        (lambda model, data: np.full(model.output_shape[-1], overall(model, data)), "over all rows, once for each"),
        (one_against_the_rest, "rows of other classes count too"),
        (lambda model, data: np.mean([*mean_of_batches(model, data), recall(model, data) / 0 * 0], axis=0), "0/0"),
        (lambda model, data: np.nanmean(mean_of_batches(model, data), axis=0), "each alike"),
        (lambda model, data: 100 * recall(model, data), "per cent"),
        (lambda model, data: 1 - recall(model, data), "read wrongly"),
        (recall_without_the_last_batch, "is every row counted"),
    ],
    "03.6": [
        (lambda network, rate: thaw(network, rate, flags="norms"), "move at every step"),
        (lambda network, rate: thaw(network, rate, flags="everything"), "block 1 would train"),
        (lambda network, rate: thaw(network, rate, flags="all at last"), "block 1 would train"),
        (lambda network, rate: thaw(network, rate, flags="none at last"), "of the backbone nothing trains"),
        (lambda network, rate: thaw(network, rate, compile_when="never"), "the old list goes on"),
        (thaw_with_the_old_optimiser, "refuses others"),
        (lambda network, rate: thaw(network, rate, at=1e-2), "the learning rate"),
        (lambda network, rate: thaw(network, rate, logits=False), "cross-entropy of logits"),
        (lambda network, rate: network, "of the backbone nothing trains"),
        (lambda network, rate: thaw(network, rate).name, "expected the network back"),
        (thaw_with_a_new_head, "no longer those that were trained"),
        (thaw_backbone_only, "the head no longer trains"),
    ],
    "03.7": [
        (script(*ALL), "all five mistakes"),
        (script("cache"), "exactly the pictures of the first"),
        (script("scale"), "as it knows them"),
        (script("loss"), "near zero"),
        (script("norms"), "moving averages"),
        (script("test"), "should only report"),
        (script("twice", "plain"), "3 of the five mistakes are repaired"),
        (script("outside"), "but the reader that comes back"),
        (script("clip"), "cut off on their way out"),
        (script("train"), "trained on choose"),
        (script("wrapped", "bytes held"), "on the scale of those"),
        (script(keep="accuracy"), "best on validation rows"),
        (script(keep=None), "it is the last one"),
        (script(compiled="once"), "not compiled again"),
        (script(stages=(False,)), "the backbone never trains"),
        (script(stages=(True,)), "not trained alone first"),
        (script(report="validation"), "on the test rows"),
        (without_training, "never called"),
    ],
    "03.8": [
        (lambda reader, x: np.asarray(reader(x)).argmax(axis=1), "far below"),
        (lambda reader, x: np.asarray(reader(from_0_to_1(x))).argmax(axis=1), "below 96 per cent"),
        (lambda reader, x: surest(reader, x, number=4), "below 96 per cent"),
        (surest_of_each, "below 96 per cent"),
        (lambda reader, x: np.zeros(len(x)), "far below"),
        (lambda reader, x: np.asarray(reader(from_0_to_1(x))), "one label for each"),
    ],
}
