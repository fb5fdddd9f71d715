"""Linear layers with weights that oneDNN, a part of torch, packs once for this processor.

In float32, torch multiplies with MKL, which is several times slower on processors not made by Intel. oneDNN is not
slower there; torch uses it for half precision and compiled models. On one such processor, oneDNN reached 434 GFLOP/s
and MKL 112 GFLOP/s.
"""

from time import perf_counter
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

# Rows in a typical forward pass; both kinds of layer are timed on this many.
_ROWS = 1024
_TRIALS = 5
# The minimum speedup that justifies the memory for a second copy of the weights.
_WORTH = 1.1
# The largest allowed difference between the two results. The numbers are of order one.
_TOLERANCE = 1e-4


class PackedLinear(torch.nn.Module):
    """A linear layer, for inference only, that replaces `linear`."""

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
    """Replaces a model's linear layers if packed ones are faster on this processor and give the same numbers.

    Args:
        model: A model in float32 on the CPU; changed in place.

    Returns:
        The number of layers replaced; 0 if packing is not faster or this build of torch does not support it.
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
    except Exception:  # some builds of torch lack this internal operation of its compiler
        return False
    return difference <= _TOLERANCE and _seconds(linear, rows) >= _WORTH * _seconds(packed, rows)


def _seconds(layer: Any, rows: torch.Tensor) -> float:
    seconds = []
    for _ in range(_TRIALS):
        began = perf_counter()
        layer(rows)
        seconds.append(perf_counter() - began)
    return min(seconds)
