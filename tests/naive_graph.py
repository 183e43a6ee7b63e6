"""A model run the plain way: whole layer calls, in the order of the graph, on the whole batch."""

from minicnn.context import Context
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
