"""What to do where a batch does not fit into the memory of a GPU."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import clear_frames
from typing import Any

from minicnn import backend


@contextmanager
def explained(images: int) -> Iterator[None]:
    """Where the device runs out of memory within the context, say which batch would fit.

    Args:
        images: in the batch that is being worked on.

    Raises:
        MemoryError: in place of CuPy's OutOfMemoryError, its cause: what the batch takes, what
            the device has, and a `batch_size` to try. Errors of the host's memory pass unchanged.
    """
    try:
        yield
    except MemoryError as error:
        xp = backend.current_module()
        if not (hasattr(xp, "cuda") and isinstance(error, xp.cuda.memory.OutOfMemoryError)):
            raise
        text = _text(images, str(error), xp)
        # As long as somebody holds the error, as a notebook does, it holds all arrays of the step
        # that failed: no smaller batch would fit beside them.
        clear_frames(error.__traceback__)
        raise MemoryError(text) from error


def _text(images: int, message: str, xp: Any) -> str:
    pool = xp.get_default_memory_pool()
    free, total = xp.cuda.Device().mem_info
    used = pool.used_bytes()  # the arrays of the step among them: they are not freed yet
    available = free + pool.total_bytes()
    available = min(available, pool.get_limit() or available)
    asked = re.search(r"allocating ([\d,]+) bytes", message)
    more = int(asked[1].replace(",", "")) if asked else 0
    text = (
        f"a batch of {images:,} does not fit into the memory of the GPU: "
        f"{_gigabytes(used)} were in use when {_gigabytes(more) if asked else 'more'} had to be "
        f"added, of {_gigabytes(available)} that can be had and {_gigabytes(total)} in all. "
    )
    if images == 1:
        return text + "Smaller images or a smaller network take less."
    smaller = smaller_batch(images, used + more, available)
    return text + (
        f"What a batch takes grows with its size: try batch_size={smaller}, and if that is still "
        f"too much, half of it."
    )


def smaller_batch(images: int, needed: int, available: int) -> int:
    """The largest power of two that should fit, at most half of what did not.

    Args:
        images: more than 1, that did not fit.
        needed: bytes up to where the memory ran out; the rest of the step is not in them, and
            weights, which do not grow with the batch, are.
        available: bytes.
    """
    fits = min(images // 2, images * available // max(1, needed))
    return 1 << max(0, fits.bit_length() - 1)


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:,.2f} GB"
