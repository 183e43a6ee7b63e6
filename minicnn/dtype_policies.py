"""Dtype policies: the dtype in which a layer computes, and that in which it keeps its weights.

`mixed_float16` and `mixed_bfloat16` compute in 16 bits and keep the weights in float32, because the
small changes of a training step would be lost in 16 bits. On a GPU that halves the memory traffic
and uses the fast matrix units; a CPU gains neither, and is slower with it.

Source: Micikevicius et al., "Mixed precision training" (2017), arXiv:1710.03740.
"""

from typing import Any

import numpy as np

from minicnn import backend
from minicnn.dtypes import dtype_of
from minicnn.registry import near_matches

# name: (dtype of computations, dtype of weights)
_POLICIES = {
    "float32": ("float32", "float32"),
    "float64": ("float64", "float64"),
    "mixed_float16": ("float16", "float32"),
    "mixed_bfloat16": ("bfloat16", "float32"),
}


class DTypePolicy:
    """What `dtype=` of a layer says.

    Args:
        name: "float32", "float64", "mixed_float16" or "mixed_bfloat16".

    Attributes:
        compute_dtype: of the layer's inputs and outputs.
        variable_dtype: of its weights.

    Raises:
        ValueError: another name.
        RuntimeError: bfloat16 without the package ml_dtypes.
    """

    def __init__(self, name: str):
        if name not in _POLICIES:
            hint = near_matches(str(name), _POLICIES)
            if name in ("float16", "bfloat16"):
                hint = (
                    f"weights of 16 bits would lose small changes: use 'mixed_{name}', which "
                    f"computes in {name} with weights in float32"
                )
            raise ValueError(f"there is no dtype policy {name!r}; {hint}")
        self.name = name
        self.compute_dtype, self.variable_dtype = _POLICIES[name]
        dtype_of(self.compute_dtype)  # says what is missing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<DTypePolicy {self.name!r}>"


FloatDTypePolicy = DTypePolicy  # Keras's other name

_global: DTypePolicy | None = None


def global_policy() -> DTypePolicy:
    """The policy of layers without `dtype`; default: that of `backend.floatx()`."""
    return _global or DTypePolicy(backend.floatx())


def set_global_policy(policy: Any) -> None:
    """Set the `policy` of layers made from now on, by name or object; None goes back to
    `backend.floatx()`."""
    global _global
    _global = None if policy is None else get(policy)


def get(identifier: Any) -> DTypePolicy:
    """A policy from an `identifier`: a name, a dtype, a policy, or None for the global one."""
    if identifier is None:
        return global_policy()
    if isinstance(identifier, DTypePolicy):
        return identifier
    return DTypePolicy(identifier if isinstance(identifier, str) else str(np.dtype(identifier)))
