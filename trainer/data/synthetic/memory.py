"""Memory that is freed and taken again thousands of times a second."""

import ctypes
import sys

# Of glibc's malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
HELD = 1 << 30  # bytes
LARGEST = 1 << 25  # bytes of one tensor; older versions refuse more


def hold_memory() -> bool:
    """Let this process keep up to 1 GiB of what it frees, for its next tensors.

    glibc gives large pieces back to the system, which clears them page by page when they are taken again:
    half of the time that a picture takes to rasterise on the CPU. To be called once by a process that
    renders. False where the C library has no such settings (it isn't glibc): nothing is changed there.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # The trim threshold alone leaves what was mapped apart; both, and large tensors lie on the heap.
    return bool(mallopt(TRIM_THRESHOLD, HELD)) and bool(mallopt(MMAP_THRESHOLD, LARGEST))
