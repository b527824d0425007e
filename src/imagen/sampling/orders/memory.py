"""Out of memory: told from other failures, and the number of pictures that does fit."""

from collections.abc import Callable

import torch

CPU_ALLOCATOR = "DefaultCPUAllocator"
"""In the message of a RuntimeError, which is what torch raises for main memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or NumPy asked for more memory than there is, of the device or of the machine."""
    in_main_memory = isinstance(error, RuntimeError) and CPU_ALLOCATOR in str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or in_main_memory


def most_that_fit(pictures: int, make: Callable[[int], object]) -> int | None:
    """The first of half of `pictures`, a quarter, … that `make` manages; None if it does not manage even one."""
    while pictures > 1:
        pictures //= 2
        if fits(pictures, make):
            return pictures
    return None


def fits(pictures: int, make: Callable[[int], object]) -> bool:
    """Whether `make` manages so many pictures without running out of memory."""
    try:
        make(pictures)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
    return True
