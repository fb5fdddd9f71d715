"""The file that `embedlake calibrate` writes, read back."""

import json
import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import InputError
from spark_jobs.page.facts import Calibrated, TriedSize

# What calibrate writes has a few kilobytes.
_MOST_BYTES = 1_000_000
_FILE = "calibration.json"
Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Result(BaseModel):
    model_config = ConfigDict(strict=True)

    kind: str
    value: Annotated[int, Field(ge=0)]
    texts_per_second: Finite
    tokens_per_second: Finite
    padding: Finite
    p50: Finite
    p99: Finite
    peak_mebibytes: Finite


class _Calibration(BaseModel):
    model_config = ConfigDict(strict=True)

    device: str
    dtype: str
    token_budget: int
    why: str
    results: Annotated[list[_Result], Field(min_length=1, max_length=1_000)]


def read_calibration(path: Path) -> Calibrated:
    """Reads the result of a calibration.

    Args:
        path: `calibration.json`, or the folder that `embedlake calibrate --out` names.

    Returns:
        The result.

    Raises:
        InputError: The file cannot be read, or is something else.
    """
    file = path / _FILE if path.is_dir() else path
    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"--calibration {file} cannot be read: {error.strerror}. Name the {_FILE} that embedlake calibrate wrote."
        ) from error
    try:
        found = _Calibration.model_validate(_parsed(content))
    except (ValueError, ValidationError, RecursionError) as error:
        raise InputError(
            f"--calibration {file} is not what embedlake calibrate writes. Name its {_FILE}, or run it again."
        ) from error
    results = [TriedSize(**result.model_dump()) for result in found.results]
    return Calibrated(found.device, found.dtype, found.token_budget, found.why, results)


def _parsed(content: bytes) -> Any:
    if len(content) > _MOST_BYTES:
        raise ValueError("too long")
    return json.loads(content, parse_int=_whole)


def _whole(digits: str) -> int:
    # As long a number as a hostile file likes is no size of a pass.
    if len(digits) > math.ceil(math.log10(2**63)):
        raise ValueError("too large")
    return int(digits)
