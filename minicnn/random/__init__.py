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
    Stream,
    at_place,
    checked_seed,
    counts_passes,
    device_generator,
    generator_at,
    go_to,
    host_generator,
    new_stream,
    next_pass,
    order_at,
    set_random_seed,
)

__all__ = [
    "SeedGenerator", "Stream", "at_place", "categorical", "checked_seed", "counts_passes",
    "device_generator", "dropout", "generator_at", "go_to", "host_generator", "new_stream",
    "next_pass", "normal", "order_at", "randint", "set_random_seed", "shuffle", "truncated_normal",
    "uniform",
]  # fmt: skip
