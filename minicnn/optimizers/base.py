"""`Optimizer`: what all optimizers share, the learning rate, clipping, weight decay and state.

The formulas of the library's optimizers are Keras 3's; they are kernels, in
`minicnn.kernels.optimizers`. How a step goes over the weights is in `on_host` and `on_device`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from minicnn.backend import array_module
from minicnn.optimizers import arguments
from minicnn.optimizers.arena import Arena
from minicnn.optimizers.on_device import rates_of, step_on_device
from minicnn.optimizers.on_host import step_on_host
from minicnn.optimizers.schedules import SCHEDULES, LearningRateSchedule
from minicnn.optimizers.state import read_state, state_arrays
from minicnn.registry import Configurable, Registry, checked_name, serialize
from minicnn.typing import Array

OPTIMIZERS = Registry("optimizer")


class Optimizer(Configurable):
    """Base class. Your own defines `update`, and `slots` if it keeps something beside the weights:

        class SignMomentum(Optimizer):
            def slots(self):
                return ("momentum",)

            def update(self, w, g, slots, learning_rate, scratch):
                m = slots["momentum"]
                w -= learning_rate * array_module(g).sign(0.9 * m + 0.1 * g)
                m += 0.01 * (g - m)

    Args:
        learning_rate: a float of 0 or above, or a `schedules.LearningRateSchedule`.
        weight_decay: before each optimizer step, weights shrink by the factor
            1 - weight_decay · learning_rate ("decoupled" decay: Loshchilov, Hutter 2017,
            arXiv:1711.05101). None: they do not.
        clipnorm: longest Euclidean norm of the gradient of one weight; longer ones are scaled.
        clipvalue: largest magnitude of any element of a gradient.
        global_clipnorm: longest norm of all gradients taken together.
        name: default: "adam", "sgd" ...
        unknown: anything else is an error.

    Attributes:
        iterations: optimizer steps taken so far.
        loss_scale: what the gradients of the next step have to be multiplied by; None for nothing.

    Raises:
        TypeError: an unknown argument.
        ValueError: a value out of range, more than one way of clipping, or a name that is no
            string or has a "/", which Keras refuses.
    """

    loss_scale: Any = None

    def __init__(
        self,
        learning_rate: Any = 0.001,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        **unknown: Any,
    ):
        if unknown:
            raise arguments.unknown_argument(self, next(iter(unknown)))
        arguments.check_limits(clipnorm, clipvalue, global_clipnorm, weight_decay)
        self._learning_rate = arguments.checked_learning_rate(learning_rate)
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.name = checked_name(self, name, slash=False) or type(self).__name__.lower()
        self.iterations = 0
        self._arenas: list[Arena] = []  # of weights on a GPU; no weight lies in two
        self._slots: dict[Any, dict[str, Array]] = {}
        self._undecayed: set[Any] = set()
        self._undecayed_names: re.Pattern[str] | None = None

    # What an optimizer defines

    def slots(self) -> tuple[str, ...]:
        """Names of the arrays kept beside each weight, zero at first."""
        return ()

    def update(
        self, w: Array, g: Array, slots: dict[str, Array], learning_rate: Any, scratch: Any
    ) -> None:
        """One optimizer step in place on a piece of a weight, or (on a GPU) on many weights in a
        row; so nothing may depend on which elements come together.

        All arrays have w's shape and dtype.

        Args:
            w: the weights, changed in place; 1-D.
            g: their gradient, not to be changed.
            slots: {name: array}, changed in place.
            learning_rate: the `step_size` of this step. A float; the library's own optimizers are
                given a rate of `minicnn.kernels.optimizers` where it lies on a GPU.
            scratch: an array to calculate in; None where the library's kernels need none.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define update")

    def step_size(self, learning_rate: float) -> float:
        """The factor of the step numbered `iterations` + 1, from the `learning_rate`."""
        return learning_rate

    # What training uses

    @property
    def learning_rate(self) -> float:
        """The rate of the next optimizer step."""
        if isinstance(self._learning_rate, LearningRateSchedule):
            return arguments.scheduled_rate(self._learning_rate, self.iterations)
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        scheduled = isinstance(self._learning_rate, LearningRateSchedule)
        if scheduled and not isinstance(value, LearningRateSchedule):
            raise TypeError(
                f"the learning rate of this {type(self).__name__} follows a "
                f"{type(self._learning_rate).__name__} and cannot be set to {value!r}; give the "
                "optimizer a float as learning_rate, or assign another schedule"
            )
        self._learning_rate = arguments.checked_learning_rate(value)

    @property
    def lr(self) -> float:
        """`learning_rate`, as older scripts call it."""
        return self.learning_rate

    @lr.setter
    def lr(self, value: Any) -> None:
        self.learning_rate = value

    def apply(self, gradients: Mapping[Any, Array], scale: Array | None = None) -> Array | bool:
        """One optimizer step, in place on the `value` of each weight.

        Args:
            gradients: {weight: gradient}.
            scale: what the gradients were multiplied by, see `LossScaleOptimizer`: they are divided
                by it, and where one of them is infinite or NaN, weights and slots stay as they are.
                `iterations` counts the step all the same.

        Returns:
            Whether weights and slots changed; on a device a 0-d array, which the host does not look
            at.
        """
        first = next(iter(gradients), None)  # one library holds all weights of a step
        on_device = first is not None and array_module(first.value) is not np
        step = step_on_device if on_device else step_on_host
        taken = step(self, gradients, scale)
        self.iterations += 1
        return taken

    def set_rates(self) -> None:
        """Write the rates of the next optimizer step to the device, as `apply` would do: before the
        replay of a training step that has been captured."""
        for arena in self._arenas:
            arena.set_rates(*rates_of(self))

    def is_settled(self) -> bool:
        """Copy in what weights on a device have been assigned. False where that cannot be done, so
        that the next step will have to make new arenas."""
        return all(arena.take_in() for arena in self._arenas)

    def exclude_from_weight_decay(
        self, var_list: Iterable[Any] | None = None, var_names: str | Iterable[str] | None = None
    ) -> None:
        """Leave weights out of weight decay. Replaces what an earlier call said.

        Args:
            var_list: weights.
            var_names: regular expressions, one of which is found in a name, such as "bias"; or one
                of them.
        """
        self._undecayed = set(var_list or ())
        names = [var_names] if isinstance(var_names, str) else list(var_names or ())
        self._undecayed_names = re.compile("|".join(names)) if names else None

    def _decays(self, weight: Any) -> bool:
        """Whether `weight` shrinks before each step."""
        return bool(self.weight_decay) and not (
            weight in self._undecayed
            or (self._undecayed_names and self._undecayed_names.search(weight.name))
        )

    def _slots_of(self, weight: Any) -> dict[str, Array]:
        """{name: array} of `weight`, zero before its first step."""
        if weight not in self._slots:
            zeros_like = array_module(weight.value).zeros_like
            self._slots[weight] = {name: zeros_like(weight.value) for name in self.slots()}
        return self._slots[weight]

    def __getstate__(self) -> dict[str, Any]:
        """All but the arenas, for copies and files: a view comes back as an array of its own, so
        the next step there has to make new ones."""
        return {**vars(self), "_arenas": []}

    # Configuration and state

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if "_learning_rate" in vars(self):
            config["learning_rate"] = serialize(self._learning_rate)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        config = dict(config)
        if isinstance(config.get("learning_rate"), dict):
            config["learning_rate"] = SCHEDULES.get(config["learning_rate"])
        return cls(**config)

    def state_arrays(self, keys: Mapping[Any, str]) -> dict[str, np.ndarray]:
        """All that a saved run needs to go on: "iterations" and "<slot>/<key of the weight>".

        Args:
            keys: {weight: its key}.
        """
        return state_arrays(self.iterations, self._slots, keys)

    def load_state_arrays(self, arrays: Mapping[str, Any], keys: Mapping[Any, str]) -> None:
        """Take over what `state_arrays` returned; weights without an entry start from zero.

        Args:
            arrays: that.
            keys: {weight: its key}.

        Raises:
            ValueError: no "iterations", a wrong shape, or some but not all slots of a weight;
                nothing is taken over then.
        """
        owner = type(self).__name__
        self.iterations, self._slots = read_state(owner, self.slots(), arrays, keys)
        self._arenas = []


def get(identifier: Any) -> Optimizer:
    """`identifier`, a name, a configuration or an instance, as an optimizer."""
    return OPTIMIZERS.get(identifier)
