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
        seed: start of the layer's own numbers. In a training step they follow from the seed, the
            epoch, the step and the shard; in other calls they go on from call to call. Default:
            the layer draws from the generator of the pass, which `minicnn.utils.set_random_seed`
            governs.
        kwargs: see `Layer`.

    Raises:
        ValueError: a seed that is no integer of 0 or above.
    """

    _numbers: Any = None  # of the model in training, see `next_pass`

    def __init__(self, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = random.checked_seed(self, seed)
        self._generators: dict[tuple[str, int], Any] = {}

    def reseed(self) -> None:
        """Start the layer's own generator from `seed` again."""
        self._generators.clear()

    def next_pass(self, numbers: Any) -> None:
        """Begin a training step. Whoever runs training steps calls this for all seeded layers.

        A generator is made when the layer first draws from it, so on a GPU a training step has to
        have run before it can be captured as a CUDA graph.

        Args:
            numbers: the `TrainingNumbers` of the model, which have the epoch and the step.
        """
        self._numbers = numbers
        kept = {k: g for k, g in self._generators.items() if random.counts_passes(g)}
        random.next_pass(kept.values())
        self._generators = kept

    def go_to(self, epoch: int, step: int) -> None:
        """Let generators that number their passes go to a training step, see `CounterGenerator`.

        Args:
            epoch, step: its place.
        """
        random.go_to(self._generators.values(), epoch, step)

    @contextmanager
    def on_the_side(self) -> Iterator[None]:
        """Within the context the layer draws from the beginning of its numbers; afterwards it goes
        on where it was before."""
        before = self._generators, self._numbers
        self._generators, self._numbers = {}, None
        try:
            yield
        finally:
            self._generators, self._numbers = before

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
            self._generators[key] = self._new_generator(ctx.comm.rank)
        return self._generators[key]

    def _new_generator(self, rank: int) -> Any:
        if self._numbers is None:
            return backend.random_generator([self.seed, rank])
        assert self.seed is not None
        return random.generator_at(self.seed, self._numbers.epoch, self._numbers.step, rank)
