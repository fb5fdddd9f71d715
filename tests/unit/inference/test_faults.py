"""How errors of a forward pass are classified: by class and by the libraries' own messages."""

import pytest

from udfs.inference.passes import PassFault, pass_fault


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


class AcceleratorError(RuntimeError):
    """As torch names it."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), PassFault.MEMORY),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), PassFault.MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), PassFault.MEMORY),
        (RuntimeError("CUDA error: out of memory"), PassFault.MEMORY),
        (AcceleratorError("CUDA error: out of memory"), PassFault.MEMORY),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
            PassFault.MEMORY,
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), PassFault.MEMORY),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), PassFault.MEMORY),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), PassFault.DEVICE),
        (RuntimeError("CUDA error: device-side assert triggered"), PassFault.DEVICE),
        (RuntimeError("CUDA error: unspecified launch failure"), PassFault.DEVICE),
        (AcceleratorError("an accelerator's own words"), PassFault.DEVICE),
        (RuntimeError("The size of tensor a (600) must match the size of tensor b (512)"), PassFault.TEXT),
        (ValueError("out of memory, says the text"), PassFault.TEXT),
        (IndexError("index out of range in self"), PassFault.TEXT),
    ],
)
def test_errors_are_classified_by_class_and_message(error: Exception, expected: PassFault) -> None:
    assert pass_fault(error) is expected


def test_torch_still_uses_these_error_names() -> None:
    import torch

    assert pass_fault(torch.OutOfMemoryError("no words")) is PassFault.MEMORY
    assert pass_fault(torch.AcceleratorError("no words")) is PassFault.DEVICE
