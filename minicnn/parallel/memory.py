"""Memory that one training step frees, kept for the next.

By default glibc's malloc gives every large array back to the system as soon as it is freed. The
next training step needs arrays of the same sizes and gets fresh pages, which the operating system
has to clear one by one on first touch: a quarter of a training step of the tutorial network (7,000
page faults at batch 128; with this, none, and no higher peak).
"""

import ctypes
import os
import platform
from functools import cache

# From malloc.h: the size below which an array comes from the heap, how much may lie free at its top
# before it is given back, and by how much it grows.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD, _M_TOP_PAD = -3, -1, -2
_LARGEST_KEPT = 256 << 20  # bytes; larger arrays, such as whole data sets, still go back at once
_NEVER = 2**31 - 1
_GROWTH = 64 << 20


@cache
def keep_freed_memory() -> bool:
    """Tell malloc, once and for the whole process, to keep what is freed.

    Does nothing with MINICNN_KEEP_MEMORY=0, or if the C library is not glibc.

    Returns:
        Whether malloc took the settings.
    """
    if os.environ.get("MINICNN_KEEP_MEMORY") == "0" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = [
        (_M_MMAP_THRESHOLD, _LARGEST_KEPT),
        (_M_TRIM_THRESHOLD, _NEVER),
        (_M_TOP_PAD, _GROWTH),
    ]
    return all([mallopt(*setting) == 1 for setting in settings])
