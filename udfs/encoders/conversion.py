"""Converts models from torch to OpenVINO and compares their vectors."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from schemas.errors import InputError
from udfs.encoders.backend_trial import NotTriedError
from udfs.encoders.inputs import Ids
from udfs.encoders.light import STRUCTURE, TOKENIZER, LightEncoder, facts_of, prompts_of
from udfs.encoders.loading import load_model, own_weights, prepare
from udfs.encoders.model_inputs import light_inputs
from udfs.encoders.openvino import Pass, compiled, import_openvino
from udfs.models.source import verified_folder
from udfs.specs import InferenceSpec, Precision

Batches = Sequence[NDArray[np.float32]]
Forward = Callable[[dict[str, Any]], torch.Tensor]
# Batches for comparing a converted model: with several lengths, with one text, and with more texts than the first.
EXAMPLES = (["Who hunts at night?", "owl", "night " * 300], ["x"], ["one", "one two", "", "four " * 40])
# The largest allowed difference from torch's float32 result for any number; 3e-7 was measured for MiniLM.
_TOLERANCE = 1e-5
# In half precision, both results would be rounded, so they are compared by their direction. MiniLM has 0.99999.
_LEAST_COSINE = 0.999


class NotLightError(InputError):
    """A model whose inputs only its own library can build, or whose vectors depend on the prompt's length."""


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


@dataclass(frozen=True, slots=True)
class Conversion:
    """A model that was converted into files.

    Attributes:
        facts: What has to be recorded beside the files.
        batches: Token ids of a few batches.
        expected: What torch computes for each batch in float32: (n, width) before it is cut and scaled.
    """

    facts: dict[str, Any]
    batches: list[list[Ids]]
    expected: list[NDArray[np.float32]]

    def compared(self, exact: LightEncoder, encoder: LightEncoder) -> dict[str, float]:
        """Compares the vectors of the converted model with those of torch.

        Args:
            exact: The converted model, read from the files, in float32.
            encoder: The same in the floating-point type that it will be used with.

        Returns:
            The largest difference, and the lowest cosine.

        Raises:
            InputError: OpenVINO computes other vectors than torch.
        """
        found = [[each.raw(batch) for batch in self.batches] for each in (exact, encoder)]
        return _compared(found[0], found[1], self.expected)


def convert_into(target: Path, spec: InferenceSpec, cores: int) -> Conversion:
    """Converts a model into files that can be used without its library.

    Args:
        target: An empty folder for the files.
        spec: The model and how to run it.
        cores: Processor cores that may be used.

    Returns:
        What is needed to compare and to record the result.

    Raises:
        InputError: OpenVINO is not installed, or cannot convert the model; a NotLightError if the model can only be
            used with its own library.
        OSError: The files cannot be written.
    """
    prepare(cores)
    with verified_folder(spec.model) as folder:
        model = load_model(spec.model, folder, "cpu")
        # OpenVINO converts from float32, whatever floating-point type it uses afterwards.
        own_weights(model, torch.float32)
    light = light_inputs(model, spec.model, prompts_of(spec))
    # A pooling that leaves out the prompt needs its length, which a converted model has as a constant.
    if light is None or not all(getattr(module, "include_prompt", True) for module in model):
        raise NotLightError("this model cannot be used without its own library. Set inference.backend to torch.")
    rule, tokenizer = light
    examples = [model.preprocess(list(texts)) for texts in EXAMPLES]
    names = tensor_names(examples[0])
    write_graph(convert(model, names, examples[0]), target)
    (target / TOKENIZER).write_text(tokenizer.to_str(), encoding="utf-8")
    read = rule.tokenizer(tokenizer, "", spec.model.max_tokens)
    batches = [list(read(texts).items) for texts in EXAMPLES]
    return Conversion(facts_of(rule, names), batches, [by_torch(model, each).numpy() for each in examples])


def write_graph(graph: Any, target: Path) -> None:
    """Writes a converted model, with weights in float32, into a folder.

    Args:
        graph: The model of OpenVINO.
        target: The folder.

    Raises:
        OSError: It cannot be written.
    """
    try:
        import_openvino().save_model(graph, str(target / STRUCTURE), compress_to_fp16=False)
    except RuntimeError as error:
        # C++ does not say why a stream failed.
        raise OSError(EIO, "the converted model cannot be written") from error


def openvino_forward(
    model: SentenceTransformer, examples: list[dict[str, Any]], dtype: Precision, cores: int
) -> Forward:
    """Converts a model that needs its own library to build inputs, and compares its vectors with those of torch.

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
    names = tensor_names(examples[0])
    expected = [by_torch(model, features).numpy() for features in examples]
    graph = convert(model, names, examples[0])
    passes = [compiled(graph, kind, cores) for kind in dict.fromkeys(["float32", dtype])]

    def run(forward: Pass, features: dict[str, Any]) -> NDArray[np.float32]:
        return forward([features[name].numpy() for name in names])

    found = [[run(forward, features) for features in examples] for forward in passes]
    _compared(found[0], found[-1], expected)
    # If the float32 request was only needed for the comparison, it is dropped here.
    chosen = passes[-1]
    return lambda features: torch.from_numpy(run(chosen, features))


def convert(model: SentenceTransformer, names: list[str], features: dict[str, Any]) -> Any:
    """Converts a model.

    Args:
        model: The loaded model, in float32 on the CPU.
        names: Names of the features that are tensors.
        features: Features of a batch with texts of several lengths.

    Returns:
        The graph, with inputs in the order of the names.

    Raises:
        InputError: OpenVINO is not installed or cannot convert the model.
    """
    openvino = import_openvino()
    guides = {name: value for name, value in features.items() if name not in names}
    example = tuple(features[name] for name in names)
    try:
        # Tracing warns about every branch. The comparison on batches of different sizes shows whether one matters.
        with warnings.catch_warnings(), silent_loggers("sentence_transformers", "transformers"), torch.no_grad():
            warnings.simplefilter("ignore")
            # No check by a second trace, which takes a second, because the vectors themselves are compared.
            sentences = _Sentences(model, names, guides).eval()
            traced = torch.jit.trace(sentences, example, check_trace=False)  # type: ignore[no-untyped-call]
            return openvino.convert_model(traced, example_input=example)
    except MemoryError:
        raise
    except Exception as error:  # every layer below has its own exceptions
        raise NotTriedError(
            f"inference.backend openvino cannot convert this model ({type(error).__name__}). Set it to torch."
        ) from error


@contextmanager
def silent_loggers(*names: str) -> Iterator[None]:
    """Keeps warnings out of these loggers during a block: tracing looks at every attribute, the old ones too."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def tensor_names(features: dict[str, Any]) -> list[str]:
    """Lists the features that are tensors, sorted; the others are only hints to the model."""
    return sorted(name for name, value in features.items() if isinstance(value, torch.Tensor))


@torch.inference_mode()
def by_torch(model: SentenceTransformer, features: dict[str, Any]) -> torch.Tensor:
    """Runs the model itself; returns (n, dimension)."""
    rows: torch.Tensor = model(dict(features))["sentence_embedding"]
    return rows


def _compared(exact: Batches, found: Batches, expected: Batches) -> dict[str, float]:
    """Compares vectors in float32 by their numbers, and those in another type by their direction."""
    pairs = list(zip(exact, expected, strict=True))
    difference = max(float(np.abs(rows - right).max() / max(1.0, np.abs(right).max())) for rows, right in pairs)
    if not difference <= _TOLERANCE:
        raise NotTriedError(
            f"inference.backend openvino computes other vectors for this model than torch (difference "
            f"{difference:.1e}, at most {_TOLERANCE:.0e} is allowed). Set it to torch."
        )
    cosine = min(float(_cosines(rows, right).min()) for rows, right in zip(found, expected, strict=True))
    if not cosine >= _LEAST_COSINE:
        raise NotTriedError(
            f"inference.backend openvino computes other vectors for this model than torch in half precision (cosine "
            f"{cosine:.4f}, at least {_LEAST_COSINE} is needed). Set it to torch, or model.dtype to float32."
        )
    return {"difference": difference, "cosine": cosine}


def _cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    norms: NDArray[np.float32] = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: NDArray[np.float32] = (a * b).sum(axis=1) / norms
    return cosines
