"""What a model does besides being a layer: it learns, is measured, and predicts.

- `trainer`: compile, fit, evaluate, predict;
- `step`: one training step and one test step, each on a screen;
- `batches`, `data_checks`, `device_data`: what the data go through before a step;
- `capture`, `captured_state`, `out_of_memory`: only on a GPU.
"""

from minicnn.training.trainer import Trainer

__all__ = ["Trainer"]
