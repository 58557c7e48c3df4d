"""What is kept of a classifier of pictures: a folder of its own, and a one-page report of how it does on test rows.

The page holds its pictures within itself, so that it can be sent to somebody; it needs no network to be read.
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager, ft2font
from matplotlib.figure import Figure
from PIL import Image

from data_scripts.image_folder import PhotoTask
from workbook.paths import RUNS
from workbook.statistics import wilson_interval

LONGEST_NAME = 24
"""Longer class names are cut in figures, where they would leave no room for the figure."""
OTHER_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "Microsoft YaHei"),
    *("SimHei", "PingFang SC", "Hiragino Sans GB", "Heiti TC", "Arial Unicode MS"),
)
"""Fonts with Chinese characters that systems have; matplotlib's own has none."""


class Mistake(NamedTuple):
    """A wrong answer: the picture's row in its task, two class numbers, and the wrong class's probability."""

    row: int
    truth: int
    predicted: int
    confidence: float


def results_folder(lesson: str, task: PhotoTask, *, under: Path | str = "") -> Path:
    """Make and return a new folder ``<under>/<lesson>_<task name>_<date-time>/``; an existing one is never reused.

    Args:
        lesson: its number, such as ``"04g"``.
        task: whose name becomes part of the folder's; characters that file systems refuse become ``_``.
        under: the parent folder, made when it is not there; by default ``runs/models`` of the project.
    """
    parent = Path(under).expanduser() if under else RUNS / "models"
    name = re.sub(r"[^\w.-]+", "_", f"{lesson}_{task.name}").strip("._")[:80]
    stem = f"{name}_{datetime.now():%Y-%m-%d_%H-%M-%S}"
    number = 1
    while True:
        folder = parent / (stem if number == 1 else f"{stem}_{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder


def confusion_matrix(labels: Sequence[int], predicted: Sequence[int], classes: int) -> np.ndarray:
    """Return how often each class (column) was answered for each true class (row), int ``(classes, classes)``.

    Raises:
        ValueError: the two do not have the same length.
    """
    if len(labels) != len(predicted):
        raise ValueError(f"expected as many predictions as labels, got {len(predicted)} and {len(labels)}")
    matrix = np.zeros((classes, classes), int)
    np.add.at(matrix, (np.asarray(labels, int), np.asarray(predicted, int)), 1)
    return matrix


def worst_mistakes(
    labels: Sequence[int], probabilities: np.ndarray, rows: Sequence[int], most: int = 12
) -> list[Mistake]:
    """Return the wrong answers that the classifier was surest of, the surest first.

    Args:
        labels: ``(n,)`` true classes.
        probabilities: ``(n, classes)``.
        rows: ``(n,)`` of the pictures in their task, such as ``task.test``.
        most: how many at most.

    Raises:
        ValueError: the three do not have the same length.
    """
    labels, rows = np.asarray(labels), np.asarray(rows)
    if not len(labels) == len(probabilities) == len(rows):
        raise ValueError(
            f"expected a label, a row of probabilities and a row number for each picture, got {len(labels)}, "
            f"{len(probabilities)} and {len(rows)}"
        )
    predicted, confidence = np.argmax(probabilities, axis=1), np.max(probabilities, axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    return [Mistake(int(rows[i]), int(labels[i]), int(predicted[i]), float(confidence[i])) for i in worst]


def drawable(names: Sequence[str]) -> list[str]:
    """Return class names as matplotlib can draw them: cut to `LONGEST_NAME`, and 'class 3' where no font has the name.

    A font of this machine with the missing characters becomes matplotlib's second choice, so that Chinese names are
    drawn where the system can.
    """
    shown = []
    for number, name in enumerate(names, start=1):
        name = " ".join(name.split())
        name = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
        # A dollar sign would begin a formula.
        shown.append(name.replace("$", r"\$") if _some_font_has(name) else f"class {number}")
    return shown


def _some_font_has(text: str) -> bool:
    families = list(mpl.rcParams["font.family"])
    missing = set(text) - set().union(*map(_characters, families))
    if not missing:
        return True
    installed = set(font_manager.get_font_names())
    for family in OTHER_FONTS:
        if family in installed and missing <= _characters(family):
            mpl.rcParams["font.family"] = [*families, family]
            return True
    return False


def _characters(family: str) -> set[str]:
    file = font_manager.findfont(font_manager.FontProperties(family=[family]))
    return set(map(chr, ft2font.FT2Font(file).get_charmap()))


def plot_confusion(matrix: np.ndarray, class_names: Sequence[str], *, title: str = "Test rows") -> Figure:
    """Draw a confusion matrix as shares of each true class, with counts where there is room (up to 12 classes)."""
    classes = len(class_names)
    side = min(10.0, max(3.6, 1.8 + 0.5 * classes))
    figure, axes = plt.subplots(figsize=(side + 0.8, side))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    names = drawable(class_names)
    axes.set_xticks(range(classes), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(classes), names)
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    axes.grid(False)
    if classes <= 12:
        for (i, j), count in np.ndenumerate(matrix):
            axes.text(j, i, count, ha="center", va="center", color="white" if shares[i, j] > 0.5 else "black")
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    return figure


def plot_mistakes(task: PhotoTask, mistakes: Sequence[Mistake], *, columns: int = 4) -> Figure:
    """Draw wrongly classified pictures, each with its true class, the answer and the answer's probability."""
    names = drawable(task.class_names)
    lines = max(1, -(-len(mistakes) // columns))
    figure, grid = plt.subplots(lines, columns, figsize=(2.1 * columns, 2.6 * lines), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, mistake in zip(grid.flat, mistakes, strict=False):
        axes.imshow(task.inputs[mistake.row])
        axes.set_title(
            f"true: {names[mistake.truth]}\nanswer: {names[mistake.predicted]}, {mistake.confidence:.2f}", fontsize=10
        )
    if not mistakes:
        grid.flat[0].set_title("no mistake", fontsize=10)
    return figure


def write_report(
    folder: Path,
    task: PhotoTask,
    probabilities: np.ndarray,
    *,
    lesson: str,
    facts: Mapping[str, str],
    model_file: str,
) -> Path:
    """Write ``report.html`` into a folder and return its path: one page that holds all it shows.

    Accuracy on the test rows with Wilson's interval, beside what always answering the most frequent class of the
    training rows would score; recall of each class; the confusion matrix; the mistakes that the classifier was surest
    of, as pictures; the folder's notices; the facts given.

    Args:
        folder: see `results_folder`.
        task: the pictures.
        probabilities: ``(len(task.test), classes)``, of the test rows in the order of ``task.test``.
        lesson: its number.
        facts: what else to say, such as backbone, settings and baselines: name → text.
        model_file: name of the saved model's file within the folder.

    Raises:
        ValueError: ``probabilities`` has another shape.
        FileExistsError: the folder has a report already.
    """
    expected = (len(task.test), len(task.class_names))
    if np.shape(probabilities) != expected:
        raise ValueError(f"expected probabilities of shape {expected}, got {np.shape(probabilities)}")
    labels, predicted = task.labels[task.test], np.argmax(probabilities, axis=1)
    matrix = confusion_matrix(labels, predicted, expected[1])
    mistakes = worst_mistakes(labels, probabilities, task.test)
    majority = int(np.bincount(task.labels[task.train], minlength=expected[1]).argmax())
    whole = wilson_interval(int((predicted == labels).sum()), len(labels))
    body = [
        f"<h1>{_text(task.name)}: a classifier of {expected[1]} classes</h1>",
        f'<p class="figure">{whole.mean:.1%} of {len(labels)} test pictures right '
        f"<small>(95 % interval {whole.low:.1%} to {whole.high:.1%}, Wilson)</small></p>",
        f"<p>Always answering {_text(task.class_names[majority])}, the most frequent class of the training pictures, "
        f"would be right on {matrix[majority].sum() / len(labels):.1%}. The interval is for the accuracy on all "
        "pictures of this kind, of which these are a sample; on pictures of another kind it may be lower.</p>",
        "<h2>The folder</h2>",
        f"<pre>{_text(task.describe())}</pre>",
        "<h2>Recall of each class</h2>",
        _recall_table(task, matrix),
        "<h2>Confusion matrix</h2>",
        _confusion_table(task, matrix),
        "<h2>The worst mistakes</h2>",
        _mistake_figures(task, mistakes, len(labels) - np.trace(matrix)),
        "<h2>How it was made</h2>",
        "<dl>"
        + "".join(
            f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>"
            for name, value in {"lesson": lesson, "model": model_file, **facts}.items()
        )
        + "</dl>",
    ]
    path = folder / "report.html"
    with path.open("x", encoding="utf-8") as file:
        file.write(_PAGE.format(title=_text(task.name), body="\n".join(body)))
    return path


def _text(value: object) -> str:
    """Escape for HTML; what is no Unicode (an ill-encoded file name) is shown as question marks."""
    return escape(str(value).encode("utf-8", "replace").decode())


def _recall_table(task: PhotoTask, matrix: np.ndarray) -> str:
    lines = ["<tr><th>class</th><th>training pictures</th><th>test pictures</th><th>right</th><th>95 %</th></tr>"]
    trained = np.bincount(task.labels[task.train], minlength=len(matrix))
    for label, name in enumerate(task.class_names):
        of = int(matrix[label].sum())
        cells = "<td>–</td><td></td>"
        if of:
            share, low, high = wilson_interval(int(matrix[label, label]), of)
            cells = f"<td>{share:.1%}</td><td>{low:.1%} to {high:.1%}</td>"
        lines.append(f"<tr><th>{_text(name)}</th><td>{trained[label]}</td><td>{of}</td>{cells}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _confusion_table(task: PhotoTask, matrix: np.ndarray) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in task.class_names)
    lines = [f"<tr><th>true class ↓ predicted →</th>{head}</tr>"]
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    for label, name in enumerate(task.class_names):
        cells = ""
        for count, share in zip(matrix[label], shares[label], strict=True):
            ink = "#fff" if share > 0.55 else "#1b1b1b"
            cells += f'<td style="background:rgba(0,90,156,{share:.2f});color:{ink}">{count or ""}</td>'
        lines.append(f"<tr><th>{_text(name)}</th>{cells}</tr>")
    return f'<div class="wide"><table class="matrix">{"".join(lines)}</table></div>'


def _mistake_figures(task: PhotoTask, mistakes: Sequence[Mistake], wrong: int) -> str:
    if not mistakes:
        return "<p>None of the test pictures was classified wrongly.</p>"
    figures = "".join(
        f'<figure><img src="{_embedded(task.inputs[one.row])}" alt="a picture of {_text(task.class_names[one.truth])}">'
        f"<figcaption>{_text(task.paths[one.row] if task.paths else f'row {one.row}')}<br>"
        f"true: <b>{_text(task.class_names[one.truth])}</b><br>predicted: "
        f"<b>{_text(task.class_names[one.predicted])}</b>, {one.confidence:.2f}</figcaption></figure>"
        for one in mistakes
    )
    shown = "all" if len(mistakes) == wrong else f"the {len(mistakes)} of which the classifier was surest"
    return (
        f"<p>Of {wrong} wrong answers, {shown}; the number is the predicted class's probability. Look for wrong labels "
        f'first, then for what these pictures share.</p><div class="pictures">{figures}</div>'
    )


def _embedded(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    kind = "PNG" if len(picture) <= 64 else "JPEG"
    Image.fromarray(picture).save(buffer, kind, **({} if kind == "PNG" else {"quality": 88}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }}
  h1 {{ font-size: 1.6rem; margin-bottom: .2rem; }} h2 {{ font-size: 1.2rem; margin-top: 2rem; }}
  .figure {{ font-size: 1.5rem; margin: .5rem 0; }} .figure small {{ font-size: 1rem; color: #555; }}
  .wide {{ overflow-x: auto; }} table {{ border-collapse: collapse; }}
  th, td {{ padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: right; }}
  th:first-child {{ text-align: left; }} .matrix td {{ text-align: center; min-width: 2rem; }}
  pre {{ background: #f5f5f5; padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; }}
  .pictures {{ display: flex; flex-wrap: wrap; gap: 1rem; }} figure {{ margin: 0; width: 10rem; }}
  img {{ width: 10rem; image-rendering: auto; }} figcaption {{ font-size: .8rem; overflow-wrap: anywhere; }}
  dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }} dt {{ color: #555; }}
  dd {{ margin: 0; overflow-wrap: anywhere; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
