"""Checks safetensors files by their headers: every byte is accounted for, and nothing is decoded."""

import json
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeGuard

from udfs.models.files import FolderFiles, JsonFiles, looks_like_archive, shown, stays_inside, within

MAX_HEADER_BYTES = 100_000_000
INDEX_SUFFIX = ".safetensors.index.json"
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
TensorShapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class _Tensor:
    begin: int
    end: int
    shape: tuple[int, ...]


def read_tensor_shapes(files: FolderFiles) -> dict[str, TensorShapes]:
    """Checks the header of every safetensors file.

    Args:
        files: The model folder's files; faults are added to it.

    Returns:
        Tensor shapes by file name, then tensor name; files with faults are left out.
    """
    shapes: dict[str, TensorShapes] = {}
    for name, path in files.files.items():
        if path.suffix == ".safetensors":
            try:
                shapes[name] = _read_shapes(path)
            except RecursionError:
                files.fault(name, "its header is nested too deeply. Fetch it again.")
            except (OSError, ValueError) as error:
                files.fault(name, f"not a valid safetensors file ({shown(error)}). Fetch or convert it again.")
    return shapes


def check_indexes(json_files: JsonFiles) -> None:
    """Adds a fault for every index of sharded weights that names missing shards, or shards outside the folder."""
    for name in [name for name in json_files.contents if name.endswith(INDEX_SUFFIX)]:
        shards = json_files.object(name).get("weight_map")
        if not isinstance(shards, dict) or not shards or not all(isinstance(shard, str) for shard in shards.values()):
            json_files.folder.fault(name, "has no weight_map from tensor to file. Fetch it again.")
            continue
        for shard in sorted(set(shards.values())):
            path = within(str(PurePosixPath(name).parent), shard)
            if not stays_inside(shard) or not shard.endswith(".safetensors"):
                json_files.folder.fault(
                    name, f"names the shard {shown(shard)}, which is not a safetensors file in this folder. Fix it."
                )
            elif path not in json_files.folder.present:
                json_files.folder.fault(
                    name, f"names the shard {shown(shard)}, which is missing. Fetch the complete model."
                )


def _read_shapes(path: Path) -> TensorShapes:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(MAX_HEADER_BYTES, size - 8):
            archive = looks_like_archive(start)
            raise ValueError("it is a pickle or zip archive" if archive else "its header is longer than the file")
        header = json.loads(file.read(length).decode("utf-8"))
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    header.pop("__metadata__", None)
    tensors = {tensor: _tensor(tensor, entry) for tensor, entry in header.items()}
    _check_layout(tensors, size - 8 - length)
    return {name: tensor.shape for name, tensor in tensors.items()}


def _tensor(name: str, entry: object) -> _Tensor:
    fields = entry if isinstance(entry, dict) else {}
    bits, shape, offsets = _BITS.get(str(fields.get("dtype"))), fields.get("shape"), fields.get("data_offsets")
    if bits is None:
        raise ValueError(f"tensor {shown(name)} has no known dtype")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"tensor {shown(name)} has no valid shape and offsets")
    begin, end = offsets
    if math.prod(shape) * bits != (end - begin) * 8:
        raise ValueError(f"tensor {shown(name)} takes {end - begin} bytes, which does not match its shape")
    return _Tensor(begin, end, tuple(shape))


def _are_sizes(value: object) -> TypeGuard[list[int]]:
    # No tensor library supports more than 64 axes, and multiplying a longer list would be expensive.
    return isinstance(value, list) and len(value) <= 64 and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _check_layout(tensors: dict[str, _Tensor], size: int) -> None:
    if not tensors:
        raise ValueError("it contains no tensor")
    position = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != position:
            raise ValueError(
                f"tensor {shown(name)} {'overlaps' if tensor.begin < position else 'leaves a gap after'} another"
            )
        position = tensor.end
    if position != size:
        raise ValueError(f"its tensors end at byte {position} of {size}, so it is cut off or padded")
