"""Layers that look across the images of a batch, without saying so."""

from minicnn.layers import Layer


class Centre(Layer):
    """y = x - mean(x) over the images."""

    def forward(self, x, ctx):
        return x - x.mean(0)

    def backward(self, dy, ctx):
        return dy - dy.mean(0)


class Mixed(Layer):
    """Each image with another one, which the generator of the pass chooses."""

    def forward(self, x, ctx):
        order = ctx.rng.permutation(len(x))
        ctx.save(order)
        return x + 0.5 * x[order]

    def backward(self, dy, ctx):
        (order,) = ctx.saved
        dx = dy.copy()
        dx[order] += 0.5 * dy
        return dx
