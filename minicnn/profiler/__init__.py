"""Where the time of a training step goes: one row per layer of a model (`Model.profile`).

- `measure`: passes are run and observed, and the lines of the log added up;
- `observer`: a layer's calls are timed and logged;
- `algorithms`: how a layer computes its products;
- `profile`: what the figures of a row mean, and the table for a CPU;
- `roofline`: the same for a GPU, compared with what its memory and its matrix units can do;
- `plot`: the same as a picture;
- `clocks`: time on a CPU and on a GPU, and the two peaks that shares refer to.
"""

from minicnn.profiler.clocks import product_peak
from minicnn.profiler.measure import profile_model
from minicnn.profiler.observer import Observer
from minicnn.profiler.plot import plot_profile
from minicnn.profiler.profile import LayerProfile, Profile
from minicnn.profiler.roofline import DeviceProfile

__all__ = [
    "DeviceProfile", "LayerProfile", "Observer", "Profile", "plot_profile", "product_peak",
    "profile_model",
]  # fmt: skip
