"""Which library runs a model on this worker: torch, or OpenVINO from a cache of converted models.

Nothing here imports torch before it is needed. A worker that finds a converted model in the cache never does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from udfs.encoders import model_cache
from udfs.encoders.backend_trial import NotTriedError, TrialEncoder
from udfs.encoders.hardware import cpu_dtype, free_memory, is_cpu_only, processor
from udfs.encoders.light import LightEncoder, prompts_of, read_light_model
from udfs.encoders.model_cache import DamagedError, NoCacheError
from udfs.encoders.openvino import import_openvino, is_installed
from udfs.encoders.protocol import BackendChoice, Encoder
from udfs.models.source import verified_folder, weight_bytes
from udfs.specs import InferenceSpec

# Vectors depend on these, and OpenVINO's were compared with those of the others.
_PACKAGES = ("openvino", "tokenizers", "torch", "transformers", "sentence-transformers")
# What converting and comparing takes beside torch's own copy, in copies of the weights.
_COPIES = 5
# A backend that is not at hand takes several seconds to load, which a question or a handful of texts is not worth.
_LATER_SECONDS = 60.0


def load_real(spec: InferenceSpec, cores: int, partition: int) -> Encoder:
    """Loads a model by the backend that its spec asks for.

    Args:
        spec: The model and how to run it.
        cores: Processor cores that inference may use.
        partition: Number of the task's partition.

    Returns:
        The encoder.

    Raises:
        InputError: The folder differs from the one on the driver, or the backend that was named cannot run the model.
    """
    if spec.backend == "torch" or not is_cpu_only(spec.device):
        return _by_torch(spec, cores, partition)
    # Decided here, because converted models are kept by their type.
    spec = replace(spec, device="cpu", dtype=cpu_dtype(spec.dtype))
    if spec.backend == "openvino":
        import_openvino()
        return _by_openvino(spec, cores)
    if not is_installed():
        return _with_note(_by_torch(spec, cores), "OpenVINO is not installed")
    return _by_the_faster(spec, cores)


def entry_key(spec: InferenceSpec) -> dict[str, Any]:
    """Returns everything that a converted model depends on, and the comparison of its vectors with torch's.

    Args:
        spec: The model, on the processor and with a floating-point type other than `auto`.

    Returns:
        The key of its entry in the cache.
    """
    return {
        "format": model_cache.FORMAT,
        "digest": spec.model.digest,
        "max_tokens": spec.model.max_tokens,
        "prompts": prompts_of(spec),
        "dtype": spec.dtype,
        "processor": processor(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def _by_the_faster(spec: InferenceSpec, cores: int) -> Encoder:
    cache, note = _cache(spec)
    key = {**entry_key(spec), "cores": cores}
    known = _known(cache, key)
    if known is not None and known.backend == "torch":
        encoder = _by_torch(spec, cores)
        encoder.choice = known
        return encoder
    light, damage = _from_cache(spec, cores, cache)
    if light is not None and known is not None:
        light.choice = known
        return light
    note = damage or note

    def decided(choice: BackendChoice) -> None:
        # What happened to the cache is of no interest to later workers; why OpenVINO cannot run a model is.
        kept = choice if choice.torch_rate is None else replace(choice, note=None)
        if cache is not None:
            model_cache.write_choice(cache, key, asdict(kept))

    if light is not None:
        return TrialEncoder(light, lambda: _by_torch(spec, cores), _LATER_SECONDS, decided)
    first = _with_note(_by_torch(spec, cores), note)
    # Static models only add up rows of a table.
    if not first.is_padded:
        return first
    room = free_memory()
    if room is not None and room < _COPIES * weight_bytes(spec.model):
        return _with_note(first, "there is too little free memory to try OpenVINO")
    encoder = TrialEncoder(first, lambda: _new_openvino(spec, cores, cache), _LATER_SECONDS, decided)
    # What is kept serves every later worker, so it is made even for a single text.
    if cache is not None:
        encoder.begin()
    return encoder


def _by_openvino(spec: InferenceSpec, cores: int) -> Encoder:
    cache, note = _cache(spec)
    light, damage = _from_cache(spec, cores, cache)
    if light is not None:
        return light
    return _with_note(_new_openvino(spec, cores, cache), damage or note)


def _by_torch(spec: InferenceSpec, cores: int, partition: int = 0) -> Encoder:
    # This imports torch, which takes seconds.
    from udfs.encoders.sentence import SentenceEncoder

    return SentenceEncoder(spec if spec.backend != "auto" else replace(spec, backend="torch"), cores, partition)


def _from_cache(spec: InferenceSpec, cores: int, cache: Path | None) -> tuple[LightEncoder | None, str | None]:
    """Loads the converted model; if there is none, says what was wrong with the one that was kept."""
    if cache is None:
        return None, None
    key = entry_key(spec)
    try:
        # The folder is inspected as for every load: nobody may go on with a model that its folder no longer has.
        with verified_folder(spec.model):
            found = model_cache.read_entry(cache, key)
            if found is None:
                return None, None
            return LightEncoder(spec, read_light_model(*found), cpu_dtype(spec.dtype), cores), None
    except (DamagedError, NotTriedError) as error:
        return None, f"the cached model was refused, because {error}, and converted anew"


def _new_openvino(spec: InferenceSpec, cores: int, cache: Path | None) -> Encoder:
    """Converts the model into the cache if there is one; one that needs its library is converted for this process."""
    from udfs.encoders.conversion import NotLightError

    note = None
    try:
        return _converted(spec, cores, cache)
    except (OSError, DamagedError) as error:
        note = f"the converted model was not kept ({getattr(error, 'strerror', None) or error})"
    except NotLightError:
        pass
    return _with_note(_by_torch(replace(spec, backend="openvino"), cores), note)


def _converted(spec: InferenceSpec, cores: int, cache: Path | None) -> LightEncoder:
    from udfs.encoders.conversion import convert_into

    key, dtype = entry_key(spec), cpu_dtype(spec.dtype)
    with _workplace(cache) as folder:
        conversion = convert_into(folder, spec, cores)
        model_cache.describe(folder, key, conversion.facts)
        # Read back, because what was written is what later workers will use.
        model = read_light_model(*model_cache.read_folder(folder, key))
        exact = LightEncoder(spec, model, "float32", cores)
        encoder = exact if dtype == "float32" else LightEncoder(spec, model, dtype, cores)
        shown = conversion.compared(exact, encoder)
        model_cache.describe(folder, key, {**conversion.facts, "parity": shown})
        if cache is not None:
            try:
                model_cache.keep(cache, folder, key)
            except OSError as error:
                _with_note(encoder, f"the converted model was not kept ({error.strerror})")
    return encoder


@contextmanager
def _workplace(cache: Path | None) -> Iterator[Path]:
    if cache is not None:
        with model_cache.new_entry(cache) as folder:
            yield folder
        return
    with TemporaryDirectory(prefix="embedlake-") as name:
        yield Path(name)


def _cache(spec: InferenceSpec) -> tuple[Path | None, str | None]:
    try:
        return model_cache.open_cache(spec.cache), None
    except NoCacheError as error:
        # Nobody has to be told what was asked for.
        return None, None if spec.cache == model_cache.OFF else str(error)


def _known(cache: Path | None, key: dict[str, Any]) -> BackendChoice | None:
    found = model_cache.read_choice(cache, key) if cache is not None else None
    return BackendChoice(**found) if found is not None else None


def _with_note(encoder: Encoder, note: str | None) -> Encoder:
    if note is not None:
        encoder.choice = replace(encoder.choice, note=note)
    return encoder


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
