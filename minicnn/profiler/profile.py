"""What `model.profile` returns: a row per layer, the table, the picture.

How to read a figure in GFLOP/s: a layer of M multiply-adds per image does 2 M floating-point
operations per image, and N images give 2 M N / seconds / 1e9 GFLOP/s. The most that the machine can
do is the rate of one large matrix product, measured in the same run (`clocks.product_peak`). An
algorithm that needs fewer multiplications than the definition of a convolution (Winograd) can be
above that peak, because the operations counted are those of the definition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from minicnn.models.summary import SHORTEST_NAME, name_and_type
from minicnn.plots import Path
from minicnn.profiler.plot import plot_profile
from minicnn.profiler.table import figures, percent, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LayerProfile:
    """What one layer takes in a forward and backward pass.

    Args:
        name: of the layer, with the models around it in front: "encoder/conv2d".
        type: its class.
        output_shape: as text, n for the batch.
        algorithm: how its products are computed; empty if there is no choice.
        forward_seconds, backward_seconds: for the batch; the mean over the threads.
        forward_multiply_adds, backward_multiply_adds: for the batch. Backward takes as many as
            forward for the gradient of the weights, and as many for that of the input; each only
            if somebody needs it.
        bytes_kept: what the layer's forward pass leaves in memory for its backward pass.
        multiply_adds_made: what the layer's algorithm makes of them, forward and backward; Winograd
            makes fewer.
        dtype: of what the layer is given.
        forward_bytes, backward_bytes: on a GPU, what the layer has to read and write at least, see
            `profiler.Observer`; 0 if it only hands on what it is given.
        forward_launch_seconds, backward_launch_seconds: the host's time for it; on a GPU that of
            launching kernels, while others run there.
    """

    name: str
    type: str
    output_shape: str
    algorithm: str
    forward_seconds: float
    backward_seconds: float
    forward_multiply_adds: int
    backward_multiply_adds: int
    bytes_kept: int
    multiply_adds_made: float
    dtype: str = "float32"
    forward_bytes: int = 0
    backward_bytes: int = 0
    forward_launch_seconds: float = 0.0
    backward_launch_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """Forward and backward together."""
        return self.forward_seconds + self.backward_seconds

    @property
    def multiply_adds(self) -> int:
        """Forward and backward together."""
        return self.forward_multiply_adds + self.backward_multiply_adds

    @property
    def forward_gflops(self) -> float | None:
        """GFLOP/s of forward; None without products."""
        return rate(self.forward_multiply_adds, self.forward_seconds)

    @property
    def backward_gflops(self) -> float | None:
        """GFLOP/s of backward; None without products."""
        return rate(self.backward_multiply_adds, self.backward_seconds)

    @property
    def gflops(self) -> float | None:
        """GFLOP/s of forward and backward together; None without products."""
        return rate(self.multiply_adds, self.seconds)


class Profile:
    """What `model.profile` returns; as a string it is the table.

    Args:
        name, dtype: of the model.
        rows: a `LayerProfile` per layer call, in the order of the forward pass.
        images: images in the batch.
        threads: threads that ran it.
        peak: GFLOP/s of a large matrix product on as many threads.
        bytes_kept: memory for what all layers keep for backward. An array that two layers keep (the
            output of one, the input of the next) counts once, so this may be less than the sum of
            the rows.
        seconds_between: time of the pass outside the layers, such as for summing the gradients of
            branches.
    """

    def __init__(
        self,
        name: str,
        dtype: str,
        rows: Sequence[LayerProfile],
        images: int,
        threads: int,
        peak: float,
        bytes_kept: int,
        seconds_between: float = 0.0,
    ):
        self.name = name
        self.dtype = dtype
        self.rows = list(rows)
        self.images = images
        self.threads = threads
        self.peak = peak
        self.bytes_kept = bytes_kept
        self.seconds_between = seconds_between

    @property
    def forward_seconds(self) -> float:
        """Forward, all layers."""
        return sum(row.forward_seconds for row in self.rows)

    @property
    def backward_seconds(self) -> float:
        """Backward, all layers."""
        return sum(row.backward_seconds for row in self.rows)

    @property
    def seconds(self) -> float:
        """The whole pass: the layers, and what is between them."""
        return self.forward_seconds + self.backward_seconds + self.seconds_between

    @property
    def multiply_adds(self) -> int:
        """Forward and backward, all layers."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def gflops(self) -> float | None:
        """GFLOP/s of the whole pass; its time includes the layers without products."""
        return rate(self.multiply_adds, self.seconds)

    @property
    def seconds_at_peak(self) -> float:
        """The time of the pass if its algorithms made their products at `peak`, and all else took
        no time."""
        return 2 * sum(row.multiply_adds_made for row in self.rows) / (self.peak * 1e9)

    def peak_share(self, row: LayerProfile) -> float | None:
        """GFLOP/s of a layer's `row` as a share of `peak`; None without products."""
        return None if row.gflops is None else row.gflops / self.peak

    def plot(self, path: Path | None = None, title: str | None = None) -> "Figure":
        """A bar of forward and backward time per layer.

        Args:
            path, title: see `profiler.plot_profile`.
        """
        return plot_profile(self, path, title)

    @property
    def _unit(self) -> tuple[str, float]:
        """The unit of times, and how many of it are a second."""
        return ("s", 1.0) if self.seconds >= 10 else ("ms", 1e3)

    def _time(self, seconds: float, decimals: int = 2) -> str:
        """A time below the table."""
        unit, per_second = self._unit
        return f"{per_second * seconds:,.{decimals}f} {unit}"

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        unit, per_second = self._unit
        header = [
            ("", "Layer (type)"), ("", "Output shape"), ("", "Algorithm"),
            ("Forward", unit), ("Forward", "GFLOP/s"), ("Backward", unit), ("Backward", "GFLOP/s"),
            ("Of", "time"), ("Of", "peak"), ("Kept", "MB"),
        ]  # fmt: skip
        rows, layers = self.rows, len(self.rows)
        times = figures(  # together, so that they can be compared
            [per_second * row.forward_seconds for row in rows]
            + [per_second * row.backward_seconds for row in rows],
            5,
        )
        columns = [
            [name_and_type(row.name, row.type) for row in rows],
            [row.output_shape for row in rows],
            [row.algorithm for row in rows],
            times[:layers],
            figures([row.forward_gflops for row in rows], 7, 1),
            times[layers:],
            figures([row.backward_gflops for row in rows], 7, 1),
            [percent(row.seconds / self.seconds) for row in rows],
            [percent(self.peak_share(row)) for row in rows],
            figures([row.bytes_kept / 1e6 for row in rows], 6, 2),
        ]
        below = [
            f"Time: forward {self._time(self.forward_seconds)} + backward "
            f"{self._time(self.backward_seconds)} + between layers "
            f"{self._time(self.seconds_between)} = {self._time(self.seconds)}, "
            f"{self.images / self.seconds:,.0f} images/s",
            f"Rate: {self.gflops or 0:,.1f} GFLOP/s; peak of a {self.dtype} matrix product on "
            f"{threads}: {self.peak:,.1f} GFLOP/s",
            f"Products of the algorithms at that peak, and nothing else: "
            f"{self._time(self.seconds_at_peak)}",
            f"Kept for backward: {self.bytes_kept / 1e6:,.2f} MB",
        ]
        cells = [list(row) for row in zip(*columns, strict=True)]
        return table(self._title(threads), header, cells, (SHORTEST_NAME, 19, 9), below)

    def _title(self, where: str) -> str:
        """The line above the table, with `where` the pass ran."""
        return f"Profile of {self.name!r}: forward and backward of {self.images} images, {where}"


def rate(multiply_adds: int, seconds: float) -> float | None:
    """GFLOP/s of so many `multiply_adds` in so many `seconds`; None if either is 0."""
    return 2 * multiply_adds / seconds / 1e9 if multiply_adds and seconds else None
