"""Draws a map of concepts: named boxes and labelled arrows between them."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from workbook.plotting import COLOURS


def draw_map(boxes: Mapping[str, tuple[float, float]], arrows: Sequence[tuple[str, str, str]], *, title: str) -> Figure:
    """Draw boxes at their places (0 to 1 in both directions) and an arrow with a word for each pair.

    Args:
        boxes: ``{name: (x, y)}``.
        arrows: ``(from, to, word)``; the word stands on the arrow, nearer to its start.
        title: of the figure.
    """
    figure, axes = plt.subplots(figsize=(9, 5.4))
    axes.set(xlim=(-0.1, 1.1), ylim=(-0.1, 1.1), title=title)
    axes.axis("off")
    style = {"boxstyle": "round,pad=0.6", "facecolor": "#E8F1FA", "edgecolor": COLOURS["blue"]}
    drawn = {
        name: axes.text(x, y, name, ha="center", va="center", fontsize=11, weight="bold", bbox=style, zorder=5)
        for name, (x, y) in boxes.items()
    }
    # An arrow is cut at the edge of a box only once the box has been laid out.
    figure.canvas.draw()
    for start, end, word in arrows:
        between = {"patchA": drawn[start].get_bbox_patch(), "patchB": drawn[end].get_bbox_patch()}
        line = {"arrowstyle": "-|>,head_width=0.35,head_length=0.7", "color": COLOURS["grey"], "lw": 1.6}
        axes.annotate(
            "",
            xy=boxes[end],
            xytext=boxes[start],
            arrowprops=line | between | {"shrinkA": 2, "shrinkB": 2, "zorder": 2},
        )
        x, y = (0.62 * boxes[start][i] + 0.38 * boxes[end][i] for i in (0, 1))
        background = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(x, y, word, ha="center", va="center", fontsize=9, bbox=background, zorder=4)
    return figure
