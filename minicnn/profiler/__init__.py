"""Where the time of a training step goes: one row for each layer of a model (`Model.profile`).

- `observer`: a layer's calls are timed and logged, and the lines of the log added up;
- `profile`: what the figures of a row mean, and the table for a CPU;
- `roofline`: the same for a GPU, held against its memory and its matrix units;
- `clocks`: time on a CPU and on a GPU, and the two peaks that shares are of.
"""

from minicnn.profiler.clocks import product_peak
from minicnn.profiler.observer import Observer, profile_model
from minicnn.profiler.profile import LayerProfile, Profile
from minicnn.profiler.roofline import DeviceProfile

__all__ = [
    "DeviceProfile", "LayerProfile", "Observer", "Profile", "product_peak", "profile_model",
]  # fmt: skip
