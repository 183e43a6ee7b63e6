"""What signatures call arrays and shapes.

`Array` says what is meant and checks nothing: NumPy's and CuPy's arrays have the same methods, but
no class in common.
"""

from typing import Any, TypeAlias

# numpy.ndarray or cupy.ndarray, on the active backend unless something else is said
Array: TypeAlias = Any

# The sizes of an array's axes; None for one that is not fixed, such as the batch.
Shape: TypeAlias = tuple[int | None, ...]
