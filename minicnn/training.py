"""The training loop: compile, fit, evaluate, predict.

One step, as `_train_step` writes it out: forward, loss and backward (`parallel/batch.py` cuts the
batch into shards for it); the gradients of the regularizers; the optimizer moves the weights; the
new moving statistics are taken over.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from minicnn import activations, backend, losses, optimizers, out_of_memory, random
from minicnn.batches import (
    ArrayBatches,
    Batch,
    IteratorBatches,
    Outputs,
    check_integer,
    keep_on_device,
    make_batches,
    split,
)
from minicnn.callbacks import Callback, CallbackList, History, LazyLogs
from minicnn.dtypes import dtype_of, widened
from minicnn.layers.base import Layer, Weight, with_inner_layers
from minicnn.layers.seeded import SeededLayer
from minicnn.metrics import Mean, Metric
from minicnn.metrics import get as get_metric
from minicnn.metrics import resolve as resolve_metric
from minicnn.metrics.base import read_sums
from minicnn.optimizers import LossScaleOptimizer
from minicnn.parallel import one_blas_thread
from minicnn.parallel.batch import batch_gradients, batch_length, batch_outputs, shards_of
from minicnn.parallel.capture import CapturedStep
from minicnn.progress import ProgressBar

WHOLE = sys.maxsize  # the batch size for arrays that are one batch


class Trainer(Layer):
    """What a model can do beside being a layer: learn, be measured, predict."""

    optimizer: Any = None
    loss: Any = None
    stop_training = False
    _metrics: list[Metric] | None = None
    _metric_identifiers: Sequence[Any] = ()
    _generators: list[Any] = []

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Sequence[Any] | Any | None = None,
        auto_scale_loss: bool = True,
    ) -> None:
        """Say how the model learns and what is reported.

        Args:
            optimizer: name ("adam") or object.
            loss: name ("sparse_categorical_crossentropy") or object.
            metrics: names ("accuracy") or objects.
            auto_scale_loss: whether the optimizer of a model that computes in float16 is made a
                `LossScaleOptimizer`.

        Raises:
            ValueError: an unknown name (the message lists the near matches); a model with several
                outputs.
        """
        self._check_one_output()
        if loss is None:
            raise ValueError(
                "compile needs a loss, such as loss='sparse_categorical_crossentropy' for labels "
                "0, 1, 2 ... or 'categorical_crossentropy' for one-hot targets"
            )
        self.optimizer = optimizers.get(optimizer)
        if auto_scale_loss and self.compute_dtype == "float16":
            self.optimizer = LossScaleOptimizer.around(self.optimizer)
        self.loss = losses.get(loss)
        chosen = metrics or []
        self._metric_identifiers = list(chosen) if isinstance(chosen, (list, tuple)) else [chosen]
        for identifier in self._metric_identifiers:
            if identifier not in ("accuracy", "acc"):
                get_metric(identifier)  # an unknown name is an error now, not at the first batch
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
            batch_size: images a step; 32 where not given.
            verbose: 0 silent; 1 or "auto" a progress bar, where the output is a terminal; 2 a line
                an epoch.
            callbacks: objects of `minicnn.callbacks`.
            validation_split: fraction of the end of the arrays to validate on.
            validation_data: (x, y), (x, y, sample_weight) or an iterator of batches.
            shuffle: a new order of the arrays each epoch.
            class_weight: {label: weight of its samples in the loss}.
            sample_weight: (N,) weights in the loss.
            steps_per_epoch, validation_steps: batches an epoch takes; fewer where the data end
                before.
            validation_freq: validate every so many epochs.

        Returns:
            `History`; its `history` is {"loss": [one an epoch], "val_loss": ..., ...}.

        Raises:
            RuntimeError: not compiled.
            ValueError: data that do not fit each other or the model.
        """
        self._check_compiled("fit")
        epochs = check_integer("epochs", epochs)
        initial_epoch = check_integer("initial_epoch", initial_epoch, allow_zero=True)
        validation_freq = check_integer("validation_freq", validation_freq)
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = split(x, y, sample_weight, validation_split)
        batches = make_batches(x, y, sample_weight, batch_size, shuffle, steps_per_epoch)
        self._check_data(batches)
        batches.weigh_classes(class_weight, self.dtype)
        validation = None
        if validation_data is not None:
            validation = _validation_batches(
                validation_data, validation_batch_size or batch_size, validation_steps
            )
            self._check_data(validation)
        keep_on_device([batches, validation], self.dtype)
        watchers = CallbackList(
            callbacks, add_history=True, model=self,
            epochs=epochs, steps=batches.steps, verbose=verbose,
        )  # fmt: skip
        progress = ProgressBar(verbose, epochs, batches.steps)
        self.stop_training = False
        self._generators = []  # `set_random_seed` before this fit governs it too
        logs: dict[str, Any] = {}
        train_step = CapturedStep(self, self._train_step)
        with one_blas_thread():
            watchers.on_train_begin()
            try:
                for epoch in range(initial_epoch, epochs):
                    watchers.on_epoch_begin(epoch)
                    progress.begin_epoch(epoch)
                    self.reset_metrics()
                    for step, batch in enumerate(batches):
                        watchers.on_train_batch_begin(step)
                        with out_of_memory.explained(batch_length(batch[0])):
                            train_step(*self._prepare(batch))
                        watchers.on_train_batch_end(step, LazyLogs(self._logs))
                        progress.update(batch_length(batch[0]), self._logs)
                        if self.stop_training:
                            break
                    logs = self._logs()
                    progress.end_steps()
                    if validation is not None and (epoch + 1) % validation_freq == 0:
                        results = self._evaluate(validation, watchers)
                        logs.update({f"val_{name}": value for name, value in results.items()})
                    progress.end_epoch(logs)
                    watchers.on_epoch_end(epoch, logs)
                    if self.stop_training:
                        break
            finally:
                train_step.close()
                progress.close()
            watchers.on_train_end(logs)
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
        """Loss and metrics on data, as `fit` takes them.

        Returns:
            [loss, metric, ...], the loss alone where there are no metrics, or with `return_dict`
            {"loss": ..., "accuracy": ...}.
        """
        self._check_compiled("evaluate")
        batches = make_batches(x, y, sample_weight, batch_size, False, steps)
        self._check_data(batches)
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
        list of them for several outputs."""
        batches = make_batches(x, None, None, batch_size, False, steps)
        if isinstance(batches, ArrayBatches):
            self._check_inputs(batches.xs)
        keep_on_device([batches], self.dtype)
        watchers = CallbackList(callbacks, model=self, steps=batches.steps, verbose=verbose)
        progress = ProgressBar(verbose, 1, batches.steps, title="Predict")
        outputs = Outputs()
        with one_blas_thread():
            progress.begin_epoch(0)
            watchers.on_predict_begin()
            try:
                for step, (bx, _, _) in enumerate(batches):
                    watchers.on_predict_batch_begin(step)
                    with out_of_memory.explained(batch_length(bx)):
                        ys = batch_outputs(self, self._prepare_inputs(bx))
                        outputs.add([widened(y) for y in ys])
                    watchers.on_predict_batch_end(step)
                    progress.update(batch_length(bx))
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
        """One step on one batch; loss and metrics of it, as `evaluate` returns them.

        The figures are those of the weights before the step.
        """
        self._check_compiled("train_on_batch")
        logs = self._on_batch(self._train_step, x, y, sample_weight, class_weight)
        return _in_form(logs, return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Loss and metrics of one batch, as `evaluate` returns them."""
        self._check_compiled("test_on_batch")
        return _in_form(self._on_batch(self._test_step, x, y, sample_weight), return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """Outputs for one batch, as a NumPy array."""
        return self.predict(x, batch_size=WHOLE, verbose=0)

    @property
    def metrics(self) -> list[Metric]:
        """The mean of the loss, and the metrics as soon as the first batch has made them."""
        return [] if self.loss is None else [self._loss_tracker, *(self._metrics or [])]

    @property
    def metrics_names(self) -> list[str]:
        return [m.name for m in self.metrics]

    def reset_metrics(self) -> None:
        for metric in self.metrics:
            metric.reset_state()

    # One step

    def _on_batch(
        self,
        step: Callable[[Any, Any, Any], None],
        x: Any,
        y: Any,
        sample_weight: Any,
        class_weight: dict[int, float] | None = None,
    ) -> dict[str, Any]:
        """`step` on data that are one batch, and its figures."""
        batches = make_batches(x, y, sample_weight, WHOLE)
        self._check_data(batches)
        batches.weigh_classes(class_weight, self.dtype)
        self.reset_metrics()
        with one_blas_thread():
            for batch in batches:
                with out_of_memory.explained(batch_length(batch[0])):
                    step(*self._prepare(batch))
        return self._logs()

    def _train_step(self, x: Any, y: Any, sample_weight: Any) -> None:
        """One step of the optimizer on a prepared batch."""
        loss, fused = self._step_loss()
        generators = self._shard_generators(shards_of(self, x, training=True))
        self._next_pass(generators)
        value, y_pred, gradients, updates = batch_gradients(
            self, loss, x, y, sample_weight, generators, fused, self.optimizer.loss_scale
        )
        value = self._with_penalties(value)  # of the weights before the step
        for weight in self._penalized_weights():
            penalty = weight.regularizer.gradient(weight.value)
            if self.optimizer.loss_scale is not None:
                penalty = penalty * self.optimizer.loss_scale
            present = gradients.get(weight)
            gradients[weight] = penalty if present is None else present + penalty
        self.optimizer.apply(gradients)
        for weight, updated in updates.items():
            weight.value = updated
        self._record(value, y, y_pred)

    def _test_step(self, x: Any, y: Any, sample_weight: Any) -> None:
        """The loss and metrics of a prepared batch."""
        loss, fused = self._step_loss()
        (y_pred,) = batch_outputs(self, x, wants_logits=fused)
        value, _ = loss.forward(y, y_pred, sample_weight)
        self._record(self._with_penalties(value), y, y_pred)

    def _penalized_weights(self) -> list[Weight]:
        return [w for w in self.trainable_weights if w.regularizer is not None]

    def _with_penalties(self, value: Any) -> Any:
        """A loss and the penalties of the regularizers on top of it."""
        for weight in self._penalized_weights():
            value = value + weight.regularizer(weight.value)
        return value

    def _step_loss(self) -> tuple[Any, bool]:
        """The loss of a step, and whether it is on logits in place of a closing softmax."""
        fused = self._takes_logits()
        return (self.loss.with_logits() if fused else self.loss), fused

    def _record(self, loss: Any, y: Any, y_pred: Any) -> None:
        """Take a batch's loss and predictions into the running figures."""
        self._loss_tracker.update_state(loss, batch_length(y_pred))
        if self._takes_logits() and not all(m.order_only for m in self._metrics or []):
            y_pred = activations.get("softmax").forward(y_pred)
        y_pred = widened(y_pred)
        for metric in self._metrics or []:
            metric.update_state(y, y_pred)  # unweighted, as Keras's compile(metrics=...)

    def _takes_logits(self) -> bool:
        """Whether the loss takes over the model's closing softmax: one pass, and exact where
        probabilities would round to 0 or 1."""
        return self.closing_softmax and getattr(self.loss, "from_logits", None) is False

    def _evaluate(
        self, batches: Any, watchers: CallbackList, progress: ProgressBar | None = None
    ) -> dict[str, Any]:
        watchers.on_test_begin()
        self.reset_metrics()
        for step, batch in enumerate(batches):
            watchers.on_test_batch_begin(step)
            with out_of_memory.explained(batch_length(batch[0])):
                self._test_step(*self._prepare(batch))
            watchers.on_test_batch_end(step, LazyLogs(self._logs))
            if progress is not None:
                progress.update(batch_length(batch[0]), self._logs)
        logs = self._logs()
        if progress is not None:
            progress.end_steps()
        watchers.on_test_end(logs)
        return logs

    # Data into the model

    def _check_compiled(self, what: str) -> None:
        if self.loss is None:
            raise RuntimeError(
                f"{self.described} must be compiled before {what}: "
                f"model.compile(optimizer='adam', loss='sparse_categorical_crossentropy', "
                f"metrics=['accuracy'])"
            )

    def _check_one_output(self) -> None:
        if isinstance(self.output_shape, list):
            raise ValueError(
                f"{self.described} has {len(self.output_shape)} outputs; a loss takes one: train "
                f"Model(inputs, one_output), which shares its layers, and use the others with "
                f"predict"
            )

    def _check_data(self, batches: ArrayBatches | IteratorBatches) -> None:
        """Arrays are checked as a whole, before anything runs; iterators batch by batch."""
        if isinstance(batches, ArrayBatches):
            self._check_batch(batches.xs, batches.y)
            self._make_metrics(batches.y)
        else:
            batches.check = self._check_batch

    def _check_batch(self, xs: Sequence[Any], y: Any) -> None:
        self._check_inputs(xs)
        self._check_targets(y, len(xs[0]))

    def _check_inputs(self, xs: Sequence[Any]) -> None:
        raise NotImplementedError  # a model knows its inputs

    def _check_targets(self, y: Any, samples: int) -> None:
        if y is None:
            raise ValueError(
                "there are no targets: pass y beside x, or an iterator of batches (x, y)"
            )
        self.loss.check_targets(y, (samples, *self.output_shape[1:]))

    def _make_metrics(self, y: Any) -> None:
        if self._metrics is None:
            self._metrics = [
                resolve_metric(identifier, y.shape, self.output_shape, self.loss)
                for identifier in self._metric_identifiers
            ]

    def _prepare_inputs(self, x: Any) -> Any:
        """Inputs checked, on the backend, as floating-point numbers: bytes in the dtype in which
        the model computes, others in that of its weights, from which its layers cast."""
        many = isinstance(x, list)
        xs = x if many else [x]
        self._check_inputs(xs)
        xs = [backend.asarray(a) for a in xs]
        dtypes = [self.compute_dtype if a.dtype.itemsize == 1 else self.dtype for a in xs]
        xs = [a.astype(dtype_of(d), copy=False) for a, d in zip(xs, dtypes, strict=True)]
        return xs if many else xs[0]

    def _prepare(self, batch: Batch) -> tuple[Any, Any, Any]:
        """A batch of (x, y, sample_weight) on the backend, in the model's dtype."""
        x, y, sample_weight = batch
        x = self._prepare_inputs(x)
        self._make_metrics(y)
        if sample_weight is not None:
            sample_weight = backend.asarray(sample_weight, self.dtype)
        return x, backend.asarray(y), sample_weight

    def _shard_generators(self, shards: int) -> list[Any]:
        """A random generator for each shard; they go on from step to step."""
        while len(self._generators) < shards:
            self._generators = [*self._generators, random.device_generator()]
        return self._generators[:shards]

    def _next_pass(self, generators: list[Any]) -> None:
        """Have the generators of the pass, and those that layers have of their own, go on."""
        random.next_pass(generators)
        for layer in with_inner_layers(self):
            if isinstance(layer, SeededLayer):
                layer.next_pass()

    def _logs(self) -> dict[str, Any]:
        """The figures so far as Python numbers; waits for the device, once for all of them."""
        read_sums(self.metrics)
        return {metric.name: metric.result() for metric in self.metrics}


def _validation_batches(data: Any, batch_size: int | None, steps: int | None) -> Any:
    if isinstance(data, (tuple, list)):
        if len(data) not in (2, 3):
            raise ValueError(
                f"validation_data is (x, y), (x, y, sample_weight) or an iterator of batches; got "
                f"{len(data)} parts"
            )
        x, y, sample_weight = (*data, None)[:3]
        return make_batches(x, y, sample_weight, batch_size, steps=steps)
    return make_batches(data, steps=steps)


def _in_form(results: dict[str, Any], as_dict: bool) -> Any:
    if as_dict:
        return results
    values = list(results.values())
    return values if len(values) > 1 else values[0]
