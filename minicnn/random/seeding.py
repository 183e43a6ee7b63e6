"""The one place randomness is seeded from.

Initial weights come from one host generator; the order of the data, and what dropout and
augmentation draw in training, from a `Stream` per model, by their place in it. Both start from one
seed, so `set_random_seed(0)` at the top of a script fixes the whole run.
"""

import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from minicnn import backend
from minicnn.kernels.cuda.random import CounterGenerator

_generator = np.random.default_rng()
_seed: int | None = None
_entropy: int = np.random.SeedSequence().entropy  # type: ignore[assignment]
_streams = 0
_here = threading.local()  # in `at_place`: the place, then its generator


class Stream(NamedTuple):
    """What the random numbers of a model's training start from.

    Attributes:
        seed: what `set_random_seed` was given; None where it was not called.
        entropy: the seed, or something that the system drew.
        number: how many models were trained before it since then.
    """

    seed: int | None
    entropy: int
    number: int

    def sequence(self, *place: int) -> np.random.SeedSequence:
        """What a generator for a `place` within the stream is seeded with. Each place, of the same
        number of integers from 0 on, has numbers of its own."""
        return np.random.SeedSequence(self.entropy, spawn_key=(self.number, *place))


def set_random_seed(seed: int) -> None:
    """Seed everything random in the library (and NumPy's and Python's global generators).

    Args:
        seed: an integer from 0 to 2**32 - 1.

    Raises:
        ValueError: another seed.
    """
    global _generator, _seed, _entropy, _streams
    if not isinstance(seed, Integral) or not 0 <= seed < 2**32:
        raise ValueError(f"a seed is an integer from 0 to 2**32 - 1, not {seed!r}")
    _generator = np.random.default_rng(int(seed))
    _seed = _entropy = int(seed)
    _streams = 0
    np.random.seed(int(seed))
    random.seed(int(seed))


def checked_seed(owner: Any, seed: Any) -> int | None:
    """`seed` as an integer of 0 or above, None as it is; else a ValueError that names the class of
    `owner`, which is given it."""
    if seed is None:
        return None
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(
            f"{type(owner).__name__}: seed must be an integer, 0 or above, or None; got {seed!r}"
        )
    return int(seed)


def host_generator(seed: int | None = None) -> np.random.Generator:
    """A new NumPy generator with this `seed`; default: the library's own."""
    if seed is not None:
        return np.random.default_rng(seed)
    here = getattr(_here, "generator", None)
    if isinstance(here, tuple):  # nobody has drawn in this place yet
        here = _here.generator = np.random.default_rng(here)
    return _generator if here is None else here


@contextmanager
def at_place(*numbers: int) -> Iterator[None]:
    """Within the context this thread draws from a generator of its own, which follows from the
    `numbers`, such as a seed and the place of an image in a data set."""
    before = getattr(_here, "generator", None)
    _here.generator = numbers
    try:
        yield
    finally:
        _here.generator = before


def device_generator() -> Any:
    """A new generator on the active backend, seeded from the library's own."""
    return backend.random_generator(int(host_generator().integers(2**63)))


def new_stream() -> Stream:
    """The stream of one more model."""
    global _streams
    _streams += 1
    return Stream(_seed, _entropy, _streams - 1)


def generator_at(stream: Stream | int, epoch: int, step: int, rank: int) -> Any:
    """A generator on the active backend for one shard of one training step.

    On an NVIDIA GPU it serves the shard's later steps too, see `next_pass`.

    Args:
        stream: of the model; or the seed that a layer was given.
        epoch: the number of the pass over the data, from 0.
        step: within it.
        rank: of the shard.
    """
    if not isinstance(stream, Stream):
        stream = Stream(stream, stream, 0)
    if backend.draws_by_counter():
        generator: CounterGenerator = backend.random_generator(stream.sequence(1, rank))
        generator.go_to(epoch, step)
        return generator
    return backend.random_generator(stream.sequence(1, epoch, step, rank))


def order_at(stream: Stream, epoch: int, samples: int) -> np.ndarray:
    """The order in which a pass over the data takes the samples: a permutation of 0 .. samples - 1.

    Args:
        stream: of the model.
        epoch: the number of the pass, from 0.
        samples: how many there are.
    """
    return np.random.default_rng(stream.sequence(0, epoch, 0, 0)).permutation(samples)


def counts_passes(generator: Any) -> bool:
    """Whether a `generator` serves one training step after the other, see `next_pass`."""
    return isinstance(generator, CounterGenerator)


def next_pass(generators: Iterable[Any]) -> None:
    """Begin a training step: those `generators` that number their passes go on to the next one,
    the others have nothing to do."""
    for generator in filter(counts_passes, generators):
        generator.next_pass()


def go_to(generators: Iterable[Any], epoch: int, step: int) -> None:
    """The same, but from anywhere to the numbers of a given training step.

    Args:
        generators: any.
        epoch, step: see `generator_at`.
    """
    for generator in filter(counts_passes, generators):
        generator.go_to(epoch, step)
