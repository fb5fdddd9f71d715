"""Linear layers whose weights are packed once for this processor, by oneDNN, which is part of torch.

In float32 torch multiplies with MKL, which is several times slower on processors that are not Intel's. oneDNN, which
torch uses for half precision and compiled models, is not: on one such processor, 434 against 112 GFLOP/s.
"""

from time import perf_counter
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

# Rows of a typical forward pass, with which both ways are timed.
_ROWS = 1024
_TRIALS = 5
# The speed-up below which a second layout of the weights is not worth its memory.
_WORTH = 1.1
# The largest difference allowed between any numbers of both ways, where numbers are of order one.
_TOLERANCE = 1e-4


class PackedLinear(torch.nn.Module):
    """A linear layer for inference only, which replaces `linear`."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._bias = linear.bias.detach() if linear.bias is not None else None
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _ROWS)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Applies the layer: (..., in_features) float32 to (..., out_features) float32."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._packed, self._bias, "none", [], "")
        return product


def pack_linears(model: SentenceTransformer) -> int:
    """Replaces a model's linear layers where packed ones are faster on this processor and give the same numbers.

    Args:
        model: A model in float32 on the processor; changed in place.

    Returns:
        The number of layers replaced; 0 where packing is not faster or this build of torch cannot do it.
    """
    layers = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        # A subclass may do more than multiply.
        if type(child) is torch.nn.Linear
    ]
    if not layers or not _pays(max((child for _, _, child in layers), key=lambda layer: layer.weight.numel())):
        return 0
    for parent, name, child in layers:
        setattr(parent, name, PackedLinear(child))
    return len(layers)


@torch.inference_mode()
def _pays(linear: torch.nn.Linear) -> bool:
    rows = torch.randn(_ROWS, linear.in_features, generator=torch.Generator().manual_seed(0))
    try:
        packed = PackedLinear(linear)
        difference = float((packed(rows) - linear(rows)).abs().max())
    except Exception:  # an internal operation of torch's compiler, which a build may lack
        return False
    return difference <= _TOLERANCE and _seconds(linear, rows) >= _WORTH * _seconds(packed, rows)


def _seconds(layer: Any, rows: torch.Tensor) -> float:
    seconds = []
    for _ in range(_TRIALS):
        began = perf_counter()
        layer(rows)
        seconds.append(perf_counter() - began)
    return min(seconds)
