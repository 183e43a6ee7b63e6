"""Kernels in CUDA C, for what the generic ones in `minicnn.kernels` do slowly on a GPU.

Each NAME.py here has functions of the same names and arguments as `minicnn/kernels/NAME.py`, whose
generic versions say what is computed and are the oracle in the tests; NAME.cu is what runs on the
GPU. `minicnn.kernels.device` chooses. `launch.py` runs kernels, and `random.py` is the GPU's random
generator: these have no generic version.
"""
