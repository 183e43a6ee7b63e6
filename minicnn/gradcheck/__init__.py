"""Is a backward pass the derivative of its forward pass? Central differences say.

    minicnn.gradcheck(MyLayer(3), input_shape=(8, 8, 3))

How derivatives are taken is told in `differences`; what else a layer must not do, and gradients do
not show, in `calls`.
"""

from minicnn.gradcheck.check import gradcheck
from minicnn.gradcheck.result import ArrayCheck, GradientCheck, GradientCheckError

__all__ = ["ArrayCheck", "GradientCheck", "GradientCheckError", "gradcheck"]
