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
# # 08c · Small and fast: what distillation buys when the model leaves the notebook
#
# **A question.** A student has a fifteenth of its teacher's parameters. Is the file that you ship fifteen times smaller, and does it answer fifteen times faster? And if you store every number in eight bits where there were thirty-two, is that another factor of four, or are the answers no longer the same?
#
# By the end of this lesson you can
#
# - count what a network costs in four currencies: parameters, multiply-adds, bytes on disk, time a call;
# - time a call, and say enough about it that somebody else can compare;
# - export a network to a file that runs without PyTorch, for any batch size, and count *all* of its bytes;
# - derive what quantisation to eight bits does to a number, and check on held-out rows what it did to the answers.
#
# *About 25 minutes of reading; about forty seconds of computing on one core. You need the idea of distillation from [08](08_distillation.ipynb); how well it teaches is settled there, and this lesson asks what comes after.*

# %% tags=["parameters"]
profile = "quick"  # type: str
seed = 0  # type: int
draws = 3  # type: int
teacher_steps = 60  # type: int
student_steps = 100  # type: int
repeats = 40  # type: int

# %%
import matplotlib.pyplot as plt
import numpy as np

from workbook.lesson import begin, claim, record_table
from workbook.plotting import COLOURS

defaults = draws == 3 and teacher_steps == 60 and student_steps == 100 and repeats >= 20
begin("torch", profile=profile, seed=seed, scope=profile == "quick" and defaults)
if profile != "quick":
    raise NotImplementedError("this lesson runs at profile = 'quick'; its chapter's photographs are in 08e")

# %% [markdown]
# ## A teacher, three students
#
# The task is handwriting, scikit-learn's handwritten digits. The teacher (教师模型) is GlyphNet, pre-trained on letters and fine-tuned on all training rows. A student (学生模型) is the same architecture with fewer channels and random weights; knowledge distillation (知识蒸馏) trains it on the teacher's softened answers ($T = 4$, a tenth of the weight on the labels).
# These settings were not searched: nothing below compares ways of training. Three students, from three seeds, because what rounding does to the answers is partly luck.

# %%
import torch

from data_scripts.handwriting import load_handwriting
from workbook.methods.torch.distillation import distil, small_student, train_teacher
from workbook.methods.torch.training import accuracy, as_images

task = load_handwriting()
images, labels = as_images(task.inputs), torch.from_numpy(task.labels)
train, test = (images[task.train], labels[task.train]), (images[task.test], labels[task.test])
teacher = train_teacher(*train, seed=seed, steps=teacher_steps)
lesson = {"temperature": 4, "alpha": 0.9, "steps": student_steps, "batch": 32}
students = [distil(small_student(draw), teacher, *train, seed=draw, **lesson) for draw in range(draws)]

# %% [markdown]
# The first two currencies follow from the layers' shapes alone. A convolution of $C_{in}$ to $C_{out}$ channels with a $k \times k$ kernel makes $H \times W$ outputs a channel, and each of these is a sum of $C_{in} k^2$ products. So it costs $C_{in} C_{out} k^2 H W$ **multiply-adds** (乘加运算), and a linear layer one for each of its weights.
# The formula has the weights, $C_{in} C_{out} k^2$, times the places at which they are used. We add it up with hooks, small functions that PyTorch calls with every layer's output:

# %%
from torch import nn


def count_multiply_adds(network):
    counted, layers = [], [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    hooks = [
        layer.register_forward_hook(lambda m, _, out: counted.append(m.weight.numel() * out[0, 0].numel()))
        for layer in layers
    ]
    network(images[:2])
    for hook in hooks:
        hook.remove()
    return sum(counted)


costs = {
    name: {
        "parameters": [sum(p.numel() for p in network.parameters())],
        "multiply-adds": [count_multiply_adds(network)],
    }
    for name, network in {"teacher": teacher, "student": students[0]}.items()
}
record_table("08c.costs", costs, corner="one image", digits=0)

# %%
from workbook.methods.torch.export import multiply_adds

few, many = (costs[name] for name in ("student", "teacher"))
claim(
    "08c.a-tenth",
    "the student has less than a tenth of the teacher's parameters and of its multiply-adds",
    all(10 * few[what][0] < many[what][0] for what in few),
)
claim(
    "08c.multiply-adds",
    "the formula's sum is what PyTorch's own operation counter gives, for teacher and student",
    all(
        costs[n]["multiply-adds"][0] == multiply_adds(m, images[:2])
        for n, m in (("teacher", teacher), ("student", students[0]))
    ),
)

# %% [markdown]
# (`multiply_adds` is the kept version in `workbook/methods/torch/export.py`, with everything else that this lesson writes out; it asks PyTorch's counter.) Both shrink by more than ten, by different factors: the late layers were narrowed most, and a late layer has many weights and few places.
#
# ## Time
#
# **Predict before you run:** the student needs a small fraction of the arithmetic. What fraction of the time will it need, for one image, and for 64 at once?
#
# The time of a call, its latency (延迟), is easy to measure wrongly. First the number of threads: it is fixed to one for all that follows. Then we time the first forty calls of the teacher on a single image.

# %%
import time

torch.set_num_threads(1)
one = images[:1].contiguous()


def seconds_of(call, count):
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return np.array(times)


with torch.inference_mode():
    times = 1e3 * seconds_of(lambda: teacher(one), repeats)
figure, axis = plt.subplots(figsize=(8, 3.4))
axis.plot(np.arange(1, repeats + 1), times, "o", color=COLOURS["blue"], ms=4)
axis.axhline(np.median(times), color=COLOURS["vermilion"], label="median")
axis.set(ylim=0, xlabel="call", ylabel="milliseconds", title="The same call, again and again")
_ = axis.legend()

# %% [markdown]
# *Forty points. The first call lies far above the median line. The half below the line lies close to it; the half above spreads out much further.*
#
# The first call chooses kernels and allocates memory; nobody who serves a second image pays for it again. **Timing the first call** is the first mistake, and the remedy is a few calls before the clock runs, the warm-up. The stragglers have the machine's other business in them. It can only ever *add* time, so the distribution has a tail on one side, and a mean follows the tail. To see how far, we make
# one call in fifty wait for a fifth of a second, as if something else had taken the machine:

# %%
calls = iter(range(10**6))


def interrupted():
    if next(calls) % 50 == 49:
        time.sleep(0.2)
    with torch.inference_mode():
        students[0](one)


times = seconds_of(interrupted, 100)
rows = {"mean": [1e3 * times.mean()], "median": [1e3 * np.median(times)], "slowest": [1e3 * times.max()]}
record_table("08c.interrupted", {"student, one image": rows}, corner="two interruptions in a hundred calls", unit="ms")
claim(
    "08c.mean-follows-the-tail",
    "two interruptions in a hundred calls lift the mean above one and a half times the median",
    bool(times.mean() > 1.5 * np.median(times)),
)

# %% [markdown]
# **Reporting the mean** is the second mistake (right for a bill; for what one call takes, use the median and the quartiles, between which half of the calls lie). The third is **leaving the gradient on**. In evaluation mode PyTorch still records every operation on a trainable weight for a backward pass that will not come, and keeps the activations for it; `torch.inference_mode()` stops that.
# `median_latencies` makes some calls of each contender first, then lets them take turns, in a new order each time, so that whatever slows the machine for a while slows them all and nobody always follows the same neighbour. It returns medians and quartiles.

# %%
from workbook.methods.torch.export import median_latencies

recorded = students[0](one).grad_fn is not None
with torch.inference_mode():
    stopped = students[0](one).grad_fn is None
claim(
    "08c.eval-is-not-inference",
    "a network in evaluation mode still records for backward, and under inference_mode it does not",
    recorded and stopped and not students[0].training,
)


# %%
def in_turns(contenders):
    """Median and quartiles in ms of functions of a batch, for one image and for 64."""
    rows = {name: {} for name in contenders}
    for batch in (1, 64):
        x = images[:batch].contiguous()
        calls = {name: lambda answer=answer, x=x: answer(x) for name, answer in contenders.items()}
        for name, latency in median_latencies(calls, repeats=repeats).items():
            for what, seconds in zip(("median", "lower quartile", "upper"), latency):
                rows[name][f"{batch}: {what}"] = [1e3 * seconds]
    return rows


contenders = {"student, gradient on": students[0]}
contenders |= {n: torch.inference_mode()(m.forward) for n, m in (("student", students[0]), ("teacher", teacher))}
record_table("08c.torch-latency", in_turns(contenders), corner="PyTorch, one thread", unit="ms")

# %% [markdown]
# Columns that begin with 1 are single images, those with 64 are batches. Read the single images first. The student's share of the teacher's time is far larger than its share of the arithmetic. A call in PyTorch goes through Python and a dispatcher once for every layer, and student and teacher have *the same number of layers*. For 64 images the same overhead is spread over more arithmetic, and the shares come closer. Distillation
# removed multiply-adds; on one image most of the student's time was something else. One remedy is to leave Python behind.
#
# ## A file that runs without PyTorch
#
# ONNX is an open format for the graph of a network: operations, weights, names. Runtimes for servers, phones and browsers read it. Here is an export with the exporter's defaults. It runs, and three things are wrong with it.

# %%
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
naive = folder / "naive.onnx"
_ = torch.onnx.export(students[0], (images[:2],), naive, dynamo=True, verbose=False)
kilobytes = {path.name: {"kB": [path.stat().st_size / 1e3]} for path in sorted(folder.iterdir())}
record_table("08c.naive-files", kilobytes, corner="files of one export", digits=1)

# %% [markdown]
# One export, **two files**. The exporter keeps weights as *external data*, beside the graph. Whoever weighs `naive.onnx` alone finds a flatteringly small model, and whoever ships it alone ships no weights. Second, the graph remembers the batch of the example:

# %%
import onnxruntime

from workbook.methods.torch.export import export_onnx, open_session, quantise, run_session, size_on_disk

try:
    open_session(naive).run(None, {"x": images[:3].numpy()})
except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument as error:
    print(str(error).split(" : ")[-1].replace("\n", " "))

# %% [markdown]
# Third, it tells where you work. For every operation the exporter notes the lines of source code that it came from, with their full paths: the folders of your computer, in a file for customers.

# %%
from workbook.paths import ROOT

claim(
    "08c.external-data",
    "by default PyTorch writes most of the student's bytes to a second file, beside the .onnx file",
    naive.stat().st_size < 0.5 * size_on_disk(naive),
)
claim(
    "08c.paths-inside",
    "the exported graph contains the path of the project's folder on this machine",
    str(ROOT).encode() in naive.read_bytes(),
)

# %% [markdown]
# `export_onnx` differs in those three points: one file unless told otherwise (a model of more than two gigabytes needs external data, and `size_on_disk` then counts every file that the graph names), an axis called *batch* whose size is free, and no notes. Its core is the same call with `dynamic_shapes=({0: Dim("batch")},)`.
# The example must hold two images: sizes 0 and 1 are taken for constants.

# %%
networks = {"teacher": teacher} | {f"student {draw}": network for draw, network in enumerate(students)}
paths = {
    name: export_onnx(network, folder / f"{name.replace(' ', '-')}.onnx", images[:2])
    for name, network in networks.items()
}
sessions = {name: open_session(path) for name, path in paths.items()}


@torch.inference_mode()
def logits(network, x):
    return network(x).numpy()


fp32 = {name: run_session(session, test[0]) for name, session in sessions.items()}
furthest = max(np.abs(fp32[name] - logits(networks[name], test[0])).max() for name in paths)
any_size = [
    np.abs(sessions["student 0"].run(None, {"images": test[0][:n].numpy()})[0] - fp32["student 0"][:n]).max()
    for n in (1, 3, 100)
]

# %%
claim(
    "08c.same-logits",
    "on all test rows ONNX Runtime's logits agree with PyTorch's to 1e-4, for the teacher and every student",
    bool(furthest < 1e-4),
)
claim(
    "08c.any-batch",
    "batches of 1, 3 and 100 images give the same logits to 1e-4, and the file no longer names the project's folder",
    bool(max(any_size) < 1e-4) and str(ROOT).encode() not in paths["student 0"].read_bytes(),
)

# %% [markdown]
# Make the first of these claims of every export, on real inputs.
#
# ### Where did batch normalisation go?
#
# The exported graph has none. At prediction, batch normalisation is $\gamma\,(y - \mu)/\sqrt{v + \epsilon} + \beta$ for each channel, with fixed numbers, and what it is applied to is a convolution, $y = w * x$, which is linear in $w$. With $g = \gamma/\sqrt{v + \epsilon}$,
# $$g\,(w * x - \mu) + \beta = (g\,w) * x + (\beta - g\,\mu):$$
# a convolution with other weights and a bias. The layer costs nothing once it is *folded* in. In training it cannot be, since there $\mu$ and $v$ change with the batch. Is this what the file holds?

# %%
import onnx

student = students[0]
norm = student.stem_bn
g = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
folded = (
    (student.stem.weight * g[:, None, None, None]).detach().numpy(),
    (norm.bias - g * norm.running_mean).detach().numpy(),
)
graph = onnx.load(paths["student 0"]).graph
stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
first = next(node for node in graph.node if node.op_type == "Conv")
claim(
    "08c.folding",
    "the graph has no batch normalisation, and its first convolution holds our folded weights and bias to 1e-5",
    all(node.op_type != "BatchNormalization" for node in graph.node)
    and all(np.allclose(stored[n], ours, atol=1e-5) for n, ours in zip(first.input[1:], folded)),
)

# %% [markdown]
# ## Eight bits
#
# **Quantisation** (量化) stores a number $x$ as an integer $q$ of eight bits. *Affine* quantisation (仿射量化) picks an interval $[a, b]$ that contains 0, a scale $s = (b - a)/255$ and a zero point $z = \mathrm{round}(-a/s)$, and sets
# $$q = \mathrm{clip}_{0 \ldots 255}\big(\mathrm{round}(x/s) + z\big), \qquad \hat x = s\,(q - z).$$
# Write $x/s = n + r$ with an integer $n$ and $|r| \le \tfrac12$. Where nothing is clipped, $q - z = n$, so $|\hat x - x| = s\,|r| \le s/2$. Where something is clipped inside $[a, b]$, that is because $z$ was rounded, by at most a half, and the bound still holds. Outside $[a, b]$ there is no bound: $\hat x$ stays at the end of the range. And $x = 0$ becomes $q = z$, hence $\hat x = 0$ exactly, which matters, because zeros
# are everywhere: padding, and all that a ReLU cuts off. In five lines, beside ONNX Runtime's own operators:


# %%
def affine(x, low, high):
    s = np.float32((high - low) / 255)
    z = np.uint8(np.round(-low / s))
    q = np.clip(np.round(x / s) + z, 0, 255).astype(np.uint8)
    return q, s, z, s * (q.astype(np.float32) - z)


x = np.append(np.random.default_rng(seed).uniform(-1.7, 4.2, 10_000), [0, 9]).astype(np.float32)
q, s, z, back = affine(x, -1.7, 4.2)
text = """<ir_version: 8, opset_import: ["" : 17]>
tiny (float[N] x, float s, uint8 z) => (uint8[N] q, float[N] back) {
    q = QuantizeLinear(x, s, z)
    back = DequantizeLinear(q, s, z)
}"""
tiny = onnxruntime.InferenceSession(
    onnx.parser.parse_model(text).SerializeToString(), providers=["CPUExecutionProvider"]
)
theirs = tiny.run(None, {"x": x, "s": np.array(s), "z": np.array(z)})

error = np.abs(back - x)
claim(
    "08c.affine",
    "our integers are ONNX Runtime's; inside the range no error exceeds half a scale, and zero comes back as zero",
    np.array_equal(q, theirs[0]) and bool(error[:-1].max() <= s / 2 * (1 + 1e-4)) and bool(back[-2] == 0),
)
claim("08c.clipping", "a number far outside the range is off by more than a hundred scales", bool(error[-1] > 100 * s))

# %% [markdown]
# A convolution of quantised numbers, with zero point 0 for the weights, is $\sum w x \approx s_w s_x \sum q_w (q_x - z_x)$: products of small integers, added up in 32 bits, and one multiplication by $s_w s_x$ at the end. (A bias joins the sum before that, so it stays 32 bits wide: not *every* number of the network goes into eight.) That is what processors do fast. It also says which scales are allowed: $s_w$ may differ from one *output* channel to the next, as it stands before that channel's sum; one scale for each input channel would
# stand inside the sum. After folding, every channel has been multiplied by its own $g$, so they differ in size, and one common scale is set by the largest:


# %%
def weight_error(path, axes):
    """Rounding error of a file's convolutions, as a share of the weights' root mean square; one scale over `axes`."""
    shares = []
    for w in map(onnx.numpy_helper.to_array, onnx.load(path).graph.initializer):
        if w.ndim == 4:
            s = np.abs(w).max(axis=axes, keepdims=True) / 127
            shares.append(np.mean((np.round(w / s) * s - w) ** 2) / np.mean(w**2))
    return np.sqrt(np.mean(shares))


files = [paths[f"student {draw}"] for draw in range(draws)]
scales = {"a tensor": None, "an output channel": (1, 2, 3)}
errors = {name: {"relative error": [weight_error(path, axes) for path in files]} for name, axes in scales.items()}
record_table("08c.scales", errors, corner="one scale for", digits=4)
coarse, fine = (errors[name]["relative error"] for name in scales)
claim(
    "08c.per-channel",
    "in every student a scale for every output channel makes the weights' rounding error more than a tenth smaller",
    max(np.divide(fine, coarse)) < 0.9,
)

# %% [markdown]
# The weights are known. The *activations*' ranges are not: they depend on the images. **Static** quantisation finds them beforehand, by passing *calibration* images (量化校准; only the word is shared with calibrated probabilities) through the network and keeping the smallest and the largest value of each tensor. These images are our training rows: like what will come, and not test rows.
# The result is written in the QDQ form, the float graph with pairs of the two operators above around every tensor that becomes eight bits wide; the runtime fuses them into integer kernels where it can. `quantise` does both.

# %%
int8 = {}
for name in list(paths):
    paths[f"{name}, int8"] = quantise(paths[name], train[0], folder / f"{paths[name].stem}-int8.onnx")
    sessions[f"{name}, int8"] = open_session(paths[f"{name}, int8"])
    int8[name] = run_session(sessions[f"{name}, int8"], test[0])
agree = {name: [(int8[name].argmax(1) == fp32[name].argmax(1)).mean()] for name in int8}
record_table(
    "08c.agreement", {n: {"same class as fp32": v} for n, v in agree.items()}, corner="int8, test rows", digits=4
)

pooled = np.mean([agree[f"student {draw}"][0] for draw in range(draws)])
largest = max(np.abs(int8[n] - fp32[n]).max() for n in int8)
claim(
    "08c.int8-agrees",
    "over the 629 test rows of all three students, int8 gives the class that fp32 gives at least 99 times in 100",
    bool(pooled >= 0.99),
)
claim(
    "08c.int8-is-not-fp32",
    "some logit differs by more than a hundred times what fp32 in ONNX Runtime was allowed",
    bool(largest > 100 * 1e-4),
)

# %% [markdown]
# Agreement needs no labels, so it can be measured on whatever the model meets. But the logits *did* change, far beyond rounding of floats; most answers survive because most are not close calls. Let $e$ be a row's largest change of a logit, and its *margin* the best logit minus the second best. The best falls by at most $e$, any other rises by at most $e$: **no row whose margin
# exceeds $2e$ can change its class.** (As $e$ needs both models, this explains changes and cannot predict them.) The last column below must therefore be zero, which checks our reasoning; what had to be measured is how few rows are close calls.

# %%
rows = {}
for name in int8:
    best = np.sort(fp32[name], axis=1)
    close = best[:, -1] - best[:, -2] <= 2 * np.abs(int8[name] - fp32[name]).max(axis=1)
    changed = int8[name].argmax(1) != fp32[name].argmax(1)
    rows[name] = {
        "close calls": [close.mean()],
        "changed": [changed.mean()],
        "changed, not close": [(changed & ~close).mean()],
    }
record_table("08c.margins", rows, corner="share of the test rows", digits=4)
claim(
    "08c.only-close-calls",
    "in teacher and students fewer than one row in twenty is a close call, and no other row changed its class",
    all(row["changed, not close"] == [0] and row["close calls"][0] < 0.05 for row in rows.values()),
)

# %% [markdown]
# ### The mistake: calibrating on other inputs than the model's
#
# Our network takes grey values between 0 and 1. Suppose the script that calibrates reads raw bytes, 0 to 255, and forgets to divide; or it was given very faint scans, a tenth as bright. *Before you run it: the first range is far too wide, the second far too narrow. Which does more harm?*

# %%
right = task.labels[task.test]


def compared(guesses, name):
    return {"same class as fp32": (guesses == fp32[name].argmax(1)).mean(), "accuracy": (guesses == right).mean()}


calibrated = {"training rows": [compared(int8[name].argmax(1), name) for name in int8 if name != "teacher"]}
for label, factor in {"bytes, 0 to 255": 255, "a tenth as bright": 0.1}.items():
    calibrated[label] = []
    for draw in range(draws):
        path = quantise(paths[f"student {draw}"], factor * train[0], folder / "other.onnx")
        guesses = run_session(open_session(path), test[0]).argmax(1)
        calibrated[label].append(compared(guesses, f"student {draw}"))
table = {label: {what: [row[what] for row in rows] for what in rows[0]} for label, rows in calibrated.items()}
record_table("08c.calibration", table, corner="calibrated on")

claim(
    "08c.calibration-must-match",
    "calibrated on inputs of another scale, wider or narrower, every student agrees with itself on under a third of rows",
    max(max(table[label]["same class as fp32"]) for label in list(table)[1:]) < 1 / 3,
)

# %% [markdown]
# Neither is an error to any tool: both files load, run and have the right size. Too wide, and the real values share very few of the 256 integers; too narrow, and nearly everything is clipped. What is left is hardly better than chance, in both.
#
# ## What it bought
#
# Now all four currencies, and the opponent that a distilled student has to beat: the *teacher*, in the same runtime, in eight bits. That costs no training at all. A file is counted with everything in it; the runtime that reads it comes on top. ONNX Runtime's usual package takes tens of megabytes, PyTorch's many times that, and each is paid once for all models.

# %%
from safetensors.torch import save_file

weights = {name: folder / f"{name.replace(' ', '-')}.safetensors" for name in ("teacher", "student 0")}
for name, path in weights.items():
    save_file({k: v.contiguous() for k, v in networks[name].state_dict().items()}, path)
shown = ("teacher", "teacher, int8", "student 0", "student 0, int8")
sizes = {f"{name}, weights alone": {"kB": [size_on_disk(path) / 1e3]} for name, path in weights.items()}
sizes |= {f"{name}, ONNX": {"kB": [size_on_disk(paths[name]) / 1e3]} for name in shown}
record_table("08c.sizes", sizes, corner="file", digits=1)

contenders |= {
    f"{name}, ONNX": lambda x, session=sessions[name]: session.run(None, {"images": x.numpy()}) for name in shown
}
latencies = in_turns(contenders)
record_table("08c.latency", latencies, corner="one thread", unit="ms")

# %%
measured = {
    "parameters": [costs[n]["parameters"][0] for n in ("teacher", "teacher", "student", "student")],
    "multiply-adds": [costs[n]["multiply-adds"][0] for n in ("teacher", "teacher", "student", "student")],
    "file": [size_on_disk(paths[n]) for n in shown],
    "one image": [latencies[f"{n}, ONNX"]["1: median"][0] for n in shown],
    "64 images": [latencies[f"{n}, ONNX"]["64: median"][0] for n in shown],
}
figure, axis = plt.subplots(figsize=(8, 3.8))
for i, (name, colour, marker) in enumerate(zip(shown, ("black", "grey", "blue", "orange"), "os^v")):
    share = [values[i] / values[0] for values in measured.values()]
    axis.plot(share, list(measured), marker, color=COLOURS[colour], ms=9, label=name.replace(" 0", ""))
axis.invert_yaxis()
axis.set(xscale="log", xlabel="share of the teacher's (fp32, ONNX)", title="Five ways to be smaller")
axis.set(xticks=[0.03, 0.1, 0.3, 1], xticklabels=["1/33", "1/10", "1/3", "1"])
_ = axis.legend(bbox_to_anchor=(1.0, 1.0))

# %% [markdown]
# *Five rows of points on a logarithmic axis from a thirtieth to one. Parameters and multiply-adds: the student lies below a tenth, with or without int8. File: the teacher in int8 lies between a fifth and a third, the student below a tenth, the student in int8 near a thirtieth. Time for one image and for 64: both students lie left of the teacher, and right of their multiply-adds.*
#
# Read it against the opening question.
#
# - **The file** in fp32 shrank nearly as the parameters did. (It is even a little smaller than the weights alone: batch normalisation is folded away.) In int8 it did not: about half of the student's file is something other than eight-bit weights. Names, shapes and operations take the same kilobytes whatever the widths, and around every eight-bit tensor stand further operators. In a large model nobody notices.
# - **Int8** took nearly three quarters off the teacher's file, with hardly a changed answer and no training. It is the first thing to try, and distillation has to be worth more than that. Here it is, and the two combine, to less than their product: int8 took only about half off the student's file.
# - **Time** fell less than the arithmetic, for one image and for 64. Whether int8 makes the *student* faster we cannot say: in some of our runs its int8 file was the faster one, in others the slower one. Integer instructions pay in wide layers; narrow ones hardly fill them, and values are converted on the way in and out. Before you believe a difference in your table, look at the quartiles, and at the three PyTorch rows that stand in both tables: what differs between them is the machine's
# other business, not the network. So measure on the machine that will serve, while it does nothing else.

# %%
bytes_of = {name: size_on_disk(paths[name]) for name in shown}
claim(
    "08c.int8-is-smaller",
    "int8 makes the student's file more than a third smaller, and the teacher's by more than two thirds",
    bytes_of["student 0, int8"] < 2 / 3 * bytes_of["student 0"] and bytes_of["teacher, int8"] < bytes_of["teacher"] / 3,
)
claim(
    "08c.they-multiply",
    "distilled and in int8, the model is more than twenty times smaller on disk than the teacher's fp32 file",
    20 * bytes_of["student 0, int8"] < bytes_of["teacher"],
)
claim(
    "08c.many-times-faster",
    "the student in ONNX Runtime answers for one image in less than half the time of the teacher in PyTorch (medians)",
    latencies["student 0, ONNX"]["1: median"][0] < 0.5 * latencies["teacher"]["1: median"][0],
)

# %% [markdown]
# And the price? The accuracy on the test rows, scored once, with everything fixed:

# %%
scores = {
    "teacher": {"fp32": [accuracy(teacher, *test)], "int8": [(int8["teacher"].argmax(1) == right).mean()]},
    "students": {
        "fp32": [accuracy(s, *test) for s in students],
        "int8": [(int8[f"student {d}"].argmax(1) == right).mean() for d in range(draws)],
    },
}
record_table("08c.accuracy", scores, corner="accuracy, test rows")
claim(
    "08c.price",
    "int8 moves no network's accuracy by more than a point; the students' mean is within five points of the teacher's",
    all(abs(a - b) <= 0.01 for row in scores.values() for a, b in zip(row["fp32"], row["int8"]))
    and np.mean(scores["students"]["fp32"]) > scores["teacher"]["fp32"][0] - 0.05,
)

# %% [markdown]
# The bits were nearly free; the channels cost a little, on an easy task, and lesson 08 asks how much of that better teaching wins back. Which of the two to spend is a question about your device. If the teacher's int8 file fits and is fast enough, ship that.
#
# (Bits are nearly free as long as few answers are close calls. A student that is less sure of itself, on a harder task or after shorter training, has smaller margins, and the same rounding can change more of its answers. So measure the agreement again for every student.)
#
# ## What to take away
#
# - Parameters, multiply-adds, bytes and time are four currencies with four exchange rates. Report the one that your device is short of.
# - A latency is a median with quartiles, after a warm-up, on a quiet machine, at a stated batch size, thread count and runtime.
# - After every export: compare logits on real inputs, try another batch size, count every file.
# - Quantisation errs by at most half a scale inside the calibrated range and without bound outside; only close calls change their answer.
#
# > **Mistakes box.** *Weighing the .onnx and forgetting the .onnx.data. Shipping a graph that knows the path of your home folder. Exporting with the batch size of the example. Timing the first call; a mean; the gradient on; unknown threads. Calibrating on test rows, or on inputs that were preprocessed otherwise. 'Int8 is four times faster', said without a clock.*
#
# **A question left open.** Quantisation here came after training. If the student were trained with rounding in its forward pass, the teacher could correct what rounding spoils. What gradient would you give the rounding, whose derivative is zero almost everywhere? (Bengio et al. 2013 have one answer.) The lab of chapter 08 has you write the rounding itself. Lesson [08d](08d_distillation_keras.ipynb) distils in Keras.
#
# **Sources.** G. Hinton, O. Vinyals and J. Dean, *Distilling the Knowledge in a Neural Network*, 2015 · B. Jacob et al., *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*, CVPR 2018 · R. Krishnamoorthi, *Quantizing deep convolutional networks for efficient inference: A whitepaper*, 2018 · Y. Bengio, N. Léonard and A. Courville, *Estimating or Propagating Gradients Through Stochastic Neurons for
# Conditional Computation*, 2013 · the operator pages of ONNX (QuantizeLinear) and ONNX Runtime's page on quantisation.
