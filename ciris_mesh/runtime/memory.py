"""Keeps a daemon small: a board with 512 MB also runs Reticulum for others, and a browser.

glibc gives each thread an arena of its own, and keeps what was freed in it. A node has a few dozen
threads that hardly ever allocate at the same time, for Python lets one run.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Any, Final

#: Seconds from the start until memory is given back again, and from then on: first meetings are
#: over by then; what a burst later on leaves is at most what it took.
GIVE_BACK_S: Final = (20.0, 120.0)

#: Parameters of `mallopt` in glibc's malloc.h.
_M_ARENA_MAX: Final = -8
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
#: Free memory at the end of the heap is given back from here on, and what is larger than a frame
#: at once. A Deliver of 0x01 takes 2 MB and is copied a few times on its way: given back each
#: time, its pages cost the receiver a tenth of its processor and the sender a fifth.
_TRIM_BYTES: Final = 16 << 20
_MMAP_BYTES: Final = 8 << 20


def be_thrifty() -> None:
    """One arena for all threads, and what is freed is kept for the next frame until `give_back`.

    Before threads are started; nothing where there is no glibc, less where it has 32 bits.
    """
    allocator = _glibc()
    if allocator is not None:
        allocator.mallopt(_M_ARENA_MAX, 1)
        allocator.mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
        allocator.mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)


def settle() -> None:
    """Give back what starting took, and let the collector pass over what is there for good."""
    give_back()
    gc.freeze()


def give_back() -> None:
    """Give back what a burst left behind. Some milliseconds, most of them to find it."""
    gc.collect()
    allocator = _glibc()
    if allocator is not None:
        allocator.malloc_trim(0)


def _glibc() -> Any:
    try:
        found = ctypes.CDLL(None)
        return found if hasattr(found, "mallopt") and hasattr(found, "malloc_trim") else None
    except OSError:
        return None
