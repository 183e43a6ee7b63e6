"""Loss scaling: gradients in float16 that would be too small are made larger."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from minicnn import backend
from minicnn.backend import array_module
from minicnn.optimizers.base import OPTIMIZERS, Optimizer, deserialize, serialize
from minicnn.optimizers.variables import by_weight
from minicnn.typing import Array

# The scale neither falls to 0 nor overflows where every gradient is infinite, or 0, for ever.
_SMALLEST, _LARGEST = 1.0, 2.0**24


@OPTIMIZERS.register()
class LossScaleOptimizer(Optimizer):
    """Another optimizer, given gradients that were computed `loss_scale` times too large.

    A float16 below 6e-8 is 0, and many gradients are so small. So the gradient of the loss is
    multiplied by a scale, with which backward multiplies all others; they are divided by it in
    float32 afterwards. Where one became infinite on the way, the step is left out and the scale
    halved; after `dynamic_growth_steps` steps without, it is doubled.

    `compile` puts it around the optimizer of a model under `mixed_float16`. All but the scale is
    that of the optimizer inside: its learning rate, iterations, clipping, state.

    Args:
        inner_optimizer: what takes the optimizer steps; a name or an object.
        initial_scale: of the first step.
        dynamic_growth_steps: steps in a row without overflow before the scale grows.
        name: default: "loss_scale_optimizer".

    Source: Micikevicius et al. 2017, arXiv:1710.03740, section 3.2.
    """

    def __init__(
        self,
        inner_optimizer: Any,
        initial_scale: float = 2.0**15,
        dynamic_growth_steps: int = 2000,
        name: str | None = None,
    ):
        inner = OPTIMIZERS.get(inner_optimizer)
        if isinstance(inner, LossScaleOptimizer):
            raise ValueError("a LossScaleOptimizer within another would scale twice")
        if not _SMALLEST <= initial_scale <= _LARGEST:
            raise ValueError(
                f"initial_scale must lie between {_SMALLEST:g} and {_LARGEST:g}; got "
                f"{initial_scale!r}"
            )
        if dynamic_growth_steps < 1:
            raise ValueError(f"dynamic_growth_steps must be above 0; got {dynamic_growth_steps!r}")
        inner.loss_scale_factor = None  # or gradients would be divided twice
        self.initial_scale = float(initial_scale)
        self.dynamic_growth_steps = dynamic_growth_steps
        self.name = name or "loss_scale_optimizer"
        self._state: Array | None = None  # [scale, steps since it changed], where the weights lie
        self.inner_optimizer: Optimizer = inner  # last: see `__setattr__`

    @classmethod
    def around(cls, optimizer: Optimizer) -> Optimizer:
        """The `optimizer` with loss scaling, unless it has it."""
        return optimizer if isinstance(optimizer, cls) else cls(optimizer)

    @property
    def loss_scale(self) -> Array:
        """What the gradients of the next optimizer step have to be multiplied by, a 0-d array."""
        return self.scale_and_steps[0]

    @property
    def scale_and_steps(self) -> Array:
        """The scale, and the steps since it changed: an array on the active backend, which every
        step changes."""
        if self._state is None or array_module(self._state) is not backend.current_module():
            start = [self.initial_scale, 0.0] if self._state is None else self._state
            self._state = backend.asarray(backend.to_numpy(start), "float32")
        return self._state

    def apply(
        self,
        gradients: Any,
        trainable_variables: Iterable[Any] | None = None,
        *,
        scale: Array | None = None,
    ) -> Array | bool:
        """A step of the optimizer inside with gradients that are `loss_scale` times too large; none
        where one of them is infinite or not a number."""
        if not isinstance(gradients, Mapping):
            gradients = by_weight(self, gradients, trainable_variables)
        if not gradients:  # nothing learns, so nothing says whether the scale is too large
            return self.inner_optimizer.apply(gradients)
        scale = self.loss_scale if scale is None else scale
        taken = self.inner_optimizer.apply(gradients, scale=scale)
        self._adjust(taken)
        return taken

    def _adjust(self, finite: Array | bool) -> None:
        """The next scale: in place and without asking the device."""
        state = self.scale_and_steps
        xp, scale, steps = array_module(state), state[:1], state[1:]
        steps += 1
        grows = steps >= self.dynamic_growth_steps
        scale *= xp.where(finite, xp.where(grows, 2.0, 1.0), 0.5)
        xp.clip(scale, _SMALLEST, _LARGEST, out=scale)
        steps *= xp.logical_and(finite, xp.logical_not(grows))

    # What belongs to the optimizer inside

    def __getattr__(self, name: str) -> Any:
        """What is no attribute here: `weight_decay`, `clipnorm`, `beta_1` ..."""
        if name.startswith("__") or name == "inner_optimizer":  # asked of copies in the making
            raise AttributeError(name)
        return getattr(self.inner_optimizer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """What is no attribute here, but one of the optimizer inside, is set there."""
        inner = vars(self).get("inner_optimizer")
        own = name in vars(self) or hasattr(type(self), name)
        if inner is not None and not own and hasattr(inner, name):
            setattr(inner, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def iterations(self) -> int:
        """Optimizer steps taken so far, those left out included."""
        return self.inner_optimizer.iterations

    @iterations.setter
    def iterations(self, value: int) -> None:
        self.inner_optimizer.iterations = value

    @property
    def learning_rate(self) -> Any:
        """The rate of the next optimizer step."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.inner_optimizer.learning_rate = value

    def step_size(self, learning_rate: float) -> float | tuple[float, ...]:
        return self.inner_optimizer.step_size(learning_rate)

    def slots(self) -> tuple[str, ...]:
        return self.inner_optimizer.slots()

    def first_value(self, slot: str) -> float:
        return self.inner_optimizer.first_value(slot)

    def slot_groups(self) -> list[tuple[str, ...]]:
        return self.inner_optimizer.slot_groups()

    def derived_state(self) -> dict[str, float]:
        return self.inner_optimizer.derived_state()

    def update(
        self, w: Array, g: Array, slots: dict[str, Array], learning_rate: Any, scratch: Any
    ) -> None:
        self.inner_optimizer.update(w, g, slots, learning_rate, scratch)

    def set_rates(self) -> None:
        self.inner_optimizer.set_rates()

    def is_settled(self) -> bool:
        return self.inner_optimizer.is_settled()

    def _decays(self, weight: Any) -> bool:
        return self.inner_optimizer._decays(weight)

    def _slots_of(self, weight: Any) -> dict[str, Array]:
        return self.inner_optimizer._slots_of(weight)

    def exclude_from_weight_decay(
        self, var_list: Iterable[Any] | None = None, var_names: str | Iterable[str] | None = None
    ) -> None:
        self.inner_optimizer.exclude_from_weight_decay(var_list, var_names)

    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))

    def get_config(self) -> dict[str, Any]:
        return {
            "inner_optimizer": serialize(self.inner_optimizer),
            "initial_scale": self.initial_scale,
            "dynamic_growth_steps": self.dynamic_growth_steps,
            "name": self.name,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, type] | None = None
    ) -> Any:
        inner = deserialize(config["inner_optimizer"], custom_objects)
        return cls(**{**config, "inner_optimizer": inner})

    def state_arrays(self, keys: Mapping[Any, str]) -> dict[str, np.ndarray]:
        """Those of the inner optimizer, and "loss_scale": the scale, steps since it changed."""
        scale = np.array(backend.to_numpy(self.scale_and_steps))
        return {"loss_scale": scale, **self.inner_optimizer.state_arrays(keys)}

    def load_state_arrays(self, arrays: Mapping[str, Any], keys: Mapping[Any, str]) -> None:
        given = {name: array for name, array in arrays.items() if name != "loss_scale"}
        state = arrays.get("loss_scale")
        if state is not None and tuple(state.shape) != (2,):
            raise ValueError(
                f"optimizer state 'loss_scale' holds two numbers; its shape is {state.shape}"
            )
        self.inner_optimizer.load_state_arrays(given, keys)
        self._state = None if state is None else np.array(backend.to_numpy(state), "float32")
