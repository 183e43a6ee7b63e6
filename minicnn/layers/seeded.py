"""Layers that draw random numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from minicnn import backend, random
from minicnn.context import Context
from minicnn.layers.base import Layer


class SeededLayer(Layer):
    """A layer that draws random numbers in training.

    Args:
        seed: where given, the layer draws from a generator of its own that starts from this
            number and goes on from call to call, instead of the generator of the pass, which
            `minicnn.utils.set_random_seed` governs.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = seed
        self._generators: dict[tuple[str, int], Any] = {}

    def reseed(self) -> None:
        """Start the layer's own generator from `seed` again."""
        self._generators.clear()

    @contextmanager
    def on_the_side(self) -> Iterator[None]:
        """Within the context the layer draws from the beginning of its numbers; afterwards it goes
        on where it was before."""
        before, self._generators = self._generators, {}
        try:
            yield
        finally:
            self._generators = before

    def draw(self, ctx: Context, *shape: int) -> Any:
        """Uniform numbers from 0 to 1, float32, on the device."""
        return self._generator(ctx).random(shape, dtype="float32")

    def _generator(self, ctx: Context) -> Any:
        if self.seed is None:
            return ctx.rng if ctx.rng is not None else random.device_generator()
        # one for each shard, or the order in which the shards draw would change the numbers
        key = (backend.get_backend(), ctx.comm.rank)
        if key not in self._generators:
            self._generators[key] = backend.random_generator([self.seed, ctx.comm.rank])
        return self._generators[key]
