"""Forward passes by OpenVINO, which is faster than torch on many processors and loads in a fraction of the time."""

import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError
from udfs.encoders.backend_trial import NotTriedError
from udfs.specs import Precision

Pass = Callable[[Sequence[NDArray[Any]]], NDArray[np.float32]]
_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


def is_installed() -> bool:
    """Whether OpenVINO can be imported; it is looked for and not imported."""
    try:
        return find_spec("openvino") is not None
    except ValueError:
        # Somebody has put something else in its place.
        return False


def import_openvino() -> Any:
    """Imports OpenVINO without the package by which it reports conversions to its vendor.

    Returns:
        The module.

    Raises:
        InputError: It is not installed.
    """
    # It works without that package.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(
            "inference.backend openvino needs OpenVINO on every machine. Install it: pip install 'embedlake[openvino]'"
        ) from error
    return openvino


def read_graph(structure: bytes, weights: NDArray[np.uint8]) -> Any:
    """Reads a converted model from memory; its weights stay those of the array."""
    openvino = import_openvino()
    return _core().read_model(model=structure.decode("utf-8"), weights=openvino.Tensor(weights, shared_memory=True))


def compiled(graph: Any, dtype: Precision, cores: int) -> Pass:
    """Compiles a model for this processor.

    Args:
        graph: The model, as `read_graph` or a conversion returns it.
        dtype: Floating-point type of the forward pass.
        cores: Processor cores that inference may use.

    Returns:
        A function from the model's inputs, in their order, to (n, dimension) float32. Any thread may call it.

    Raises:
        NotTriedError: OpenVINO cannot run the model on this machine.
    """
    # Pinned threads of several workers would all use the machine's first cores. That halves the rate of two workers.
    config = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": cores, "ENABLE_CPU_PINNING": False}
    try:
        model = _core().compile_model(graph, "CPU", {**config, "INFERENCE_PRECISION_HINT": _HINTS[dtype]})
        request, lock = model.create_infer_request(), Lock()
    except RuntimeError as error:
        raise NotTriedError(
            f"inference.backend openvino cannot run this model ({type(error).__name__}). Set it to torch."
        ) from error

    def run(inputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        # A request that is at work refuses another thread.
        with lock:
            # Copied, because the next pass overwrites the request's buffer.
            return np.array(request.infer(list(inputs))[0], dtype=np.float32)

    return run


@cache
def _core() -> Any:
    # Kept for the life of the process: when the last model and its core are gone, the plugin's library is unloaded
    # under threads that still run in it.
    return import_openvino().Core()
