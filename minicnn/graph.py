"""The one engine under `Sequential` and the functional `Model`: a graph of layer calls.

Calling a layer on a `SymbolicTensor` records a `Node`; a `Graph` is the set of nodes between given
inputs and outputs, in an order in which each comes after what it reads. A chain is a graph without
branches. In which pieces the work is done is told in `minicnn.steps`.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from minicnn.backend import array_module
from minicnn.context import Context
from minicnn.dtypes import cast
from minicnn.nodes import Node, SymbolicTensor
from minicnn.steps import Segment, Step, segments_of, steps_of


class Graph:
    """The nodes between `inputs` and `outputs`, each after what it reads.

    Raises:
        ValueError: an output does not depend on the given inputs alone.
    """

    def __init__(self, inputs: Sequence[SymbolicTensor], outputs: Sequence[SymbolicTensor]):
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.nodes = self._sorted_nodes()
        readers: dict[SymbolicTensor, int] = {}
        for node in self.nodes:
            for tensor in node.inputs:
                readers[tensor] = readers.get(tensor, 0) + 1
        for tensor in self.outputs:
            readers[tensor] = readers.get(tensor, 0) + 1
        self._readers = readers
        self.steps = steps_of(self.nodes, readers)
        self._closing = self.closing_layer()
        self._segment_lists: dict[bool, list[tuple[Segment, list[SymbolicTensor]]]] = {}

    def _sorted_nodes(self) -> list[Node]:
        """Depth-first from the outputs, without recursion: deep networks exceed Python's stack."""
        order: list[Node] = []
        done: set[SymbolicTensor] = set(self.inputs)
        stack = [(tensor, False) for tensor in reversed(self.outputs)]
        while stack:
            tensor, inputs_done = stack.pop()
            if tensor in done:
                continue
            if tensor.node is None:
                raise ValueError(
                    f"the model's output depends on an input of shape {tensor.shape} that is not "
                    f"among its inputs; pass it to Model(inputs=[...], outputs=...)"
                )
            if inputs_done:
                order.append(tensor.node)
                done.update(tensor.node.outputs)
            else:
                stack.append((tensor, True))
                stack.extend((t, False) for t in reversed(tensor.node.inputs))
        return order

    @property
    def layers(self) -> list[Any]:
        """Each layer once, in the order of its first call."""
        return list(dict.fromkeys(node.layer for node in self.nodes))

    @cached_property
    def work(self) -> int:
        """What a forward pass over one image takes: its multiply-adds, and ten for each number that
        a layer writes, which take about as long."""
        work = 0
        for node in self.nodes:
            work += node.layer.multiply_adds(node.input_shape)
            work += 10 * sum(t.size for t in node.outputs)
        return work

    def closing_layer(self) -> Any | None:
        """The layer that makes the only output, unless the graph reads that output itself."""
        if len(self.outputs) != 1 or not self.nodes or self.outputs[0].node is None:
            return None
        return self.nodes[-1].layer if self._readers[self.outputs[0]] == 1 else None

    def forward(self, xs: Sequence[Any], ctx: Context) -> list[Any]:
        """Arrays for the inputs to arrays of the outputs."""
        values = dict(zip(self.inputs, xs, strict=True))
        needs = self._needs_dx(ctx)
        images, itemsize = len(xs[0]), xs[0].dtype.itemsize
        # a model may be called on images of another size than it was made for; and on a GPU a crop
        # would have to be copied, which takes as long as what it saves
        crops = type(xs[0]) is np.ndarray and all(
            x.shape[1:] == t.shape[1:] for x, t in zip(xs, self.inputs, strict=True)
        )
        ctx.save(images, itemsize, crops)
        for segment, dying in self._segments(ctx.training):
            tiles = segment.tiles(images, itemsize)
            for k, tile in enumerate(tiles):
                part = {t: _cut(values[t], tile, tiles) for t in segment.inputs}
                self._forward_tile(segment, k, part, needs, crops, ctx)
                for tensor in segment.outputs:
                    _paste(values, tensor, part[tensor], tile, tiles)
            for tensor in dying:
                del values[tensor]
        return [values[t] for t in self.outputs]

    def _forward_tile(
        self,
        segment: Segment,
        tile: int,
        values: dict[SymbolicTensor, Any],
        needs_dx: dict[Step, bool],
        crops: bool,
        ctx: Context,
    ) -> None:
        """The steps of a segment on one tile; `values` comes with the inputs and leaves with the
        outputs."""
        for step, dying in zip(segment.steps, segment.dying, strict=True):
            node = step.node
            last = ctx.wants_logits and node.layer is self._closing and step is self.steps[-1]
            inner = ctx.child((step, tile), needs_dx[step], last, node.training)
            arguments = [step.cropped(values[t]) if crops else values[t] for t in step.inputs]
            for tensor in dying:
                values.pop(tensor, None)
            if node.layer.autocast:
                arguments = _cast(arguments, node.layer, inner)
            call = _call_of(step, "forward", ctx)
            results = call(arguments if node.many_inputs else arguments.pop(), inner)
            del arguments
            results = results if node.many_outputs else [results]
            if node.layer.autocast:
                results = [cast(y, node.layer.compute_dtype) for y in results]
            values.update(zip(step.outputs, results, strict=True))
            if not ctx.record:
                ctx.release((step, tile))

    def backward(self, dys: Sequence[Any], ctx: Context) -> list[Any]:
        """Gradients of the outputs (None for those that nobody read) to gradients of the inputs
        (None where nobody needs them).

        Where a tensor is read more than once, the gradients of its readers add up:
        y = f(x), z = g(x): dx = dy df/dx + dz dg/dx.
        """
        gradients: dict[SymbolicTensor, Any] = {}
        for tensor, dy in zip(self.outputs, dys, strict=True):
            if dy is not None:
                gradients[tensor] = _sum(gradients.get(tensor), dy)
        needs = self._needs_dx(ctx)
        images, itemsize, crops = ctx.saved  # the same tiles, whatever the dtype of dy
        for segment, _ in reversed(self._segments(ctx.training)):
            received = {t: gradients.pop(t) for t in segment.outputs if t in gradients}
            tiles = segment.tiles(images, itemsize)
            whole: dict[SymbolicTensor, Any] = {}
            for k, tile in enumerate(tiles):
                part = {t: _cut(dy, tile, tiles) for t, dy in received.items()}
                self._backward_tile(segment, k, part, needs, crops, ctx)
                for tensor in segment.inputs:
                    if part.get(tensor) is not None:
                        _paste(whole, tensor, part[tensor], tile, tiles)
            for tensor, dx in whole.items():
                gradients[tensor] = _sum(gradients.get(tensor), dx)
        return [gradients.get(t) for t in self.inputs]

    def _backward_tile(
        self,
        segment: Segment,
        tile: int,
        gradients: dict[SymbolicTensor, Any],
        needs_dx: dict[Step, bool],
        crops: bool,
        ctx: Context,
    ) -> None:
        """The steps of a segment backwards; `gradients` comes with those of the outputs and leaves
        with those of the inputs."""
        for step in reversed(segment.steps):
            node = step.node
            inner = ctx.child((step, tile))
            received = [gradients.pop(t, None) for t in step.outputs]
            wanted = needs_dx[step] or bool(node.layer.trainable_weights)
            if wanted and any(dy is not None for dy in received):
                call = _call_of(step, "backward", ctx)
                dx = call(received if node.many_outputs else received[0], inner)
                dxs = dx if node.many_inputs else [step.uncropped(dx) if crops else dx]
                if node.layer.autocast:
                    dxs = _cast_back(dxs, node.layer, inner)
                for tensor, part in zip(step.inputs, dxs, strict=True):
                    if part is not None:
                        gradients[tensor] = _sum(gradients.get(tensor), part)
            ctx.release((step, tile))

    def _segments(self, training: bool) -> list[tuple[Segment, list[SymbolicTensor]]]:
        """Segments in order, each with the tensors that nobody reads after it."""
        if training not in self._segment_lists:
            segments = segments_of(self.steps, self.outputs, training)
            dying, seen = [], set(self.outputs)
            for segment in reversed(segments):
                dying.append([t for t in segment.inputs if t not in seen])
                seen.update(segment.inputs)
            self._segment_lists[training] = list(zip(segments, reversed(dying), strict=True))
        return self._segment_lists[training]

    def _needs_dx(self, ctx: Context) -> dict[Step, bool]:
        """For each step, whether anything before it learns (or the caller wants the input's
        gradient): below the first such layer backward has nothing to do."""
        wanted = {tensor: ctx.needs_dx for tensor in self.inputs}
        needs = {}
        for step in self.steps:
            needs[step] = any(wanted[t] for t in step.inputs)
            learns = needs[step] or bool(step.layer.trainable_weights)
            wanted.update((t, learns) for t in step.outputs)
        return needs


def _cut(values: Any, tile: slice, tiles: Sequence[slice]) -> Any:
    return values if len(tiles) == 1 else values[tile]


def _paste(
    whole: dict[SymbolicTensor, Any],
    tensor: SymbolicTensor,
    part: Any,
    tile: slice,
    tiles: Sequence[slice],
) -> None:
    """Put a tile's array at its place in that of the batch."""
    if len(tiles) == 1:
        whole[tensor] = part
        return
    if tensor not in whole:
        shape = (tiles[-1].stop, *part.shape[1:])
        whole[tensor] = array_module(part).empty(shape, part.dtype)
    whole[tensor][tile] = part


def _cast(arguments: list[Any], layer: Any, ctx: Context) -> list[Any]:
    """What a layer is given, in the dtype in which it computes."""
    casted = [cast(x, layer.compute_dtype) for x in arguments]
    if any(a is not b for a, b in zip(casted, arguments, strict=True)):
        ctx.given_dtypes = [x.dtype for x in arguments]
    return casted


def _cast_back(dxs: Sequence[Any], layer: Any, ctx: Context) -> Sequence[Any]:
    """Adjoint of `_cast`: gradients in the dtype of what the layer was given."""
    if ctx.given_dtypes is None:
        return [dx if dx is None else cast(dx, layer.compute_dtype) for dx in dxs]
    pairs = zip(dxs, ctx.given_dtypes, strict=True)
    return [dx if dx is None else dx.astype(dtype, copy=False) for dx, dtype in pairs]


def _call_of(step: Step, phase: str, ctx: Context) -> Callable[[Any, Context], Any]:
    """The layer's method for a step, or the observer's call of it."""
    if ctx.observer is None:
        return getattr(step.layer, step.forward if phase == "forward" else step.backward)
    return partial(ctx.observer.call, step, phase)


def _sum(present: Any, part: Any) -> Any:
    return part if present is None else present + part
