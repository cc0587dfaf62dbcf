"""The book's look and its recurring figures. Needs matplotlib; `import zl` alone does not."""

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zl.network import Network

__all__ = ["COLOURS", "draw_network", "matrices", "style"]

#: Okabe and Ito's colours, which readers with any colour vision can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


def style() -> None:
    """Set matplotlib up as the book does: call it once, in a notebook's first cell.

    Example:
        >>> from zl import figures
        >>> figures.style()
    """
    plt.rcParams.update(
        {
            "axes.prop_cycle": plt.cycler(color=COLOURS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "figure.figsize": (6.4, 3.6),
            "figure.dpi": 140,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 11,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "image.cmap": "cividis",
        }
    )


def matrices(arrays: list[Float[Array, "rows columns"]], titles: list[str]) -> Figure:
    """Matrices side by side as colours, zero in the middle, each with its own scale.

    Args:
        arrays: matrices; a column is a sample.
        titles: one a matrix.

    Returns:
        The figure.

    Example:
        >>> import jax.numpy as jnp
        >>> figure = zl.figures.matrices([jnp.eye(3)], ["the identity"])
    """
    arrays = [np.asarray(a) for a in arrays]
    widths = [np.sqrt(a.shape[1]) for a in arrays]
    figure, axes = plt.subplots(
        1, len(arrays), figsize=(7.2, 2.8), squeeze=False, width_ratios=widths
    )
    for ax, a, title in zip(axes[0], arrays, titles, strict=True):
        bound = float(abs(a).max()) or 1.0
        image = ax.imshow(
            a, aspect="auto", cmap="PuOr", vmin=-bound, vmax=bound, interpolation="none"
        )
        figure.colorbar(
            image, ax=ax, orientation="horizontal", ticks=[-bound, 0, bound], format="%.2g"
        )
        ax.set(title=title, xlabel="sample", yticks=[0, a.shape[0] - 1])
        ax.set_yticklabels([1, a.shape[0]] if a.shape[0] > 1 else [1, 1])
        ax.set_xticks([0, a.shape[1] - 1], [1, a.shape[1]])
        ax.grid(False)
    axes[0][0].set_ylabel("neuron")
    return figure


def draw_network(net: Network, ax: Axes | None = None) -> Axes:
    """The neurons and connections of a network, input at the left; wide layers are abridged.

    Args:
        net: the network.
        ax: where to draw; a new figure by default.

    Returns:
        The axes drawn on.

    Example:
        >>> ax = zl.figures.draw_network(zl.Network((3, 4, 2)))
    """
    ax = plt.subplots(figsize=(6.4, 2.6))[1] if ax is None else ax
    shown = [min(width, 6) for width in net.widths]
    heights = [np.arange(n) - (n - 1) / 2 for n in shown]
    for x, (left, right) in enumerate(zip(heights[:-1], heights[1:], strict=True)):
        for a in left:
            for b in right:
                ax.plot([x, x + 1], [a, b], color="0.75", linewidth=0.7, zorder=1)
    names = ["input", *[f"layer {l}" for l in range(1, net.L + 1)], "output"]
    for x, (ys, width, name) in enumerate(zip(heights, net.widths, names, strict=True)):
        colour = COLOURS[0] if 0 < x <= net.L else COLOURS[1]
        ax.scatter(np.full(len(ys), x), ys, s=110, color=colour, zorder=2)
        ax.text(x, max(shown) / 2 + 0.4, f"{name}\n{width}", ha="center", va="bottom")
        if width > len(ys):
            ax.text(x, ys[0] - 0.75, "⋮", ha="center", va="center")
    ax.set_ylim(-max(shown) / 2 - 0.6, max(shown) / 2 + 1.9)
    ax.axis("off")
    return ax
