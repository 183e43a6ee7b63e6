"""What a model has to be before it trains, and what its loss has to be when it has."""

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from minicnn.training.trainer import Trainer


def check_compile_arguments(
    optimizer: Any, loss_weights: Any, steps_per_execution: int, jit_compile: bool | str
) -> None:
    """Raise a ValueError where a model cannot be compiled with this, and warn of what is asked for
    in vain.

    Args:
        optimizer, loss_weights, steps_per_execution, jit_compile: of `compile`.
    """
    if optimizer is None:
        raise ValueError("compile needs an optimizer, such as optimizer='adam'; it got None")
    weights = loss_weights.values() if isinstance(loss_weights, dict) else np.ravel(loss_weights)
    if loss_weights is not None and list(weights) != [1]:
        raise ValueError(
            f"loss_weights={loss_weights!r}: a model here has one loss, of weight 1; weigh classes "
            f"or samples with class_weight or sample_weight of fit, and give metrics as metrics=..."
        )
    if steps_per_execution != 1:
        warnings.warn(
            f"steps_per_execution={steps_per_execution!r}: steps are made one by one in minicnn, "
            f"and callbacks are called after each",
            stacklevel=3,
        )
    if jit_compile not in (False, None, "auto"):
        warnings.warn(
            f"jit_compile={jit_compile!r}: there is no compiler in minicnn; steps run as always",
            stacklevel=3,
        )


def require_compiled(model: "Trainer", what: str) -> None:
    """Raise a RuntimeError unless `model` is compiled, as the method `what` needs it."""
    if model.loss is None:
        lacking = "" if model.optimizer is None else " with a loss"
        raise RuntimeError(
            f"{model.described} must be compiled{lacking} before {what}: "
            f"model.compile(optimizer='adam', loss='sparse_categorical_crossentropy', "
            f"metrics=['accuracy'])"
        )


def require_one_output(model: "Trainer") -> None:
    """Raise a ValueError if `model` has several outputs, of which no loss can be made."""
    if isinstance(model.output_shape, list):
        raise ValueError(
            f"{model.described} has {len(model.output_shape)} outputs; a loss takes one: train "
            f"Model(inputs, one_output), which shares its layers, and use the others with predict"
        )


def the_only(loss: Any) -> Any:
    """The `loss` of a list, or of a dictionary, of one: Keras has them for several outputs."""
    if isinstance(loss, dict) and "class_name" not in loss:
        loss = list(loss.values())
    return loss[0] if isinstance(loss, (list, tuple)) and len(loss) == 1 else loss


def warn_of_lost_training(epoch: int, logs: dict[str, Any], before: dict[str, Any]) -> None:
    """Warn if the loss is no longer a finite number: every later epoch would be in vain.

    Args:
        epoch: counted from 0.
        logs: figures of this epoch.
        before: those of the epoch before; if its loss was lost already, there is no warning.
    """
    if math.isfinite(logs["loss"]) or not math.isfinite(before.get("loss", 0.0)):
        return
    warnings.warn(
        f"the loss of epoch {epoch + 1} is {logs['loss']}, and training does not recover from "
        f"that; a lower learning rate, clipnorm=1.0 in the optimizer, or scaled data may help, and "
        f"minicnn.callbacks.TerminateOnNaN() ends training at once",
        stacklevel=3,
    )
