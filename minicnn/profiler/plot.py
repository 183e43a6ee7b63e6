"""The picture of a profile."""

from typing import TYPE_CHECKING

from minicnn.plots import BLUE, GREY, VERMILION, Path, finished, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from minicnn.profiler.profile import Profile


def plot_profile(
    profile: "Profile", path: Path | None = None, title: str | None = None
) -> "Figure":
    """One bar per layer, the first on top: milliseconds of forward and, behind it, of backward.

    The text beside a bar says how fast the layer's products were, also as a share of the peak of a
    large matrix product; an algorithm that saves multiplications can have more than 100 %.

    Args:
        profile: what `model.profile` returned.
        path: where to write the picture.
        title: the text above; default: model, images and threads.
    """
    rows = profile.rows
    threads = "1 thread" if profile.threads == 1 else f"{profile.threads} threads"
    figure = new_figure(
        8.6, 1.6 + 0.3 * len(rows), title or f"{profile.name}: {profile.images} images, {threads}"
    )
    axes = figure.add_subplot()
    places = range(len(rows))
    forward = [1e3 * row.forward_seconds for row in rows]
    backward = [1e3 * row.backward_seconds for row in rows]
    axes.barh(places, forward, color=BLUE, height=0.7, label="forward")
    axes.barh(places, backward, left=forward, color=VERMILION, height=0.7, label="backward")
    for place, row in zip(places, rows, strict=True):
        share = profile.peak_share(row)
        if row.gflops is not None and share is not None:
            axes.annotate(
                f"{row.gflops:,.0f} GFLOP/s, {share:.0%} of peak", (1e3 * row.seconds, place),
                xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=GREY,
            )  # fmt: skip
    algorithms = [f" ({row.algorithm})" if row.algorithm else "" for row in rows]
    axes.set_yticks(places, [row.name + a for row, a in zip(rows, algorithms, strict=True)])
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)  # the first layer on top
    axes.set_xlim(0, 1.3 * 1e3 * max(row.seconds for row in rows))  # room for the text
    axes.set_xlabel(f"Milliseconds for {profile.images} images")
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    # above the axes, where no bar can be
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=9)
    return finished(figure, path)
