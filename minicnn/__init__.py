"""minicnn: convolutional networks from scratch on NumPy, with CuPy for GPUs."""

__version__ = "0.1.0"
