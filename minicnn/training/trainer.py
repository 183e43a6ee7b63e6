"""`Trainer`: compile, fit, evaluate, predict.

What happens to one batch is written out in `minicnn.training.step`.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from minicnn import activations, backend, losses, optimizers
from minicnn.callbacks import Callback, CallbackList, History, LazyLogs
from minicnn.dtypes import dtype_of, widened
from minicnn.layers.base import Layer
from minicnn.metrics import Mean, Metric
from minicnn.metrics.base import figures_of
from minicnn.metrics.compiled import identifiers_of, make_metrics, update_metrics
from minicnn.optimizers import LossScaleOptimizer
from minicnn.parallel import one_blas_thread
from minicnn.progress import ProgressBar
from minicnn.training import out_of_memory
from minicnn.training.batches import (
    ArrayBatches,
    Batch,
    IteratorBatches,
    batch_length,
    make_batches,
    split,
    validation_batches,
)
from minicnn.training.capture import CapturedStep, graphs_are_possible
from minicnn.training.data_checks import check_input_shapes, check_integer, with_last_axis
from minicnn.training.device_data import Outputs, keep_on_device
from minicnn.training.model_checks import (
    check_compile_arguments,
    require_compiled,
    require_one_output,
    the_only,
    warn_of_lost_training,
)
from minicnn.training.numbers import TrainingNumbers
from minicnn.training.resumption import Run
from minicnn.training.step import predict_step, test_step, train_step
from minicnn.typing import Array

if TYPE_CHECKING:
    from minicnn.models.graph import Graph

WHOLE = sys.maxsize  # the batch size for arrays that are one batch


class Trainer(Layer):
    """What a model can do besides being a layer: learn, be measured, predict.

    Attributes:
        graph: of the model.
        optimizer, loss: as `compile` made them; None before.
        metric_identifiers, weighted_metric_identifiers, run_eagerly: what `compile` was given.
        stop_training: callbacks set it to end `fit` after the batch or epoch.
        any_image_size: whether images may be of other sizes than the model was made for.
    """

    graph: "Graph"
    optimizer: Any = None
    loss: Any = None
    metric_identifiers: Sequence[Any] = ()
    weighted_metric_identifiers: Sequence[Any] = ()
    stop_training = False
    run_eagerly = False
    any_image_size = False
    _metrics: list[Metric] | None = None
    _targets_shape: tuple[int, ...] | None = None  # that the metrics were made for
    _numbers: TrainingNumbers | None = None
    _generators: list[Any] = []

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Sequence[Any] | Any | None = None,
        loss_weights: Any = None,
        weighted_metrics: Sequence[Any] | Any | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Say how the model learns and what is reported.

        Args:
            optimizer: name ("adam") or object.
            loss: name ("sparse_categorical_crossentropy") or object; None to predict alone.
            metrics: names ("accuracy") or objects; they count all samples alike.
            run_eagerly: whether a GPU is never to replay steps that it has captured.
            loss_weights, steps_per_execution, jit_compile: of Keras; a warning or an error says
                what does not hold here.
            auto_scale_loss: whether the optimizer of a model that computes in float16 is made a
                `LossScaleOptimizer`.
            weighted_metrics: metrics that see the samples' weights, those of their classes too.

        Raises:
            ValueError: an unknown name (the message lists the near matches); no optimizer; a model
                with several outputs.
        """
        check_compile_arguments(optimizer, loss_weights, steps_per_execution, jit_compile)
        if loss is not None:
            require_one_output(self)
        chosen_optimizer, chosen_loss = optimizers.get(optimizer), losses.get(the_only(loss))
        if auto_scale_loss and self.compute_dtype == "float16":
            chosen_optimizer = LossScaleOptimizer.around(chosen_optimizer)
        identifiers, weighted = identifiers_of(metrics), identifiers_of(weighted_metrics)
        # nothing is taken over before all of it is known to be right
        self.optimizer, self.loss, self.run_eagerly = chosen_optimizer, chosen_loss, run_eagerly
        self.metric_identifiers, self.weighted_metric_identifiers = identifiers, weighted
        self._metrics = None  # made at the first batch: "accuracy" depends on the targets
        self._loss_tracker = Mean(name="loss")

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Sequence[Callback] | Callback | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> History:
        """Train for `epochs - initial_epoch` passes over the data.

        Args:
            x: images (N, H, W, C), a list of arrays for several inputs, or an iterator of batches
                (x, y) or (x, y, sample_weight). A GPU gets arrays once, where they take no more
                than half of its free memory, and otherwise batch by batch.
            y: targets (N,), (N, 1) or (N, classes); None with an iterator.
            batch_size: images per training step; default: 32.
            epochs: the number of the last epoch, counted from 1.
            verbose: 0 silent; 1 or "auto" a progress bar, where the output is a terminal or a
                notebook; 2 a line per epoch.
            callbacks: objects of `minicnn.callbacks`, or one.
            validation_split: fraction of the end of the arrays to validate on.
            validation_data: (x, y), (x, y, sample_weight) or an iterator of batches.
            shuffle: a new order of the arrays each epoch.
            class_weight: {label: weight of its samples in the loss}.
            sample_weight: (N,) weights in the loss.
            initial_epoch: epochs that are done already.
            steps_per_epoch, validation_steps: batches per epoch, fewer if the data run out. An
                epoch of training goes on where the last one stopped, so that all data are seen.
            validation_batch_size: images per batch of validation; default: batch_size.
            validation_freq: validate every so many epochs.

        Returns:
            `History`; its `history` is {"loss": [one per epoch], "val_loss": ..., ...}.

        Raises:
            RuntimeError: not compiled.
            ValueError: data that do not fit each other or the model.
        """
        require_compiled(self, "fit")
        epochs = check_integer("epochs", epochs)
        initial_epoch = check_integer("initial_epoch", initial_epoch, allow_zero=True)
        validation_freq = check_integer("validation_freq", validation_freq)
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = split(x, y, sample_weight, validation_split)
        batches = make_batches(
            x, y, sample_weight, batch_size, shuffle, steps_per_epoch, dtype=self.dtype
        )
        self._get_ready_for(batches)
        batches.weigh_classes(class_weight, self.dtype, self._classes)
        validation = None
        if validation_data is not None:
            validation = validation_batches(
                validation_data, validation_batch_size or batch_size, validation_steps, self.dtype
            )
            self._get_ready_for(validation)
        keep_on_device([batches, validation], self.dtype)
        watchers = CallbackList(
            callbacks, add_history=True, model=self,
            epochs=epochs, steps=batches.steps, verbose=verbose,
        )  # fmt: skip
        progress = ProgressBar(verbose, epochs, batches.steps)
        self.stop_training = False
        run = Run(self, batches, validation, watchers, initial_epoch)
        train: Callable[..., None] = partial(train_step, self)
        with one_blas_thread(), ExitStack() as capture:
            if graphs_are_possible() and not self.run_eagerly:  # only on a GPU
                train = capture.enter_context(CapturedStep(self, train))
            watchers.on_train_begin()
            try:
                for epoch in run.epochs(epochs):
                    progress.begin_epoch(epoch, run.step)
                    for step, batch in enumerate(batches, run.step):
                        watchers.on_train_batch_begin(step)
                        with out_of_memory.explained(batch_length(batch[0])):
                            train(*self._prepare(batch))
                        watchers.on_train_batch_end(step, LazyLogs(self._logs))
                        progress.update(batch_length(batch[0]), self._logs)
                        if self.stop_training:
                            break
                    before, run.logs = run.logs, self._logs()
                    progress.end_steps()
                    if not self.stop_training:
                        warn_of_lost_training(epoch, run.logs, before)
                    if validation is not None and (epoch + 1) % validation_freq == 0:
                        results = self._evaluate(validation, watchers)
                        run.logs.update({f"val_{name}": v for name, v in results.items()})
                    progress.end_epoch(run.logs)
                    watchers.on_epoch_end(epoch, run.logs)
            finally:
                capture.close()
                progress.close()
            self.optimizer.finalize_variable_values(self.trainable_weights)
            watchers.on_train_end(run.logs)
        return watchers.history  # type: ignore[return-value]

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Sequence[Callback] | Callback | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics on data.

        Args:
            x, y, batch_size, verbose, sample_weight, callbacks: as for `fit`.
            steps: batches at most; default: all.
            return_dict: return names with the figures.

        Returns:
            [loss, metric, ...], the loss alone without metrics, or with `return_dict`
            {"loss": ..., "accuracy": ...}.
        """
        require_compiled(self, "evaluate")
        batches = make_batches(
            x, y, sample_weight, batch_size, False, steps, resumes=False, dtype=self.dtype
        )
        self._get_ready_for(batches)
        keep_on_device([batches], self.dtype)
        watchers = CallbackList(callbacks, model=self, steps=batches.steps, verbose=verbose)
        progress = ProgressBar(verbose, 1, batches.steps, title="Evaluate")
        with one_blas_thread():
            progress.begin_epoch(0)
            try:
                results = self._evaluate(batches, watchers, progress)
                progress.end_epoch(results)
            finally:
                progress.close()
        return _in_form(results, return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Sequence[Callback] | Callback | None = None,
    ) -> Any:
        """Outputs for images, as a NumPy array (N, ...) in the dtype of the model's weights; a
        list of them for several outputs.

        Args:
            x, batch_size, verbose, callbacks: as for `fit`.
            steps: batches at most; default: all.
        """
        batches = make_batches(
            x, None, None, batch_size, False, steps, resumes=False, dtype=self.dtype
        )
        if isinstance(batches, ArrayBatches):
            batches.xs = self._build_and_check_inputs(batches.xs)
        else:
            batches.on_batch = lambda xs, y: self._build_and_check_inputs(xs)
        keep_on_device([batches], self.dtype)
        watchers = CallbackList(callbacks, model=self, steps=batches.steps, verbose=verbose)
        progress = ProgressBar(verbose, 1, batches.steps, title="Predict")
        outputs = Outputs()
        with one_blas_thread():
            progress.begin_epoch(0)
            watchers.on_predict_begin()
            try:
                for step, (xs, _, _) in enumerate(batches):
                    watchers.on_predict_batch_begin(step)
                    with out_of_memory.explained(batch_length(xs)):
                        ys = predict_step(self, self._prepare_inputs(xs))
                        outputs.add([widened(y) for y in ys])
                    outputs_of = partial(_outputs_of_batch, ys)
                    watchers.on_predict_batch_end(step, LazyLogs(outputs_of))
                    progress.update(batch_length(xs))
                whole = outputs.whole()
                progress.end_steps()
                progress.end_epoch({})
                watchers.on_predict_end()
            finally:
                progress.close()
        return whole if len(whole) > 1 else whole[0]

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One training step on one batch; its loss and metrics, as `evaluate` returns them.

        The figures are those of the weights before the step.

        Args:
            x, y, sample_weight, class_weight: as for `fit`, of one batch.
            return_dict: return names with the figures.
        """
        require_compiled(self, "train_on_batch")
        logs = self._on_batch(train_step, x, y, sample_weight, class_weight)
        return _in_form(logs, return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Loss and metrics of one batch, as `evaluate` returns them.

        Args:
            x, y, sample_weight: as for `fit`, of one batch.
            return_dict: return names with the figures.
        """
        require_compiled(self, "test_on_batch")
        return _in_form(self._on_batch(test_step, x, y, sample_weight), return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """Outputs for one batch x, as a NumPy array."""
        return self.predict(x, batch_size=WHOLE, verbose=0)

    @property
    def metrics(self) -> list[Metric]:
        """The mean of the loss, and the metrics as soon as the first batch has made them."""
        return [] if self.loss is None else [self._loss_tracker, *(self._metrics or [])]

    @property
    def metrics_names(self) -> list[str]:
        """Names of the metrics, in their order."""
        return [m.name for m in self.metrics]

    def reset_metrics(self) -> None:
        """Forget the batches seen so far."""
        for metric in self.metrics:
            metric.reset_state()

    def require_built(self) -> None:
        """Raise a ValueError unless the input's shape is known and the weights are made."""
        if not self.built:
            raise ValueError(f"{self.described} is not built: the input's shape is not known yet")

    # What a training step asks of the model

    def _record(
        self, loss: Array, y: Array, y_pred: Array, sample_weight: Array | None, on_logits: bool
    ) -> None:
        """Take a batch into the running figures.

        Args:
            loss: 0-d.
            y, y_pred, sample_weight: targets and predictions (N, ...), and weights (N,) or None.
            on_logits: whether the predictions lack the closing activation.
        """
        self._loss_tracker.update_state(loss, len(y_pred))
        if self._metrics is None:  # a callback has compiled anew
            self._make_metrics(y)
        if on_logits and not all(m.order_only for m in self._metrics or []):
            y_pred = activations.get(self.loss.takes_over).forward(y_pred)
        update_metrics(self._metrics or [], y, widened(y_pred), sample_weight)

    def _prepare(self, batch: Batch) -> tuple[list[Array], Array, Array | None]:
        """A checked batch of (inputs, targets, sample weights) on the backend, in the model's
        dtype."""
        xs, y, sample_weight = batch
        if sample_weight is not None:
            sample_weight = backend.asarray(sample_weight, self.dtype)
        return self._prepare_inputs(xs), backend.asarray(y), sample_weight

    def _prepare_inputs(self, xs: Sequence[Array]) -> list[Array]:
        """Inputs xs on the backend, as floating-point numbers: bytes in the dtype in which the
        model computes, others in that of its weights, from which its layers cast."""
        self.require_built()  # a callback may have taken layers off
        on_backend = [backend.asarray(x) for x in xs]
        dtypes = [self.compute_dtype if x.dtype.itemsize == 1 else self.dtype for x in on_backend]
        pairs = zip(on_backend, dtypes, strict=True)
        return [x.astype(dtype_of(dtype), copy=False) for x, dtype in pairs]

    # Inside

    @property
    def _classes(self) -> int | None:
        """How many classes the outputs stand for, as far as they say."""
        outputs = self.output_shape[-1] if self.built else None
        return outputs if outputs and outputs > 1 else None

    def _on_batch(
        self,
        step: Callable[..., None],
        x: Any,
        y: Any,
        sample_weight: Any,
        class_weight: dict[int, float] | None = None,
    ) -> dict[str, Any]:
        """`step` on data that are one batch, and its figures."""
        batches = make_batches(x, y, sample_weight, WHOLE, dtype=self.dtype)
        self._get_ready_for(batches)
        batches.weigh_classes(class_weight, self.dtype, self._classes)
        self.reset_metrics()
        with one_blas_thread():
            for batch in batches:
                with out_of_memory.explained(batch_length(batch[0])):
                    step(self, *self._prepare(batch))
        return self._logs()

    def _evaluate(
        self, batches: Any, watchers: CallbackList, progress: ProgressBar | None = None
    ) -> dict[str, Any]:
        watchers.on_test_begin()
        self.reset_metrics()
        for step, batch in enumerate(batches):
            watchers.on_test_batch_begin(step)
            with out_of_memory.explained(batch_length(batch[0])):
                test_step(self, *self._prepare(batch))
            watchers.on_test_batch_end(step, LazyLogs(self._logs))
            if progress is not None:
                progress.update(batch_length(batch[0]), self._logs)
        logs = self._logs()
        if progress is not None:
            progress.end_steps()
        watchers.on_test_end(logs)
        return logs

    def _get_ready_for(self, batches: ArrayBatches | IteratorBatches) -> None:
        """Build the model, make its metrics and see whether the data fit it: arrays as a whole,
        before anything runs; those of an iterator batch by batch, as they come."""
        if isinstance(batches, ArrayBatches):
            batches.xs = self._build_and_check(batches.xs, batches.y)
        else:
            batches.on_batch = self._build_and_check

    def _build_and_check(self, xs: Sequence[Array], y: Array | None) -> list[Array]:
        fitting = self._build_and_check_inputs(xs)
        if y is None:
            raise ValueError(
                "there are no targets: pass y beside x, or an iterator of batches (x, y)"
            )
        self.loss.check_targets(y, self.compute_output_shape([x.shape for x in fitting]))
        if self._metrics is None:
            self._make_metrics(y)
        return fitting

    def _make_metrics(self, y: Array) -> None:
        self._targets_shape = backend.shape_of(y)
        unweighted, weighted = self.metric_identifiers, self.weighted_metric_identifiers
        self._metrics = make_metrics(unweighted, weighted, y.shape, self.output_shape, self.loss)

    def _build_and_check_inputs(self, xs: Sequence[Array]) -> list[Array]:
        """Build the model for data of this shape if it is not, and see whether they fit it; xs with
        the last axis that a grey image may lack."""
        if not self.built:
            self.build((None, *xs[0].shape[1:]))
        fitting = with_last_axis(self, xs)
        check_input_shapes(self, fitting)
        return fitting

    def _logs(self) -> dict[str, Any]:
        """The figures so far."""
        return figures_of(self.metrics)


def _outputs_of_batch(ys: Sequence[Array]) -> dict[str, Any]:
    outputs = [backend.to_numpy(widened(y)) for y in ys]
    return {"outputs": outputs if len(outputs) > 1 else outputs[0]}


def _in_form(results: dict[str, Any], as_dict: bool) -> Any:
    if as_dict:
        return results
    values = list(results.values())
    return values if len(values) > 1 else values[0]
