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
from minicnn.optimizers.averages import average_weights
from minicnn.optimizers.learning_rate import LearningRate
from minicnn.optimizers.on_device import rates_of, step_on_device
from minicnn.optimizers.on_host import step_on_host
from minicnn.optimizers.schedules import LearningRateSchedule
from minicnn.optimizers.schedules import deserialize as deserialize_schedule
from minicnn.optimizers.schedules import serialize as serialize_schedule
from minicnn.optimizers.state import read_state, state_arrays
from minicnn.optimizers.variables import StateVariable, by_weight, variables_of
from minicnn.registry import Configurable, Registry, checked_name, serialize_object
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
        learning_rate: a float of 0 or above, a `schedules.LearningRateSchedule`, or a function
            without arguments that gives it before each step.
        weight_decay: before each optimizer step, weights shrink by the factor
            1 - weight_decay · learning_rate ("decoupled" decay: Loshchilov, Hutter 2017,
            arXiv:1711.05101). None: they do not.
        clipnorm: longest Euclidean norm of the gradient of one weight; longer ones are scaled.
        clipvalue: largest magnitude of any element of a gradient.
        global_clipnorm: longest norm of all gradients taken together.
        use_ema: keep an average of each weight over the steps, average ← ema_momentum · average +
            (1 - ema_momentum) · w; at the end of `fit` it takes the weight's place.
        ema_momentum: how slowly these averages forget; from 0 to 1.
        ema_overwrite_frequency: after every so many steps, too, an average takes the weight's
            place; None: only at the end.
        loss_scale_factor: gradients are computed so many times too large, and divided by it here.
            `LossScaleOptimizer` finds such a factor by itself.
        gradient_accumulation_steps: the weights move once for so many batches, along the mean of
            their gradients; 2 or above, or None for every batch.
        name: default: "adam", "sgd" ...
        unknown: anything else is an error.

    Attributes:
        batches: gradients taken so far. Schedules follow them.
        built: whether there are arrays beside weights.

    Raises:
        TypeError: an unknown argument.
        ValueError: a value out of range, more than one way of clipping, or a name that is no
            string or has a "/", which Keras refuses.
    """

    paired_slots = 2  # so many of the first `slots` stand weight by weight in Keras's files

    def __init__(
        self,
        learning_rate: Any = 0.001,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **unknown: Any,
    ):
        arguments.check_unknown(self, unknown)
        arguments.check_limits(clipnorm, clipvalue, global_clipnorm, weight_decay)
        arguments.check_averaging(use_ema, ema_momentum, ema_overwrite_frequency)
        arguments.check_accumulation(gradient_accumulation_steps, loss_scale_factor)
        self._learning_rate = arguments.checked_learning_rate(learning_rate)
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.use_ema = use_ema
        self.ema_momentum = ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor = loss_scale_factor
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.name = checked_name(self, name, slash=False) or type(self).__name__.lower()
        self.batches = 0
        self._arenas: list[Arena] = []  # of weights on a GPU; no weight lies in two
        self._slots: dict[Any, dict[str, Array]] = {}
        self._undecayed: set[Any] = set()
        self._undecayed_names: re.Pattern[str] | None = None

    # What an optimizer defines

    def slots(self) -> tuple[str, ...]:
        """Names of the arrays kept beside each weight for `update`."""
        return ()

    def first_value(self, slot: str) -> float:
        """What all elements of the `slot` are before the first step."""
        return 0.0

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
            learning_rate: the `step_size` of this step. The library's own optimizers are given a
                rate of `minicnn.kernels.optimizers` where it lies on a GPU.
            scratch: an array to calculate in; None where the library's kernels need none.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define update")

    def step_size(self, learning_rate: float) -> float | tuple[float, ...]:
        """The factor, or factors, of the step numbered `iterations` + 1, from the
        `learning_rate`."""
        return learning_rate

    def derived_state(self) -> dict[str, float]:
        """Numbers that Keras keeps in its files, but that follow from `iterations`."""
        return {}

    # What training uses

    @property
    def iterations(self) -> int:
        """Optimizer steps taken so far."""
        return self.batches // (self.gradient_accumulation_steps or 1)

    @iterations.setter
    def iterations(self, value: int) -> None:
        self.batches = value * (self.gradient_accumulation_steps or 1)

    @property
    def learning_rate(self) -> Any:
        """The rate of the next optimizer step, a `LearningRate`."""
        return LearningRate(self)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        scheduled = isinstance(self._learning_rate, LearningRateSchedule)
        if scheduled and not callable(value):
            raise TypeError(
                f"the learning rate of this {type(self).__name__} follows a "
                f"{type(self._learning_rate).__name__} and cannot be set to {value!r}; give the "
                "optimizer a float as learning_rate, or assign another schedule"
            )
        self._learning_rate = arguments.checked_learning_rate(value)

    def _rate_now(self) -> float:
        """`learning_rate` as a float."""
        if callable(self._learning_rate):
            return arguments.scheduled_rate(self._learning_rate, self.batches)
        return self._learning_rate

    @property
    def lr(self) -> Any:
        """`learning_rate`, as older scripts call it."""
        return self.learning_rate

    @lr.setter
    def lr(self, value: Any) -> None:
        self.learning_rate = value

    @property
    def loss_scale(self) -> Any:
        """What the gradients of the next step have to be multiplied by; None for nothing."""
        return self.loss_scale_factor

    def scale_loss(self, loss: Any) -> Any:
        """The `loss`, multiplied by `loss_scale`."""
        return loss if self.loss_scale is None else loss * self.loss_scale

    def build(self, var_list: Iterable[Any]) -> None:
        """Make the arrays kept beside the weights of `var_list`; without it, the first step does.

        Args:
            var_list: weights, such as `model.trainable_weights`.
        """
        for weight in var_list:
            self._slots_of(weight)

    @property
    def built(self) -> bool:
        """Whether there are arrays beside weights."""
        return bool(self._slots)

    @property
    def variables(self) -> list[StateVariable]:
        """All that the optimizer keeps, each with `name`, `numpy()` and `assign(value)`."""
        return variables_of(self)

    def set_weights(self, weights: Iterable[Any]) -> None:
        """Assign arrays to all `variables`, in their order.

        Args:
            weights: as many arrays, of their shapes.

        Raises:
            ValueError: another number of arrays, or another shape.
        """
        for variable, value in zip(self.variables, weights, strict=True):
            variable.assign(value)

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> int:
        """One optimizer step; returns `iterations`.

        Args:
            grads_and_vars: pairs of gradient and weight.
        """
        gradients, weights = zip(*grads_and_vars, strict=True)
        self.apply(gradients, weights)
        return self.iterations

    def apply(
        self,
        gradients: Any,
        trainable_variables: Iterable[Any] | None = None,
        *,
        scale: Array | None = None,
    ) -> Array | bool:
        """One optimizer step, in place on the `value` of each weight.

        Args:
            gradients: {weight: gradient}, or a list in the order of `trainable_variables`.
            trainable_variables: weights; default: those that `build` was given, or the first step.
            scale: what the gradients were multiplied by, see `LossScaleOptimizer`: they are divided
                by it, and where one of them is infinite or NaN, weights and slots stay as they are.
                `iterations` counts the step all the same.

        Returns:
            Whether weights and slots changed; on a device a 0-d array, which the host does not look
            at.
        """
        if not isinstance(gradients, Mapping):
            gradients = by_weight(self, gradients, trainable_variables)
        first = next(iter(gradients), None)  # one library holds all weights of a step
        on_device = first is not None and array_module(first.value) is not np
        step = step_on_device if on_device else step_on_host
        taken = step(self, gradients, scale)
        if self.use_ema and gradients:
            average_weights(self, gradients)
        self.batches += 1
        return taken

    def _kept_average(self) -> float:
        """How much of the averages of weights the next step leaves; nothing at the first."""
        return self.ema_momentum if self.iterations else 0.0

    def average_of(self, weight: Any) -> Array | None:
        """The average of a `weight` over the steps; None without `use_ema` or a step."""
        return self._slots.get(weight, {}).get("average")

    def finalize_variable_values(self, var_list: Iterable[Any]) -> None:
        """With `use_ema`, put the averages of the weights of `var_list` in their place."""
        for weight in var_list:
            average = self.average_of(weight)
            if average is not None:
                weight.value[...] = average

    def set_rates(self) -> None:
        """Write the rates of the next optimizer step to the device, as `apply` would do: before the
        replay of a training step that has been captured."""
        for arena in self._arenas:
            arena.set_rates(*rates_of(self))

    def is_settled(self) -> bool:
        """Copy in what weights on a device have been assigned. False where that cannot be done, so
        that the next step will have to make new arenas, and where not all steps are alike."""
        if self.gradient_accumulation_steps or (self.use_ema and self.ema_overwrite_frequency):
            return False
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

    def slot_groups(self) -> list[tuple[str, ...]]:
        """The names of all arrays kept beside each weight, as Keras orders them: the arrays of a
        group stand together weight by weight, the next group begins after the last weight."""
        own, paired = self.slots(), self.paired_slots
        names = ["average"] if self.use_ema else []
        names += ["gradient_accumulator"] if self.gradient_accumulation_steps else []
        return [*((name,) for name in names), own[:paired], *((name,) for name in own[paired:])]

    def all_slots(self) -> tuple[str, ...]:
        """The names of `slot_groups`, one after the other."""
        return sum(self.slot_groups(), ())

    def _slots_of(self, weight: Any) -> dict[str, Array]:
        """{name: array} of `weight`; before its first step its average is the weight itself."""
        if weight not in self._slots:
            full_like, own = array_module(weight.value).full_like, self.slots()
            self._slots[weight] = {
                name: weight.value.copy()
                if name == "average"
                else full_like(weight.value, self.first_value(name) if name in own else 0.0)
                for name in self.all_slots()
            }
        return self._slots[weight]

    def __getstate__(self) -> dict[str, Any]:
        """All but the arenas, for copies and files: a view comes back as an array of its own, so
        the next step there has to make new ones."""
        return {**vars(self), "_arenas": []}

    # Configuration and state

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        rate = vars(self).get("_learning_rate")  # not before the end of the constructor
        if rate is not None:
            scheduled = isinstance(rate, LearningRateSchedule)
            config["learning_rate"] = serialize_schedule(rate) if scheduled else rate
        return config

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, type] | None = None
    ) -> Any:
        config = dict(config)
        if isinstance(config.get("learning_rate"), dict):
            config["learning_rate"] = deserialize_schedule(config["learning_rate"], custom_objects)
        return cls(**config)

    def state_arrays(self, keys: Mapping[Any, str]) -> dict[str, np.ndarray]:
        """All that a saved run needs to go on: "iterations", which counts `batches`, and
        "<slot>/<key of the weight>".

        Args:
            keys: {weight: its key}.
        """
        return state_arrays(self.batches, self._slots, keys)

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
        self.batches, self._slots = read_state(owner, self.all_slots(), arrays, keys)
        self._arenas = []


def get(identifier: Any) -> Optimizer:
    """`identifier`, a name, a configuration or an instance, as an optimizer."""
    return OPTIMIZERS.get(identifier)


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """An `optimizer` as a configuration, for `deserialize`."""
    return serialize_object(optimizer, "keras.optimizers")


def deserialize(config: Any, custom_objects: dict[str, type] | None = None) -> Optimizer:
    """An optimizer from what `serialize` returned.

    Args:
        config: that; a name will do.
        custom_objects: your own classes by name, of schedules too.
    """
    return OPTIMIZERS.deserialize(config, custom_objects)
