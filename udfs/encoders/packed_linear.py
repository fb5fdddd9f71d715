"""Linear layers with weights laid out once for this processor, by the library that torch already brings.

In float32 torch multiplies through MKL, which runs at a fraction of its speed on processors of other makers; oneDNN,
which torch uses for half precision and for compiled models, does not: 434 against 112 GFLOP/s were measured on one.
"""

from time import perf_counter
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

# Rows of a usual forward pass, on which both ways are timed.
_ROWS = 1024
_TRIALS = 5
# Below this factor, packing is not worth a second layout of the weights.
_WORTH = 1.1
# Largest difference of any number between both ways, beside numbers of about one.
_TOLERANCE = 1e-4


class PackedLinear(torch.nn.Module):
    """A linear layer for inference alone.

    Args:
        linear: The layer that it stands for.
    """

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._bias = linear.bias.detach() if linear.bias is not None else None
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _ROWS)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Multiplies as the layer does.

        Args:
            rows: (..., in_features) float32.

        Returns:
            (..., out_features) float32.
        """
        made: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._packed, self._bias, "none", [], "")
        return made


def pack_linears(model: SentenceTransformer) -> int:
    """Replaces the linear layers of a model where that is faster here and gives the same numbers.

    Args:
        model: A model in float32 on the processor.

    Returns:
        Layers that were replaced; 0 where it does not pay, or this torch cannot.
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
    except Exception:  # an operation of torch's own compiler, which a build may lack
        return False
    return difference <= _TOLERANCE and _seconds(linear, rows) >= _WORTH * _seconds(packed, rows)


def _seconds(layer: Any, rows: torch.Tensor) -> float:
    found = []
    for _ in range(_TRIALS):
        began = perf_counter()
        layer(rows)
        found.append(perf_counter() - began)
    return min(found)
