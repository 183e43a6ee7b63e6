"""Settings, under Keras's names."""

import warnings

from minicnn.backend import (
    backend,
    epsilon,
    floatx,
    image_data_format,
    set_backend,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)
from minicnn.dtype_policies import global_policy as dtype_policy
from minicnn.dtype_policies import set_global_policy as set_dtype_policy
from minicnn.progress import (
    disable_interactive_logging,
    enable_interactive_logging,
    is_interactive_logging_enabled,
)

__all__ = [
    "backend", "disable_interactive_logging", "disable_traceback_filtering", "dtype_policy",
    "enable_interactive_logging", "enable_traceback_filtering", "epsilon", "floatx",
    "image_data_format", "is_interactive_logging_enabled", "is_traceback_filtering_enabled",
    "set_backend", "set_dtype_policy", "set_epsilon", "set_floatx", "set_image_data_format",
]  # fmt: skip


def is_traceback_filtering_enabled() -> bool:
    """False: tracebacks show all calls, the library's too."""
    return False


def disable_traceback_filtering() -> None:
    """Tracebacks show all calls: they do so anyway."""


def enable_traceback_filtering() -> None:
    """Warns that tracebacks show all calls."""
    warnings.warn("minicnn does not filter tracebacks: they show all calls", stacklevel=2)
