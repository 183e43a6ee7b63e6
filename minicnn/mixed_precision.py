"""Mixed precision, under Keras's names.

    minicnn.mixed_precision.set_global_policy("mixed_float16")

before a model is made lets its layers compute in float16, with weights in float32; `compile` then
scales the loss by itself. See `minicnn.dtype_policies` and `optimizers.LossScaleOptimizer`.
"""

from minicnn.dtype_policies import DTypePolicy, global_policy, set_global_policy
from minicnn.optimizers import LossScaleOptimizer

# Keras's other names
Policy = DTypePolicy
dtype_policy, set_dtype_policy = global_policy, set_global_policy

__all__ = [
    "DTypePolicy", "LossScaleOptimizer", "Policy", "dtype_policy", "global_policy",
    "set_dtype_policy", "set_global_policy",
]  # fmt: skip
