"""Draws a map of concepts: named boxes and labelled arrows between them."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from workbook.plotting import COLOURS


def draw_map(boxes: Mapping[str, tuple[float, float]], arrows: Sequence[tuple[str, str, str]], *, title: str) -> Figure:
    """Draw boxes at their places (0 to 1 in both directions) and an arrow with a word for each pair.

    Args:
        boxes: ``{name: (x, y)}``.
        arrows: ``(from, to, word)``; the word stands at the arrow's middle.
        title: of the figure.
    """
    figure, axes = plt.subplots(figsize=(8.5, 4.6))
    axes.set(xlim=(-0.08, 1.08), ylim=(-0.1, 1.1), title=title)
    axes.axis("off")
    for start, end, word in arrows:
        axes.annotate(
            "",
            xy=boxes[end],
            xytext=boxes[start],
            arrowprops={"arrowstyle": "-|>", "color": COLOURS["grey"], "lw": 1.6, "shrinkA": 34, "shrinkB": 40},
        )
        x, y = ((boxes[start][i] + boxes[end][i]) / 2 for i in (0, 1))
        axes.text(
            x, y, word, ha="center", va="center", fontsize=9, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1}
        )
    for name, (x, y) in boxes.items():
        axes.text(
            x,
            y,
            name,
            ha="center",
            va="center",
            fontsize=11,
            weight="bold",
            bbox={"boxstyle": "round,pad=0.6", "facecolor": "#E8F1FA", "edgecolor": COLOURS["blue"]},
        )
    return figure
