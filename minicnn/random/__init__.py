"""Random numbers: the one place they are seeded from, and Keras's functions that draw them."""

from minicnn.random.draws import (
    SeedGenerator,
    categorical,
    dropout,
    normal,
    randint,
    shuffle,
    truncated_normal,
    uniform,
)
from minicnn.random.seeding import (
    at_place,
    device_generator,
    host_generator,
    next_pass,
    set_random_seed,
)

__all__ = [
    "SeedGenerator", "at_place", "categorical", "device_generator", "dropout", "host_generator",
    "next_pass", "normal", "randint", "set_random_seed", "shuffle", "truncated_normal", "uniform",
]  # fmt: skip
