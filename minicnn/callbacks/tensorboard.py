"""Training as TensorBoard shows it: curves, histograms of weights, the graph."""

import importlib
import itertools
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.backend import to_numpy
from minicnn.callbacks.base import Callback, Logs
from minicnn.dtypes import widened
from minicnn.layers.weight import Weight

_files = itertools.count()


class TensorBoard(Callback):
    """Write what TensorBoard shows, with the package tensorboardX (pip install
    minicnn[tensorboard]); `tensorboard --logdir logs` is a program of its own.

    The tags are Keras's: epoch_loss, batch_loss, epoch_learning_rate,
    evaluation_loss_vs_iterations ..., in the folders train and validation of `log_dir`.

    Args:
        log_dir: the folder.
        histogram_freq: write histograms of the weights every so many epochs; 0: never.
        write_graph: whether to write the model's layers, for the tab "Graphs".
        write_images: whether the weights of histograms are written as images, too, from black, the
            lowest, to white, where they have the shape of any.
        write_steps_per_second: whether to write how many training steps a second takes.
        update_freq: "epoch", "batch" or a number of batches: when the figures of batches are
            written, which waits for a GPU.
        profile_batch: 0; `Model.profile` times layers here.
        embeddings_freq, embeddings_metadata: 0 and None; minicnn has no layers with embeddings.

    Raises:
        ImportError: tensorboardX is not installed.
        ValueError: one of the last three has another value, or update_freq is none of these.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: int | str | tuple[int, int] = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ):
        super().__init__()
        if profile_batch:
            raise ValueError(
                f"TensorBoard cannot profile batches here (profile_batch={profile_batch!r}): "
                f"model.profile(x) times every layer"
            )
        if embeddings_freq or embeddings_metadata:
            raise ValueError(
                "TensorBoard's embeddings_freq and embeddings_metadata are for layers with "
                "embeddings, which minicnn does not have: leave them out"
            )
        number = isinstance(update_freq, int) and update_freq > 0
        if not number and update_freq not in ("epoch", "batch"):
            raise ValueError(
                f"update_freq is 'epoch', 'batch' or a number of batches, not {update_freq!r}"
            )
        _package()
        self.log_dir = str(log_dir)
        self.histogram_freq = histogram_freq
        self.write_graph = write_graph
        self.write_images = write_images
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self._writers: dict[str, Any] = {}
        self._steps = 0
        self._training = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._steps, self._training = 0, True
        self._graph_is_due = self.write_graph

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch_began, self._steps_before = time.perf_counter(), self._steps

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._batch_began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._steps += 1
        if self._graph_is_due:  # the model is built now
            self._graph_is_due = False
            self._write_graph()
        if self.update_freq == "epoch" or self._steps % int(self.update_freq):
            return
        figures = {f"batch_{name}": value for name, value in (logs or {}).items()}
        if self.write_steps_per_second:
            figures["batch_steps_per_second"] = 1 / (time.perf_counter() - self._batch_began)
        self._write("train", figures, self._steps)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        figures = {k: v for k, v in (logs or {}).items() if not k.startswith("val_")}
        figures["learning_rate"] = float(self.model.optimizer.learning_rate)
        if self.write_steps_per_second:
            seconds = time.perf_counter() - self._epoch_began
            figures["steps_per_second"] = (self._steps - self._steps_before) / seconds
        self._write("train", {f"epoch_{k}": v for k, v in figures.items()}, epoch)
        validation = {k[4:]: v for k, v in (logs or {}).items() if k.startswith("val_")}
        self._write("validation", {f"epoch_{k}": v for k, v in validation.items()}, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for layer in self.model.layers:
                for weight in layer.weights:
                    self._write_weight(weight, epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_test_end(self, logs: Logs | None = None) -> None:
        figures = {f"evaluation_{k}_vs_iterations": v for k, v in (logs or {}).items()}
        self._write("validation", figures, self.model.optimizer.iterations)
        if not self._training:  # evaluate by itself
            self._close()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._training = False
        self._close()

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _writer(self, part: str) -> Any:
        if part not in self._writers:
            suffix = f".{os.getpid()}.{next(_files):05d}"  # else those of a second are one file
            folder = str(Path(self.log_dir) / part)
            self._writers[part] = _package().SummaryWriter(folder, filename_suffix=suffix)
        return self._writers[part]

    def _write(self, part: str, figures: dict[str, Any], step: int) -> None:
        for tag, value in figures.items():
            if np.ndim(value) == 0:
                self._writer(part).add_scalar(tag, float(value), step)

    def _write_weight(self, weight: Weight, epoch: int) -> None:
        values = to_numpy(widened(weight.value))
        if not np.isfinite(values).all():
            warnings.warn(
                f"TensorBoard: {weight.path!r} holds NaN or infinity, of which no histogram can be "
                f"made",
                stacklevel=2,
            )
            return
        self._writer("train").add_histogram(f"{weight.path}/histogram", values, epoch)
        images = _as_images(values) if self.write_images else None
        if images is not None:
            tag = f"{weight.path}/image"
            self._writer("train").add_images(tag, images, epoch, dataformats="NHWC")

    def _write_graph(self) -> None:
        """What Keras writes for TensorBoard's conceptual graph: the model as JSON."""
        try:
            text = self.model.to_json()
        except ValueError as error:
            warnings.warn(f"TensorBoard gets no graph of the model: {error}", stacklevel=2)
            return
        summary = importlib.import_module("tensorboardX.proto.summary_pb2")
        tensor = importlib.import_module("tensorboardX.proto.tensor_pb2").TensorProto(
            dtype="DT_STRING", string_val=[text.encode()]
        )
        plugin = summary.SummaryMetadata.PluginData(plugin_name="graph_keras_model", content=b"1")
        metadata = summary.SummaryMetadata(plugin_data=plugin)
        value = summary.Summary.Value(tag="keras", tensor=tensor, metadata=metadata)
        self._writer("train").file_writer.add_summary(summary.Summary(value=[value]), 0)


def _package() -> Any:
    try:
        return importlib.import_module("tensorboardX")
    except ImportError as error:
        raise ImportError(
            "the callback TensorBoard needs tensorboardX, which is not installed: "
            "pip install minicnn[tensorboard]"
        ) from error


def _as_images(values: np.ndarray) -> np.ndarray | None:
    """Weights as bytes (N, height, width, 1, 3 or 4), laid out as Keras does; None for others."""
    x = values.squeeze()
    if x.ndim == 1:
        x = x[None, :, None, None]
    elif x.ndim == 2:
        x = (x.T if x.shape[0] > x.shape[1] else x)[None, :, :, None]
    elif x.ndim == 3:
        x = x.transpose(2, 0, 1)[..., None]
    if x.ndim != 4 or x.shape[-1] not in (1, 3, 4):
        return None
    extent = float(np.ptp(x)) or 1.0
    return ((x - x.min()) * (255 / extent)).astype("uint8")
