"""What an error of a forward pass means: memory, a lost device, or the text."""

from enum import Enum

# torch has classes for some of these; other libraries below it have words only.
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "cudnn_status_alloc_failed", "cublas_status_alloc_failed")
_DEVICE_WORDS = (
    "cuda error",
    "cudnn error",
    "cublas error",
    "device-side assert",
    "illegal memory access",
    "unspecified launch failure",
    "device kernel image is invalid",
)


class Fault(Enum):
    """What to do about an error."""

    MEMORY = "make the next pass smaller"
    DEVICE = "end the process, for nothing works in it any more"
    TEXT = "look for the text that raises it"


def fault_of(error: Exception) -> Fault:
    """Tells what an error of a forward pass means.

    Args:
        error: What was raised.

    Returns:
        The fault.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Fault.MEMORY
    words = str(error).lower()
    # Memory first: a CUDA error can be that memory ran out.
    if isinstance(error, RuntimeError) and any(word in words for word in _MEMORY_WORDS):
        return Fault.MEMORY
    if type(error).__name__ == "AcceleratorError":
        return Fault.DEVICE
    if isinstance(error, RuntimeError) and any(word in words for word in _DEVICE_WORDS):
        return Fault.DEVICE
    return Fault.TEXT
