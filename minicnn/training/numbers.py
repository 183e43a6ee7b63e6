"""The random numbers of a model's training, each of which follows from its place."""

from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import random
from minicnn.layers.base import Layer, with_inner_layers
from minicnn.layers.seeded import SeededLayer
from minicnn.registry import is_library_code

if TYPE_CHECKING:
    from minicnn.training.trainer import Trainer


class TrainingNumbers:
    """What a model draws from in training: the order of the data, dropout, augmentation.

    A place is the seed, the number of the model among those trained since it was set, the epoch,
    the step within it, and the shard. So two calls of `fit` with 2 epochs are one with 4, and a
    training that was interrupted can go on at any step.

    Args:
        stream: what they start from; default: a new one.

    Attributes:
        epoch: the number of the pass over the data, counted from 0 over all calls of `fit`.
        step: of the last training step in it, counted from 1; 0 before the first.
    """

    def __init__(self, stream: random.Stream | None = None):
        self.stream = random.new_stream() if stream is None else stream
        self.epoch = self.step = 0
        self._seeded = random.host_generator()

    @staticmethod
    def of(model: "Trainer") -> "TrainingNumbers":
        """Those of a `model`. It gets new ones where it has none, and where the library was seeded
        since: `set_random_seed` before a fit governs this fit too."""
        numbers = model._numbers
        if numbers is None or numbers._seeded is not random.host_generator():
            numbers = model._numbers = TrainingNumbers()
            model._generators = []
        return numbers

    def next_epoch(self, at_least: int) -> int:
        """The number that the next epoch gets.

        Args:
            at_least: what is known to be done: the `initial_epoch` of `fit`.
        """
        return max(at_least, self.epoch + (self.step > 0))

    def go_to(self, model: "Trainer", epoch: int, step: int = 0) -> None:
        """Let the next step be number `step` + 1 of an epoch.

        Args:
            model: whose numbers these are.
            epoch, step: see the attributes.
        """
        self.epoch, self.step = epoch, step
        random.go_to(model._generators, epoch, step)
        for layer in _seeded_layers(model):
            layer.go_to(epoch, step)

    def next_step(self, model: "Trainer", shards: int) -> list[Any]:
        """Begin a training step; a generator for each shard of its batch, or None where no layer
        draws.

        Args:
            model: whose numbers these are.
            shards: how many there are.
        """
        self.step += 1
        if not any(map(_draws, with_inner_layers(model))):
            return [None] * shards
        random.next_pass(model._generators)
        generators = list(model._generators[:shards])
        for rank in range(len(generators), shards):
            generators.append(random.generator_at(self.stream, self.epoch, self.step, rank))
            if random.counts_passes(generators[-1]):  # and serves the steps to come
                model._generators = [*model._generators, generators[-1]]
        for layer in _seeded_layers(model):
            layer.next_pass(self)
        return generators

    def order(self, epoch: int, samples: int) -> np.ndarray:
        """The order in which the samples come.

        Args:
            epoch: in which the pass over them begins.
            samples: how many there are.
        """
        return random.order_at(self.stream, epoch, samples)


def _draws(layer: Layer) -> bool:
    """Whether a layer may draw: to make generators takes 25 microseconds each."""
    return isinstance(layer, SeededLayer) or not is_library_code(type(layer))


def _seeded_layers(model: "Trainer") -> list[SeededLayer]:
    return [layer for layer in with_inner_layers(model) if isinstance(layer, SeededLayer)]
