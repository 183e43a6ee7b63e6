"""The progress bar, by the name that Keras's callback has."""

from minicnn.callbacks.base import Callback


class ProgbarLogger(Callback):
    """For scripts that name it among their callbacks: `fit`, `evaluate` and `predict` show one bar,
    or line, as their `verbose` says, whether it is there or not. For loops of your own there is
    `minicnn.utils.Progbar`."""
