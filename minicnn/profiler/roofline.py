"""The profile on a GPU: how near each layer comes to what the memory and the matrix units can do.

A layer's forward or backward pass that has to move B bytes and to do F operations takes at least
B / bandwidth and at least F / peak. The larger of the two is its nearer limit, "memory" or
"products"; together they make the GPU's roofline. bandwidth and peak are measured in the same run,
by a large copy and by a large matrix product in the dtype that the layer is given.

B counts each array once: forward the inputs, outputs and weights; backward the gradients of the
outputs, inputs and weights, the weights, and what is kept for backward. What an algorithm writes
and reads in between, such as the matrix of im2col, is left out: a better one could save it.

Source: Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for
multicore architectures" (2009).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from minicnn.models.summary import SHORTEST_NAME, name_and_type
from minicnn.plots import GREY, Path, finished
from minicnn.profiler.plot import plot_profile
from minicnn.profiler.profile import LayerProfile, Profile, rate
from minicnn.profiler.table import figures, percent, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Limits:
    """What a GPU reaches at its simplest work.

    Args:
        device: its name.
        bandwidth: GB/s of a large copy, read and written.
        peaks: {dtype: GFLOP/s of a large matrix product}.
        tensor_float_32: whether the products of float32 were made in TF32.
    """

    device: str
    bandwidth: float
    peaks: dict[str, float]
    tensor_float_32: bool = False

    def precision(self, dtype: str) -> str:
        """The name of a `dtype`, with how its products are made."""
        return f"{dtype} as TF32" if dtype == "float32" and self.tensor_float_32 else dtype


@dataclass(frozen=True)
class Phase:
    """Forward or backward of one layer.

    Args:
        name: "forward" or "backward".
        seconds: the GPU's time for it.
        launch_seconds: the host's time to launch it.
        least_bytes: what it has to read and write at least.
        multiply_adds: of its products.
        dtype: of what the layer is given.
        limits: what it is compared with.
    """

    name: str
    seconds: float
    launch_seconds: float
    least_bytes: int
    multiply_adds: int
    dtype: str
    limits: Limits

    @property
    def gflops(self) -> float | None:
        """GFLOP/s; None without products."""
        return rate(self.multiply_adds, self.seconds)

    @property
    def bandwidth(self) -> float | None:
        """GB/s of the bytes that it has to move; None if there are none."""
        if not (self.least_bytes and self.seconds):
            return None
        return self.least_bytes / self.seconds / 1e9

    @property
    def memory_seconds(self) -> float:
        """The least time for the bytes."""
        return self.least_bytes / (self.limits.bandwidth * 1e9)

    @property
    def product_seconds(self) -> float:
        """The least time for the products."""
        if not self.multiply_adds:
            return 0.0
        return 2 * self.multiply_adds / (self.limits.peaks[self.dtype] * 1e9)

    @property
    def least_seconds(self) -> float:
        """The least time: that at the nearer limit."""
        return max(self.memory_seconds, self.product_seconds)

    @property
    def nearer_limit(self) -> str:
        """ "memory" or "products"; empty if there is nothing to do."""
        if not self.least_seconds:
            return ""
        return "memory" if self.memory_seconds >= self.product_seconds else "products"


class DeviceProfile(Profile):
    """A profile on a GPU.

    Args:
        name, dtype, rows, images, bytes_kept, seconds_between: see `Profile`.
        limits: what each layer is compared with.
        launch_seconds: the host's time to launch the whole pass. If that is more than `seconds`,
            the GPU waits for the host.
    """

    def __init__(
        self,
        name: str,
        dtype: str,
        rows: Sequence[LayerProfile],
        images: int,
        limits: Limits,
        bytes_kept: int,
        seconds_between: float = 0.0,
        launch_seconds: float = 0.0,
    ):
        peak = limits.peaks.get(dtype, 0.0)
        super().__init__(name, dtype, rows, images, 1, peak, bytes_kept, seconds_between)
        self.limits = limits
        self.launch_seconds = launch_seconds

    def phases(self, row: LayerProfile) -> list[Phase]:
        """Forward of a layer's `row`, and backward if it has anything to do."""
        forward = Phase(
            "forward", row.forward_seconds, row.forward_launch_seconds, row.forward_bytes,
            row.forward_multiply_adds, row.dtype, self.limits,
        )  # fmt: skip
        backward = Phase(
            "backward", row.backward_seconds, row.backward_launch_seconds, row.backward_bytes,
            row.backward_multiply_adds, row.dtype, self.limits,
        )  # fmt: skip
        return [forward, backward] if backward.seconds else [forward]

    @property
    def least_seconds(self) -> float:
        """The time of the layers if each pass were at its nearer limit."""
        return sum(phase.least_seconds for row in self.rows for phase in self.phases(row))

    def peak_share(self, row: LayerProfile) -> float | None:
        """GFLOP/s of a layer's `row` as a share of the peak of its dtype; None without products."""
        return None if row.gflops is None else row.gflops / self.limits.peaks[row.dtype]

    def plot(self, path: Path | None = None, title: str | None = None) -> "Figure":
        """A bar of forward and backward time per layer, with a line where it would end if both were
        at their nearer limits, and that as a share of the bar's length.

        Args:
            path: where to write the picture.
            title: the text above; default: model, images and device.
        """
        figure = plot_profile(self, None, title or f"{self.name}: {self._where}")
        (axes,) = figure.axes
        for text in list(axes.texts):  # shares of a processor's peak
            text.remove()
        label = "at the nearer limits"
        for place, row in enumerate(self.rows):
            phases = self.phases(row)
            least = sum(phase.least_seconds for phase in phases)
            limits = dict.fromkeys(phase.nearer_limit for phase in phases if phase.nearer_limit)
            if not (limits and row.seconds):
                continue
            axes.vlines(
                1e3 * least, place - 0.42, place + 0.42, color="black", linewidth=1.2,
                label=label,
            )  # fmt: skip
            label = "_nolegend_"  # once is enough
            axes.annotate(
                f"{least / row.seconds:.0%} of {' and '.join(limits)}",
                (1e3 * max(row.seconds, least), place), xytext=(4, 0),
                textcoords="offset points", va="center", fontsize=8, color=GREY,
            )  # fmt: skip
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=9)
        return finished(figure, path)

    @property
    def _where(self) -> str:
        return f"{self.images} images, {self.limits.device}"

    def __str__(self) -> str:
        """Two lines for a layer, forward and backward; the second one names its algorithm."""
        unit, per_second = self._unit
        header = [
            ("", "Layer (type)"), ("", "Pass"), ("", unit), ("Of", "time"), ("Launch", unit),
            ("", "MB"), ("", "GB/s"), ("Of", "copy"), ("", "TFLOP/s"), ("Of", "peak"),
            ("Nearer", "limit"),
        ]  # fmt: skip
        limits, names, phases = self.limits, [], []
        for row in self.rows:
            phases += (passes := self.phases(row))
            names += [name_and_type(row.name, row.type), f"  {row.algorithm}"][: len(passes)]
        columns = [
            names,
            [phase.name for phase in phases],
            figures([per_second * phase.seconds for phase in phases], 6),
            [percent(phase.seconds / self.seconds) for phase in phases],
            figures([per_second * phase.launch_seconds for phase in phases], 6),
            figures([phase.least_bytes / 1e6 or None for phase in phases], 6, 2),
            figures([phase.bandwidth for phase in phases], 6, 0),
            [percent(p.bandwidth and p.bandwidth / limits.bandwidth) for p in phases],
            figures([phase.gflops and phase.gflops / 1e3 for phase in phases], 7, 2),
            [
                percent(phase.gflops and phase.gflops / limits.peaks[phase.dtype])
                for phase in phases
            ],
            [phase.nearer_limit for phase in phases],
        ]
        peaks = ", ".join(
            f"{limits.precision(dtype)} {peak / 1e3:,.1f} TFLOP/s"
            for dtype, peak in limits.peaks.items()
        )
        waits = "; the GPU would wait for it" if self.launch_seconds > self.seconds else ""
        below = [
            f"Time: forward {self._time(self.forward_seconds, 3)} + backward "
            f"{self._time(self.backward_seconds, 3)} + between layers "
            f"{self._time(self.seconds_between, 3)} = {self._time(self.seconds, 3)}, "
            f"{self.images / self.seconds:,.0f} images/s",
            f"The host launches the kernels one by one in {self._time(self.launch_seconds, 3)}"
            f"{waits}",
            f"Limits: copy {limits.bandwidth:,.0f} GB/s; products: {peaks or 'none'}",
            f"Every pass at its nearer limit: {self._time(self.least_seconds, 3)}",
            f"Kept for backward: {self.bytes_kept / 1e6:,.2f} MB",
        ]
        cells = [list(row) for row in zip(*columns, strict=True)]
        return table(self._title(limits.device), header, cells, (SHORTEST_NAME, 8), below)
