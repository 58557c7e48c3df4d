"""Plotting defaults: legible sizes and colours that colour-blind readers can tell apart."""

import matplotlib.pyplot as plt
from cycler import cycler

# Okabe and Ito, 'Color Universal Design' (2008), without the yellow that vanishes on white.
COLOURS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "black": "#000000",
    "grey": "#7F7F7F",
}


def use_course_style() -> None:
    """Set matplotlib's defaults for every figure that follows."""
    plt.rcParams.update(
        {
            "figure.figsize": (7.0, 4.2),
            "figure.dpi": 96,
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 12,
            "axes.labelsize": 11,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "lines.linewidth": 2,
            "lines.markersize": 6,
            "legend.frameon": False,
            "image.cmap": "gray",
            "axes.prop_cycle": cycler(color=list(COLOURS.values())),
        }
    )
