"""A model run the plain way: whole layer calls, in the order of the graph, on the whole batch."""

import numpy as np
from strategies import numbers

from minicnn.layers.context import Context
from minicnn.models import Model


class NaivePass:
    """One forward and backward pass through a model, nested ones included.

    Attributes:
        outputs: a list of arrays.
        dxs: a list of gradients, one for each input; None where nothing leads there.
        gradients, updates: {weight: array}.
    """

    def __init__(self, model, xs, dys, training=True):
        self.training = training
        self.gradients, self.updates = {}, {}
        self.outputs, backward = self._forward(model, xs, training)
        self.dxs = backward(dys)

    def _forward(self, model, xs, training):
        """(outputs, the function from their gradients to those of the inputs)."""
        values = dict(zip(model.inputs, xs, strict=True))
        calls = []
        for node in model.graph.nodes:
            trains = training if node.training is None else node.training
            arrays = [values[t] for t in node.inputs]
            if isinstance(node.layer, Model):
                results, backward = self._forward(node.layer, arrays, trains)
            else:
                results, backward = self._call(node, arrays, trains)
            values.update(zip(node.outputs, results, strict=True))
            calls.append((node, backward))

        def whole_backward(dys):
            sums = {}

            def add(tensor, part):
                if part is not None:
                    sums[tensor] = part if tensor not in sums else sums[tensor] + part

            for tensor, dy in zip(model.outputs, dys, strict=True):
                add(tensor, dy)
            for node, backward in reversed(calls):
                received = [sums.pop(t, None) for t in node.outputs]
                if any(dy is not None for dy in received):
                    for tensor, dx in zip(node.inputs, backward(received), strict=True):
                        add(tensor, dx)
            return [sums.get(t) for t in model.inputs]

        return [values[t] for t in model.outputs], whole_backward

    def _call(self, node, arrays, training):
        ctx = Context(training, record=True)
        y = node.layer.forward(arrays if node.many_inputs else arrays[0], ctx)

        def backward(dys):
            dx = node.layer.backward(dys if node.many_outputs else dys[0], ctx)
            for weight, gradient in ctx.gradients.items():
                before = self.gradients.get(weight)
                self.gradients[weight] = gradient if before is None else before + gradient
            return dx if node.many_inputs else [dx]

        self.updates.update(ctx.updates)
        return y if node.many_outputs else [y], backward


def _listed(x):
    return list(x) if isinstance(x, (list, tuple)) else [x]


def check_model(model, images=5, training=True, tolerance=1e-12):
    """The model's own pass against the plain one: outputs and all gradients."""
    for i, weight in enumerate(model.weights):
        weight.assign(0.1 + np.abs(numbers(weight.shape, 50 + i)) * 0.5)
    xs = [numbers((images, *t.shape[1:]), i) for i, t in enumerate(model.inputs)]
    ctx = Context(training, record=True)
    many = isinstance(model.input_shape, list)
    outputs = _listed(model.forward(xs if many else xs[0], ctx))
    dys = [numbers(y.shape, 20 + i) for i, y in enumerate(outputs)]
    dxs = model.backward(dys if len(dys) > 1 else dys[0], ctx)
    plain = NaivePass(model, xs, dys, training)

    def close(actual, expected):
        largest = max(1, np.abs(expected).max())
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * largest)

    for actual, expected in zip(outputs, plain.outputs, strict=True):
        close(actual, expected)
    for actual, expected in zip(_listed(dxs), plain.dxs, strict=True):
        assert (actual is None) == (expected is None)
        if expected is not None:
            close(actual, expected)
    assert ctx.gradients.keys() == plain.gradients.keys() >= set(model.trainable_weights)
    for weight, expected in plain.gradients.items():
        close(ctx.gradients[weight], expected)
    assert ctx.updates.keys() == plain.updates.keys()
    for weight, expected in plain.updates.items():
        close(ctx.updates[weight], expected)
    assert not ctx._children  # backward has forgotten what forward recorded
    for actual, expected in zip(  # and without a record
        _listed(model.forward(xs if many else xs[0], Context(training, record=False))),
        outputs,
        strict=True,
    ):
        close(actual, expected)
