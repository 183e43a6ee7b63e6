"""What a check says: an error, or a table of how well the gradients agree."""

from dataclasses import dataclass, field


class GradientCheckError(AssertionError):
    """A backward pass that is not the derivative of the forward pass, or a layer that a model could
    not run on several parts of a batch."""


@dataclass
class ArrayCheck:
    """How well the gradient with respect to one array agrees.

    Attributes:
        name: "x", "x[1]", "kernel", "bias" ...
        shape: its shape.
        error: largest relative error of the directions tried.
        coordinate: the index at which it was found; None for the random direction.
        analytic: what backward says there.
        numeric: what central differences say there.
        compared: number of directions compared.
        kinks: number of directions left out because f has no derivative along them.
    """

    name: str
    shape: tuple[int, ...]
    error: float = 0.0
    coordinate: tuple[int, ...] | None = None
    analytic: float = 0.0
    numeric: float = 0.0
    compared: int = 0
    kinks: int = 0

    @property
    def where(self) -> str:
        """`coordinate` in words."""
        if self.coordinate is None:
            return "along a random direction"
        return f"at [{', '.join(map(str, self.coordinate))}]"


@dataclass
class GradientCheck:
    """The result of `gradcheck`; printed, it is a table with a line per array.

    Attributes:
        target: name of what was checked.
        tolerance: largest relative error allowed.
        arrays: the result for each array.
    """

    target: str
    tolerance: float
    arrays: list[ArrayCheck] = field(default_factory=list)

    @property
    def max_error(self) -> float:
        """Largest relative error over all arrays."""
        return max((a.error for a in self.arrays), default=0.0)

    def __str__(self) -> str:
        rows = [("array", "shape", "compared", "relative error")]
        rows += [(a.name, str(a.shape), str(a.compared), f"{a.error:.1e}") for a in self.arrays]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            f"  {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}"
            f"  {row[3]:>{widths[3]}}"
            for row in rows
        ]
        return "\n".join([f"gradients of {self.target} (tolerance {self.tolerance:.0e})", *lines])
