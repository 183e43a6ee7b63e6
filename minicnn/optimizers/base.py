"""What optimizers share: the learning rate, clipping, weight decay, the walk over the weights.

An optimizer defines `slots` and `update`; the formulas of all of them are Keras 3's. Those of this
package have a version for NVIDIA GPUs, `update_on_cuda`, beside each `update`.

What changes from step to step is calculated on the host and reaches a GPU through `Arena.rates`, so
that a step can be captured as a CUDA graph, which replays all else as it was.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.backend import array_module
from minicnn.dtypes import overflows_expected
from minicnn.kernels import device
from minicnn.kernels.cuda.optimizers import Step as CudaStep
from minicnn.optimizers.arena import Arena
from minicnn.optimizers.schedules import SCHEDULES, LearningRateSchedule
from minicnn.parallel.threads import split_work
from minicnn.registry import Configurable, Registry, near_matches, serialize

OPTIMIZERS = Registry("optimizer")

# On the CPU an update runs over this many numbers at a time, so that the ten or so passes of a
# formula find weight, gradient and slots in the cache and read main memory once. With a quarter of
# it two threads are no faster than one: passes of 5 microseconds leave them waiting for Python's
# interpreter lock.
BLOCK = 131072

# Averages of a gradient that has become 0 (a dead ReLU) decay into denormal numbers, which many
# processors handle a hundred times as slowly. Below this they count as 0, looked at now and then.
# GPUs are as fast with denormals as with other numbers.
_TINY = 1e-30
_FLUSH_EVERY = 100


class Optimizer(Configurable):
    """Base class. One of your own defines `slots` and `update`.

    Args:
        learning_rate: a float of 0 or above, or a `schedules.LearningRateSchedule`.
        weight_decay: before each step, weights shrink by the factor
            1 - weight_decay · learning_rate ("decoupled" decay: Loshchilov, Hutter 2017,
            arXiv:1711.05101). None: they do not.
        clipnorm: longest Euclidean norm of the gradient of one weight; longer ones are scaled.
        clipvalue: largest magnitude of any number in a gradient.
        global_clipnorm: longest norm of all gradients taken together.
        name: "adam", "sgd" ... where not given.

    Attributes:
        iterations: steps taken so far.
        loss_scale: what the gradients of the next step have to be multiplied by; None for nothing.

    Raises:
        TypeError: an unknown argument.
        ValueError: a value out of range, or more than one way of clipping.
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
            argument = next(iter(unknown))
            known = [k for k in self.get_config() if k != argument] + list(_COMMON)
            hint = _OLD_ARGUMENTS.get(argument) or near_matches(argument, dict.fromkeys(known))
            raise TypeError(f"{type(self).__name__} has no argument {argument!r}; {hint}")
        clips = {
            "clipnorm": clipnorm,
            "clipvalue": clipvalue,
            "global_clipnorm": global_clipnorm,
        }
        given = {k: v for k, v in clips.items() if v is not None}
        if len(given) > 1:
            raise ValueError(f"give one of clipnorm, clipvalue and global_clipnorm; got {given}")
        for key, value in given.items():
            if not value > 0:
                raise ValueError(f"{key} must be above 0, or None; got {value!r}")
        if weight_decay is not None and not weight_decay >= 0:
            raise ValueError(f"weight_decay must be 0 or above, or None; got {weight_decay!r}")
        self._learning_rate = _checked_learning_rate(learning_rate)
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.name = name or type(self).__name__.lower()
        self.iterations = 0
        self._slots: dict[Any, dict[str, Any]] = {}
        self._arenas: list[Arena] = []  # of weights on a GPU; no weight lies in two
        self._undecayed: set[Any] = set()
        self._undecayed_names: re.Pattern[str] | None = None

    # What an optimizer defines

    def slots(self) -> tuple[str, ...]:
        """Names of the arrays kept beside each weight, zero at first."""
        return ()

    def update(
        self, w: Any, g: Any, slots: dict[str, Any], learning_rate: float, scratch: Any
    ) -> None:
        """One step in place on a piece of a weight, or (on a GPU) on many weights in a row; so
        nothing may depend on which numbers come together.

        Args:
            w: the weights, changed in place; 1-D.
            g: their gradient, not to be changed.
            slots: {name: array}, changed in place.
            learning_rate: for this step, the one numbered `iterations` + 1. Only where the class
                has an `update_on_cuda` beside it, this may be an array (1,) on a GPU, which holds
                the `step_size` instead.
            scratch: an array to calculate in.
        All arrays have w's shape and dtype.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define update")

    def step_size(self, learning_rate: float) -> float:
        """The factor of the step numbered `iterations` + 1: the one number in `update_on_cuda` that
        changes from step to step."""
        return learning_rate

    def update_on_cuda(self, step: CudaStep, slots: dict[str, Any]) -> None:
        """`update` of all weights of a dtype, and weight decay before it, in one kernel."""
        raise NotImplementedError(f"{type(self).__name__} does not define update_on_cuda")

    # What training uses

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        if isinstance(self._learning_rate, LearningRateSchedule):
            return float(self._learning_rate(self.iterations))
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
        self._learning_rate = _checked_learning_rate(value)

    @property
    def lr(self) -> float:
        """`learning_rate`, as older scripts call it."""
        return self.learning_rate

    @lr.setter
    def lr(self, value: Any) -> None:
        self.learning_rate = value

    def apply(self, gradients: Mapping[Any, Any], scale: Any = None) -> Any:
        """One step, in place on the `value` of each weight.

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
        if first is not None and array_module(first.value) is not np:
            taken = self._step_on_device(gradients, scale)
        else:
            taken = self._step_on_host(gradients, scale)
        self.iterations += 1
        return taken

    def set_rates(self) -> None:
        """Write the rates of the next step to the device, as `apply` would do: before the replay
        of a step that has been captured."""
        for arena in self._arenas:
            arena.set_rates(*self._rates())

    def is_settled(self) -> bool:
        """Copy in what weights on a device have been assigned. False where that cannot be done, so
        that the next step will have to make new arenas."""
        return all(arena.take_in() for arena in self._arenas)

    def _rates(self) -> tuple[float, float]:
        """The factor of the next step, and that of the weights that decay before it."""
        rate = self.learning_rate
        return self.step_size(rate), 1.0 - rate * (self.weight_decay or 0.0)

    def exclude_from_weight_decay(
        self, var_list: Iterable[Any] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Leave weights out of weight decay: those in `var_list`, and those in whose name (such
        as "bias" or "gamma") one of `var_names` occurs. Replaces what an earlier call said."""
        self._undecayed = set(var_list or ())
        names = list(var_names or ())
        self._undecayed_names = re.compile("|".join(names)) if names else None

    def _decays(self, weight: Any) -> bool:
        return weight not in self._undecayed and not (
            self._undecayed_names and self._undecayed_names.search(weight.name)
        )

    def _slots_of(self, weight: Any) -> dict[str, Any]:
        """{name: array} of a weight, zero before its first step."""
        if weight not in self._slots:
            zeros_like = array_module(weight.value).zeros_like
            self._slots[weight] = {name: zeros_like(weight.value) for name in self.slots()}
        return self._slots[weight]

    def _step_on_host(self, gradients: Mapping[Any, Any], scale: Any) -> bool:
        if scale is not None:
            gradients, finite = _unscaled(gradients, scale)
            if not finite:
                return False
        rate = self.learning_rate
        flush = self.iterations % _FLUSH_EVERY == _FLUSH_EVERY - 1
        for weight, gradient in self._clipped(gradients).items():
            self._step(weight, gradient, rate)
            if flush:
                for slot in self._slots[weight].values():
                    slot *= np.abs(slot) > _TINY
        return True

    def _step(self, weight: Any, gradient: Any, rate: float) -> None:
        """One weight's step, block by block, on several threads where it is large."""
        if not weight.value.flags.c_contiguous:
            weight.value = np.ascontiguousarray(weight.value)
        w = weight.value.reshape(-1)
        g = gradient.astype(w.dtype, copy=False).reshape(-1)
        slots = {name: slot.reshape(-1) for name, slot in self._slots_of(weight).items()}
        block = max(1, min(BLOCK, w.size))
        decay = rate * self.weight_decay if self.weight_decay and self._decays(weight) else 0.0

        def step(span: slice) -> None:
            scratch = np.empty(block, w.dtype)
            for start in range(span.start, span.stop, block):
                piece = slice(start, min(start + block, span.stop))
                part = w[piece]
                if decay:
                    part *= 1.0 - decay
                pieces = {name: slot[piece] for name, slot in slots.items()}
                self.update(part, g[piece], pieces, rate, scratch[: part.size])

        split_work(w.size, step)

    def _step_on_device(self, gradients: Mapping[Any, Any], scale: Any) -> Any:
        """The step of all weights of a dtype at once, in their arena."""
        rates = self._rates()
        flat: Mapping[Arena, Any] = {
            arena: arena.gather([gradients[weight] for weight in arena.weights])
            for arena in self._arenas_of(gradients)
        }
        apply_if = None
        if scale is not None:
            flat, apply_if = _unscaled(flat, scale)
        with overflows_expected(scale is not None):
            flat = self._clipped_in_arenas(flat)
        for arena, g in flat.items():
            arena.set_rates(*rates)
            if self._updates_on_cuda and device.on_cuda(g):
                decaying = arena.decaying.size
                step = CudaStep(arena.w, g, arena.rates, decaying, apply_if)
                self.update_on_cuda(step, arena.slots)
            else:
                self._update_arena(arena, g, apply_if)
        return True if apply_if is None else apply_if

    def _update_arena(self, arena: Arena, g: Any, apply_if: Any) -> None:
        """What `update_on_cuda` does, by `update`."""
        xp = array_module(g)
        changing = [arena.w, *arena.slots.values()]
        before = [] if apply_if is None else [array.copy() for array in changing]
        if arena.decaying.size:
            arena.decaying *= arena.rates[1:]
        rate = arena.rates[:1] if self._updates_on_cuda else self.learning_rate
        with overflows_expected(apply_if is not None):
            self.update(arena.w, g, arena.slots, rate, xp.empty_like(g))
        for array, old in zip(changing, before, strict=False):
            array[...] = xp.where(apply_if, array, old)

    @property
    def _updates_on_cuda(self) -> bool:
        """Whether `update_on_cuda` belongs to this very `update`, not to one that was replaced."""
        defining = next(c for c in type(self).__mro__ if "update" in vars(c))
        return "update_on_cuda" in vars(defining) and defining is not Optimizer

    def _arenas_of(self, weights: Iterable[Any]) -> list[Arena]:
        """The arenas, one for each dtype, that hold just these weights: those of an earlier step,
        or new ones where other weights learn now, or these changed shape, dtype or decay."""
        decays = {w: bool(self.weight_decay and self._decays(w)) for w in weights}
        found = [a for a in self._arenas if not decays.keys().isdisjoint(a.decays)]
        known = {w: decay for a in found for w, decay in a.decays.items()}
        if known == decays and all(a.take_in() for a in found):
            return found
        by_dtype: dict[Any, dict[Any, bool]] = {}
        for weight, decay in decays.items():
            by_dtype.setdefault(weight.value.dtype, {})[weight] = decay
        slots = {weight: self._slots_of(weight) for weight in decays}
        for arena in found:
            arena.release(decays)
            self._arenas.remove(arena)
        made = [Arena(of_dtype, slots) for of_dtype in by_dtype.values()]
        self._arenas += made
        return made

    def _clipped(self, gradients: Mapping[Any, Any]) -> Mapping[Any, Any]:
        if self.clipvalue is not None:
            limit = self.clipvalue
            return {w: np.clip(g, -limit, limit) for w, g in gradients.items()}
        if self.clipnorm is not None:
            return {w: g * _shrink(np.vdot(g, g), self.clipnorm) for w, g in gradients.items()}
        if self.global_clipnorm is not None and gradients:
            square = sum(np.vdot(g, g) for g in gradients.values())
            factor = _shrink(square, self.global_clipnorm)
            return {w: g * factor.astype(g.dtype) for w, g in gradients.items()}
        return gradients

    def _clipped_in_arenas(self, flat: Mapping[Arena, Any]) -> Mapping[Arena, Any]:
        """`_clipped` of the gradients of whole arenas."""
        if self.clipvalue is not None:
            limit = self.clipvalue
            return {a: array_module(g).clip(g, -limit, limit) for a, g in flat.items()}
        if self.clipnorm is not None:
            limit = self.clipnorm
            return {a: g * a.spread(_shrink(a.squares(g), limit)) for a, g in flat.items()}
        if self.global_clipnorm is not None and flat:
            # no dot products, which cuBLAS refuses to make while a CUDA graph is captured
            square = sum((g * g).sum() for g in flat.values())
            factor = _shrink(square, self.global_clipnorm)
            return {a: g * factor.astype(g.dtype) for a, g in flat.items()}
        return flat

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
        """All that a saved run needs to go on: "iterations" and "<slot>/<key of the weight>"."""
        state: dict[str, np.ndarray] = {"iterations": np.array(self.iterations, np.int64)}
        for weight, key in keys.items():
            for name, slot in self._slots.get(weight, {}).items():
                state[f"{name}/{key}"] = np.array(backend.to_numpy(slot))
        return state

    def load_state_arrays(self, arrays: Mapping[str, Any], keys: Mapping[Any, str]) -> None:
        """Take over what `state_arrays` returned; weights without an entry start from zero.

        Raises:
            ValueError: no "iterations", a wrong shape, or some but not all slots of a weight;
                nothing is taken over then.
        """
        if "iterations" not in arrays:
            raise ValueError(
                f"optimizer state without 'iterations'; it has {', '.join(sorted(arrays)) or None}"
            )
        loaded: dict[Any, dict[str, Any]] = {}
        for weight, key in keys.items():
            names = [name for name in self.slots() if f"{name}/{key}" in arrays]
            if not names:
                continue
            if len(names) != len(self.slots()):
                raise ValueError(
                    f"optimizer state of {key} has {names}; {type(self).__name__} keeps "
                    f"{list(self.slots())}"
                )
            for name in names:
                shape = tuple(arrays[f"{name}/{key}"].shape)
                if shape != tuple(weight.value.shape):
                    raise ValueError(
                        f"optimizer state {name}/{key} has shape {shape}; the weight has shape "
                        f"{tuple(weight.value.shape)}"
                    )
            xp = array_module(weight.value)
            loaded[weight] = {
                n: xp.array(backend.to_numpy(arrays[f"{n}/{key}"]), dtype=weight.value.dtype)
                for n in names
            }
        self._slots = loaded
        self._arenas = []
        self.iterations = int(arrays["iterations"])


# What scripts written for Keras 1 and 2 say.
_OLD_ARGUMENTS = {
    "lr": "say learning_rate",
    "decay": "give learning_rate a schedule, such as schedules.InverseTimeDecay(rate, 1, decay)",
}

_COMMON = ("learning_rate", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "name")


def _checked_learning_rate(value: Any) -> Any:
    if isinstance(value, LearningRateSchedule):
        return value
    try:
        rate = float(value)
    except (TypeError, ValueError):
        raise TypeError(
            "learning_rate is a float or a minicnn.optimizers.schedules.LearningRateSchedule; "
            f"got {value!r} of type {type(value).__name__}"
        ) from None
    if not 0 <= rate < float("inf"):
        raise ValueError(f"learning_rate must be a finite number, 0 or above; got {value!r}")
    return rate


def _unscaled(gradients: Mapping[Any, Any], scale: Any) -> tuple[Mapping[Any, Any], Any]:
    """(the gradients divided by `scale`, whether all of them are finite: a boolean of no axes)."""
    finite: Any = None
    divided = {}
    with overflows_expected():
        for key, g in gradients.items():
            xp = array_module(g)
            divided[key] = g / scale
            part = xp.isfinite(divided[key]).all()
            finite = part if finite is None else xp.logical_and(finite, part)
    return divided, finite


def _shrink(square: Any, limit: float) -> Any:
    """limit / max(norm, limit): 1 for gradients that are short enough."""
    xp = array_module(square)
    return limit / xp.maximum(xp.sqrt(square), limit)


def check_fraction(owner: str, name: str, value: float, below_one: bool = True) -> float:
    """`value` where 0 <= value < 1 (or <= 1); else a ValueError that names the argument."""
    if not (0 <= value < 1 or (value == 1 and not below_one)):
        raise ValueError(f"{owner} needs a {name} from 0 to 1; got {value!r}")
    return value


def get(identifier: Any) -> Optimizer:
    """A name, a configuration or an instance as an optimizer."""
    return OPTIMIZERS.get(identifier)
