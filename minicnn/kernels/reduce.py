"""Sums over all axes but the last."""

from typing import Any

from minicnn.backend import array_module


def channel_sum(x: Any) -> Any:
    """(..., C) to (C,): the sum over everything but the channel.

    Adding a long column number by number in float32 loses digits (error growing with its length),
    so it is done in two stages of about the square root of the length each.
    """
    xp = array_module(x)
    x = x.reshape(-1, x.shape[-1])
    rows = x.shape[0]
    block = 1 << max(0, (rows.bit_length() + 1) // 2)
    if rows <= 2 * block:
        return xp.ones(rows, x.dtype) @ x
    whole = rows - rows % block
    # (blocks, block, C) -> (blocks, C) -> (C,)
    total = xp.matmul(xp.ones(block, x.dtype), x[:whole].reshape(-1, block, x.shape[-1])).sum(0)
    return total if whole == rows else total + x[whole:].sum(0)
