"""Layers that draw random numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from minicnn import backend, random
from minicnn.layers.base import Layer
from minicnn.layers.context import Context
from minicnn.typing import Array


class SeededLayer(Layer):
    """A layer that draws random numbers in training.

    Args:
        seed: start of a generator of the layer's own, which goes on from call to call; default:
            the layer draws from the generator of the pass, which `minicnn.utils.set_random_seed`
            governs.
        kwargs: see `Layer`.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = seed
        self._generators: dict[tuple[str, int], Any] = {}

    def reseed(self) -> None:
        """Start the layer's own generator from `seed` again."""
        self._generators.clear()

    def next_pass(self) -> None:
        """Begin a training step, see `random.next_pass`, for the layer's own generators.

        Whoever runs training steps calls this for all layers with a seed, as `random.next_pass` for
        the generators of the pass. A generator is made when the layer first draws from it, so a
        training step has to have run before it can be captured as a CUDA graph.
        """
        random.next_pass(self._generators.values())

    @contextmanager
    def on_the_side(self) -> Iterator[None]:
        """Within the context the layer draws from the beginning of its numbers; afterwards it goes
        on where it was before."""
        before, self._generators = self._generators, {}
        try:
            yield
        finally:
            self._generators = before

    def draw(self, ctx: Context, *shape: int) -> Array:
        """Uniform numbers from 0 to 1, in float32 on the device.

        Args:
            ctx: of this call.
            shape: of the array, one argument per axis.
        """
        return self.generator(ctx).random(shape, dtype="float32")

    def generator(self, ctx: Context) -> Any:
        """What the call of `ctx` draws from."""
        if self.seed is None:
            return ctx.rng if ctx.rng is not None else random.device_generator()
        # one per shard, or the order in which the shards draw would change the numbers
        key = (backend.get_backend(), ctx.comm.rank)
        if key not in self._generators:
            self._generators[key] = backend.random_generator([self.seed, ctx.comm.rank])
        return self._generators[key]
