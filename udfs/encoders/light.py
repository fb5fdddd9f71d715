"""The encoder of converted models: OpenVINO, tokenizers and numpy, and neither torch nor sentence-transformers."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from udfs.encoders.inputs import Ids, InputRule, plain_tokenizer
from udfs.encoders.openvino import Pass, compiled, read_graph
from udfs.encoders.protocol import BackendChoice
from udfs.specs import InferenceSpec, Precision, prompt_of

STRUCTURE, WEIGHTS, TOKENIZER = "model.xml", "model.bin", "tokenizer.json"
# Smaller norms are taken for zero, as torch does.
_SMALLEST_NORM = 1e-12


@dataclass(frozen=True, slots=True)
class LightModel:
    """A converted model, and what turns texts into its inputs.

    Attributes:
        graph: The model of OpenVINO; takes token ids, returns one vector for each text before it is cut and scaled.
        weights: The memory that the graph's weights are in; it must live as long.
        tokenizer: JSON of the model's tokenizer.
        rule: How texts become inputs.
        inputs: Names of the graph's inputs in their order.
    """

    graph: Any
    weights: NDArray[np.uint8]
    tokenizer: str
    rule: InputRule
    inputs: tuple[str, ...]


def read_light_model(files: Mapping[str, NDArray[np.uint8]], facts: Mapping[str, Any]) -> LightModel:
    """Reads a converted model from the files of a cache's entry.

    Args:
        files: Content of each file by name.
        facts: What `facts_of` recorded.

    Returns:
        The model.
    """
    weights = files[WEIGHTS]
    graph = read_graph(files[STRUCTURE].tobytes(), weights)
    tokenizer = files[TOKENIZER].tobytes().decode("utf-8")
    return LightModel(graph, weights, tokenizer, InputRule(**facts["rule"]), tuple(facts["inputs"]))


def facts_of(rule: InputRule, inputs: Sequence[str]) -> dict[str, Any]:
    """Returns what has to be recorded beside a model's files, as JSON takes it."""
    return {"rule": asdict(rule), "inputs": list(inputs)}


class LightEncoder:
    """A converted model in this process.

    Args:
        spec: The model and how to run it.
        model: The converted model.
        dtype: Floating-point type of the forward pass.
        cores: Processor cores that inference may use.
    """

    def __init__(self, spec: InferenceSpec, model: LightModel, dtype: Precision, cores: int) -> None:
        self.device = "cpu"
        self.dtype = dtype
        self.is_padded = True
        self.is_on_trial = False
        self.choice = BackendChoice(backend="openvino")
        self._spec, self._model, self._cores = spec, model, cores
        self.tokenize = self._tokenizer(spec)
        self._run: Pass = compiled(model.graph, dtype, cores)
        self._exact: Pass | None = self._run if dtype == "float32" else None

    def forward(self, items: Sequence[Ids]) -> Callable[[], NDArray[np.float32]]:
        """Runs one forward pass of at least one of `tokenize`'s items.

        Calling the result returns the rows: (n, dimension) float32, with unit length if the spec says `normalize`.
        """
        rows = self._rows(self._run, items)
        return lambda: rows

    def exact(self, item: Ids) -> NDArray[np.float32]:
        """Embeds one of `tokenize`'s items alone in float32; returns (1, dimension)."""
        if self._exact is None:
            self._exact = compiled(self._model.graph, "float32", self._cores)
        return self._rows(self._exact, [item])

    def twin(self, spec: InferenceSpec) -> "LightEncoder | None":
        """Makes an encoder for another prompt or fewer dimensions from the model that this one holds.

        Returns None for prompts with which the inputs were not compared when the model was converted.
        """
        if prompt_of(spec) not in prompts_of(self._spec):
            return None
        other = copy(self)
        other._spec, other.tokenize = spec, self._tokenizer(spec)
        return other

    def _tokenizer(self, spec: InferenceSpec) -> Any:
        tokenizer = plain_tokenizer(self._model.tokenizer)
        return self._model.rule.tokenizer(tokenizer, prompt_of(spec), spec.model.max_tokens)

    def raw(self, items: Sequence[Ids]) -> NDArray[np.float32]:
        """Runs one forward pass; returns the model's own vectors, before they are cut and scaled."""
        return self._raw(self._run, items)

    def _raw(self, run: Pass, items: Sequence[Ids]) -> NDArray[np.float32]:
        features = self._model.rule.features(items)
        return run([features[name] for name in self._model.inputs])

    def _rows(self, run: Pass, items: Sequence[Ids]) -> NDArray[np.float32]:
        rows = self._raw(run, items)[:, : self._spec.model.dimension]
        if not self._spec.model.normalize:
            return rows
        # Again, in float32: vectors that were cut or computed in half precision do not have unit length.
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        scaled: NDArray[np.float32] = rows / np.maximum(norms, np.float32(_SMALLEST_NORM))
        return scaled


def prompts_of(spec: InferenceSpec) -> list[str]:
    """Lists the texts that are put before texts in any role, each once."""
    return sorted({spec.model.document_prompt, spec.model.query_prompt})
