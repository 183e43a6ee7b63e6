"""What one forward pass leaves behind for its backward pass.

A layer keeps nothing of a call on itself. What its backward needs goes into a `Context`, so that
several shards of a batch can run through the same layer at once and a layer can stand at several
places of a model.
"""

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from minicnn.dtypes import is_half
from minicnn.layers.penalties import Penalties
from minicnn.parallel.communicator import SOLO, Communicator
from minicnn.typing import Array

if TYPE_CHECKING:
    from minicnn.layers.weight import Weight


_SOFTMAX = "softmax left out"


class Context:
    """The record of one call of one layer.

    Args:
        training: whether dropout drops, augmentation augments and batch statistics are used; None
            where nobody said, which only augmentation tells from False.
        record: whether a backward pass will follow, without which `save` keeps nothing; default:
            in training.
        rng: random generator of the active backend for this pass.
        comm: the communicator between the shards of the batch; a layer that `reduces_itself`
            (BatchNormalization) does so through it.
        needs_dx: whether anybody will read the gradient that backward returns. A layer may return
            None where this is False (the first layer of a network: a third of its work).
        wants_logits: whether a closing softmax is left out, because the loss applies it.
        observer: what makes the calls of layers instead of a `Step`, to time them (see
            `profiler.Observer`); None in normal passes.
        penalties: takes down those of activity regularizers; None where nobody asks for them.

    Attributes:
        given_dtypes: of what the layer was given before it was cast to the layer's own; None
            where it was all of that dtype.
        saved: what `save` was given.
        gradients: {weight: gradient} of this pass, shared by all layers of the pass.
        updates: {weight: new value} to be assigned after the training step (moving statistics).
    """

    __slots__ = (
        "training", "record", "rng", "comm", "needs_dx", "wants_logits", "observer",
        "penalties", "given_dtypes", "saved", "gradients", "updates", "_children", "_made",
    )  # fmt: skip

    def __init__(
        self,
        training: bool | None = False,
        record: bool | None = None,
        rng: Any = None,
        comm: Communicator = SOLO,
        needs_dx: bool = True,
        wants_logits: bool = False,
        observer: Any = None,
        penalties: Penalties | None = None,
    ):
        self.training = training
        self.record = bool(training) if record is None else record
        self.rng = rng
        self.comm = comm
        self.needs_dx = needs_dx
        self.wants_logits = wants_logits
        self.observer = observer
        self.penalties = penalties
        self.given_dtypes: list[Any] | None = None
        self.saved: tuple[Any, ...] = ()
        self.gradients: dict[Weight, Array] = {}
        self.updates: dict[Weight, Array] = {}
        self._children: dict[Hashable, Context] = {}
        self._made: dict[Hashable, Any] = {}

    def save(self, *values: Any) -> None:
        """Keep `values` for backward, which finds them in `saved`."""
        if self.record:
            self.saved = values

    def add_gradient(self, weight: "Weight", gradient: Array) -> None:
        """Add `gradient` to that of `weight`: several uses of a layer sum up. One of 16 bits is
        first cast to the weight's dtype."""
        if is_half(gradient.dtype):
            gradient = gradient.astype(weight.dtype)
        present = self.gradients.get(weight)
        self.gradients[weight] = gradient if present is None else present + gradient

    def update(self, weight: "Weight", value: Array) -> None:
        """Ask that `weight` be assigned `value` once the training step is done."""
        self.updates[weight] = value

    def leaves_out_softmax(self) -> bool:
        """Whether a closing softmax is left to the loss; asked by the layer that would apply it.

        The pass remembers the answer: a layer of your own may not ask, and give probabilities.
        """
        if self.wants_logits:
            self._made[_SOFTMAX] = True
        return self.wants_logits

    @property
    def softmax_left_out(self) -> bool:
        """Whether a closing softmax was left to the loss in this pass."""
        return _SOFTMAX in self._made

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` returns, made when it is first asked for in this pass. The weights do not
        change within a pass, so what follows from them alone need not be computed for every chunk
        of images.

        Args:
            key: names what is made; one key per thing and pass.
            make: makes it.
        """
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def child(
        self,
        key: Hashable,
        needs_dx: bool | None = None,
        wants_logits: bool = False,
        training: bool | None = None,
        comm: Communicator | None = None,
    ) -> "Context":
        """The context of an inner layer: a record of its own in the same pass.

        Args:
            key: names the inner call; the same key gives the same record while this one is kept.
            needs_dx, training, comm: see `Context`; default: as in this record.
            wants_logits: see `Context`.
        """
        inner = self._children.get(key)
        if inner is None:
            inner = Context(
                self.training if training is None else training, self.record, self.rng,
                self.comm if comm is None else comm,
                self.needs_dx if needs_dx is None else needs_dx, wants_logits, self.observer,
                self.penalties,
            )  # fmt: skip
            inner.gradients = self.gradients
            inner.updates = self.updates
            inner._made = self._made
            if self.record:
                self._children[key] = inner
        return inner

    def all_saved(self) -> list[Any]:
        """What this call and those of inner layers gave to `save`."""
        values = list(self.saved)
        for inner in self._children.values():
            values += inner.all_saved()
        return values

    def release(self, key: Hashable) -> None:
        """Forget the record of the inner call `key`; its arrays are no longer needed."""
        self._children.pop(key, None)
