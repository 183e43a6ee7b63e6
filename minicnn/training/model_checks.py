"""What a model has to be before it trains."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minicnn.training.trainer import Trainer


def require_compiled(model: "Trainer", what: str) -> None:
    """Raise a RuntimeError unless `model` is compiled, as the method `what` needs it."""
    if model.loss is None:
        raise RuntimeError(
            f"{model.described} must be compiled before {what}: "
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
