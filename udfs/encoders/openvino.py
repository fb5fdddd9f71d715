"""Forward passes by OpenVINO, an optional dependency that is faster than torch on CPUs."""

import sys
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from schemas.errors import InputError
from udfs.specs import Precision

Forward = Callable[[dict[str, Any]], torch.Tensor]
# The largest allowed difference from torch's float32 result for any number; 3e-7 was measured for MiniLM.
_TOLERANCE = 1e-5
_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class _Sentences(torch.nn.Module):
    """A model in the form that tracing needs: tensors in, one tensor out."""

    def __init__(self, model: SentenceTransformer, names: list[str], guides: dict[str, Any]) -> None:
        super().__init__()
        self._model = model
        self._names = names
        self._guides = guides

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        features = dict(zip(self._names, tensors, strict=True)) | self._guides
        rows: torch.Tensor = self._model(features)["sentence_embedding"]
        return rows


def openvino_forward(
    model: SentenceTransformer, examples: list[dict[str, Any]], dtype: Precision, cores: int
) -> Forward:
    """Converts a model and compares its vectors with those of torch.

    Args:
        model: The loaded model, in float32 on the CPU.
        examples: Features of a few batches. The first has texts of several lengths; the others have different sizes.
        dtype: Floating-point type of the forward pass.
        cores: Processor cores that inference may use.

    Returns:
        A function from features to (n, dimension) float32, as the model's own forward pass returns them.

    Raises:
        InputError: OpenVINO is not installed, cannot convert the model, or computes different vectors from torch.
    """
    openvino = _openvino()
    names = [name for name, value in examples[0].items() if isinstance(value, torch.Tensor)]
    expected = [_by_torch(model, features) for features in examples]
    try:
        graph = _graph(openvino, model, names, examples[0])
        compiled = [_request(openvino, graph, hint, cores) for hint in dict.fromkeys(["f32", _HINTS[dtype]])]
    except Exception as error:  # every layer below has its own exceptions
        raise InputError(
            f"inference.backend openvino cannot convert this model ({type(error).__name__}). Set it to torch."
        ) from error

    def run(request: Any, features: dict[str, Any]) -> torch.Tensor:
        rows = request.infer([features[name].numpy() for name in names])[0]
        # Copied, because the next pass overwrites the request's buffer.
        return torch.from_numpy(np.array(rows, dtype=np.float32))

    worst = max(
        float((run(compiled[0], features) - rows).abs().max() / rows.abs().max().clamp(min=1.0))
        for features, rows in zip(examples, expected, strict=True)
    )
    if not worst <= _TOLERANCE:
        raise InputError(
            f"inference.backend openvino computes other vectors for this model than torch (difference {worst:.1e}, at "
            f"most {_TOLERANCE:.0e} is allowed). Set it to torch."
        )
    # If the float32 request was only needed for the comparison, it is dropped here.
    request = compiled[-1]
    return lambda features: run(request, features)


def _graph(openvino: Any, model: SentenceTransformer, names: list[str], features: dict[str, Any]) -> Any:
    guides = {name: value for name, value in features.items() if name not in names}
    example = tuple(features[name] for name in names)
    # Tracing warns about every branch. The comparison on batches of different sizes shows whether a branch matters.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        # No check by a second trace, which takes a second, because the vectors themselves are compared.
        sentences = _Sentences(model, names, guides).eval()
        traced = torch.jit.trace(sentences, example, check_trace=False)  # type: ignore[no-untyped-call]
        return openvino.convert_model(traced, example_input=example)


def _request(openvino: Any, graph: Any, hint: str, cores: int) -> Any:
    # Pinned threads of several workers would all use the machine's first cores. That halves the rate of two workers.
    config = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": cores, "ENABLE_CPU_PINNING": False}
    compiled = _core(openvino).compile_model(graph, "CPU", {**config, "INFERENCE_PRECISION_HINT": hint})
    return compiled.create_infer_request()


@cache
def _core(openvino: Any) -> Any:
    # Kept for the life of the process: when the last model and its core are gone, the plugin's library is unloaded
    # under threads that still run in it.
    return openvino.Core()


@torch.inference_mode()
def _by_torch(model: SentenceTransformer, features: dict[str, Any]) -> torch.Tensor:
    rows: torch.Tensor = model(dict(features))["sentence_embedding"]
    return rows


def _openvino() -> Any:
    # OpenVINO uses this package to report conversions to its vendor, and works without it.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(
            "inference.backend openvino needs OpenVINO on every machine. Install it: pip install 'embedlake[openvino]'"
        ) from error
    return openvino
