"""How errors of a forward pass are classified: by class and by the libraries' own messages."""

import pytest

from udfs.inference_faults import Fault, fault_of


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


class AcceleratorError(RuntimeError):
    """As torch names it."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), Fault.MEMORY),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), Fault.MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), Fault.MEMORY),
        (RuntimeError("CUDA error: out of memory"), Fault.MEMORY),
        (AcceleratorError("CUDA error: out of memory"), Fault.MEMORY),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"), Fault.MEMORY),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), Fault.MEMORY),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), Fault.MEMORY),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), Fault.DEVICE),
        (RuntimeError("CUDA error: device-side assert triggered"), Fault.DEVICE),
        (RuntimeError("CUDA error: unspecified launch failure"), Fault.DEVICE),
        (AcceleratorError("an accelerator's own words"), Fault.DEVICE),
        (RuntimeError("The size of tensor a (600) must match the size of tensor b (512)"), Fault.TEXT),
        (ValueError("out of memory, says the text"), Fault.TEXT),
        (IndexError("index out of range in self"), Fault.TEXT),
    ],
)
def test_errors_are_classified_by_class_and_message(error: Exception, expected: Fault) -> None:
    assert fault_of(error) is expected


def test_torch_still_uses_these_error_names() -> None:
    import torch

    assert fault_of(torch.OutOfMemoryError("no words")) is Fault.MEMORY
    assert fault_of(torch.AcceleratorError("no words")) is Fault.DEVICE
