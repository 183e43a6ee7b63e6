"""Augmentation in training steps captured as CUDA graphs: what is drawn is drawn on the device."""

import pytest
from capturing import BATCHES, check, network

from minicnn import layers
from minicnn.training import capture

KINDS = {
    "colours": lambda: [
        layers.RandomColorJitter((-4, 4), 0.1, 0.2, 0.5, 0.1, seed=2),
        layers.RandomGrayscale(), layers.RandomInvert(value_range=(-4, 4)),
        layers.RandomGaussianBlur(value_range=(-4, 4)), layers.AutoContrast((-4, 4)),
    ],
    "shapes": lambda: [
        layers.RandomPerspective(), layers.RandomShear(0.1, 0.1), layers.RandomErasing(),
        layers.RandomErasing(fill_value=1), layers.Pipeline([layers.RandomFlip(seed=1)]),
    ],
    "RandAugment": lambda: [layers.RandAugment((-4, 4), num_ops=1)],
    "AugMix": lambda: [layers.AugMix((-4, 4), 1, 2, alpha=0.5)],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_steps_with_augmentation_are_captured(cuda, kind):
    check(lambda: network("sgd", [layers.Conv2D(3, 1), *KINDS[kind]()]))
    assert cuda.launches == len(BATCHES) - capture.EAGER_RUNS
