"""The sections of the settings file: every key with its type, bounds and default."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from schemas.context import HEADINGS
from schemas.documents import PAGES, PAYLOAD
from schemas.table import name_parts
from udfs.specs import NEWEST_RULES

_HOUR = 3600
_NAME_RULE = r"^[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*$"
# A double underscore separates library, space and table in a catalog's names, so only single ones are allowed.
Name = Annotated[str, StringConstraints(pattern=_NAME_RULE, max_length=64)]
Text = Annotated[str, StringConstraints(min_length=1)]


# As Hadoop reads paths: `s3a://bucket/lake`, and `dbfs:/lake` without a server too.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?=/)(?://([^/]*))?(.*)", re.DOTALL)


def split_path(path: str) -> tuple[str, str, str]:
    """Splits an absolute path into scheme, server and path, as Hadoop does.

    Args:
        path: The path or URL.

    Returns:
        Scheme and server in lower case, each empty if there is none, and the path.

    Example:
        >>> split_path("s3a://bucket/lake"), split_path("dbfs:/lake"), split_path("/lake")
        (('s3a', 'bucket', '/lake'), ('dbfs', '', '/lake'), ('', '', '/lake'))
    """
    found = _URL.fullmatch(path)
    return (found[1].lower(), (found[2] or "").lower(), found[3] or "/") if found else ("", "", path)


def _absolute(path: str) -> str:
    # Paths are shown in messages and recorded. `abfss://container@account` names no password.
    if ":" in split_path(path)[1].rpartition("@")[0]:
        raise ValueError("contains a user and a password. Leave them out, and set them in Spark's properties.")
    # Spark and a Connect server have their own working directories, so only an absolute path is unambiguous.
    return path if split_path(path)[0] else str(Path(path).expanduser().absolute())


Location = Annotated[Text, AfterValidator(_absolute)]


def _table_name(name: str) -> str:
    name_parts(name)
    return name


TableName = Annotated[Text, AfterValidator(_table_name)]


def _as_spark_text(value: object) -> object:
    # YAML reads `header: true` as a boolean; Spark's options and properties are text.
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


SparkText = Annotated[str, BeforeValidator(_as_spark_text)]


def _as_off(value: object) -> object:
    # YAML reads `off` as a boolean.
    return "off" if value is False else value


def _of_the_worker(path: str) -> str:
    # Workers have their own working directories and homes; they resolve `~`.
    if path != "off" and not path.startswith(("/", "~")):
        raise ValueError("is neither off nor an absolute path on the workers. Write one, such as /var/cache/embedlake.")
    return path


CacheFolder = Annotated[Text, BeforeValidator(_as_off), AfterValidator(_of_the_worker)]


def _on_each_machine(path: str) -> str:
    # Driver and executors have their own working directories and homes; each resolves `~`.
    if not path.startswith(("/", "~")):
        raise ValueError("is not an absolute path. Write one, such as /Volumes/main/models/cache.")
    return path


SharedFolder = Annotated[Text, AfterValidator(_on_each_machine)]

# Delta's options that choose a version or its change feed, and Spark's that name a location; readers ignore case.
_VERSION_OPTIONS = {
    *("versionasof", "timestampasof", "startingversion", "startingtimestamp", "endingversion", "endingtimestamp"),
    *("readchangefeed", "readchangedata"),
}
_LOCATION_OPTIONS = {"path", "paths"}


def _without_version(options: dict[str, str]) -> dict[str, str]:
    # A run pins the newest version itself and reads the feed from the last one: it would override these in silence, or
    # Delta would refuse the mixture.
    versions = [name for name in options if name.lower() in _VERSION_OPTIONS]
    if versions:
        raise ValueError(
            f"{', '.join(versions)} would choose a version of the source, but a run reads the newest one. Leave it "
            "out; to embed an older version, create a view of it and name the view as source.table."
        )
    locations = [name for name in options if name.lower() in _LOCATION_OPTIONS]
    if locations:
        raise ValueError(f"{', '.join(locations)} would name a second location. Use source.path or source.table alone.")
    return options


ReaderOptions = Annotated[dict[str, SparkText], AfterValidator(_without_version)]


class Section(BaseModel):
    """A group of settings: no unknown keys, no guessed types, no change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StoreSettings(Section):
    """Where the tables are: a folder or object-store prefix, or a catalog and schema."""

    path: Location | None = None
    catalog: Text | None = None
    schema_: Text | None = Field(default=None, alias="schema")
    vector_encoding: Literal["byte_stream_split", "plain"] = "byte_stream_split"

    @model_validator(mode="after")
    def _one_location(self) -> "StoreSettings":
        if (self.path is None) == (self.catalog is None and self.schema_ is None):
            raise ValueError("set either path, or catalog and schema")
        if self.path is None and (self.catalog is None or self.schema_ is None):
            raise ValueError("catalog and schema go together")
        return self

    @property
    def folder(self) -> Path | None:
        """The store's folder on this machine; None if it is in a catalog or has a scheme other than `file`."""
        scheme, _, path = split_path(self.path or "")
        return Path(path) if self.path is not None and scheme in ("", "file") else None

    @property
    def is_local(self) -> bool:
        """Whether the store is a folder of this machine."""
        return self.folder is not None


class SourceSettings(Section):
    """Where documents come from, and which columns they consist of."""

    format: Literal["delta", "parquet", "json", "csv", "orc", "table", "files", "documents"]
    path: Location | None = None
    table: TableName | None = None
    options: ReaderOptions = {}
    id_column: Text | None = None
    text_columns: list[Text] = []
    text_separator: str = " "
    payload_columns: list[Text] = []
    filter: Text | None = None
    # From chunking.context: the columns that a document's context is made of.
    context: Annotated[list[Text], Field(exclude=True)] = []
    track: Literal["auto", "feed", "compare"] = "auto"
    parse_seconds: Annotated[float, Field(ge=1, le=3600)] = 60.0
    parse_megabytes: Annotated[int, Field(ge=256, le=65_536)] = 1024

    @model_validator(mode="after")
    def _columns_and_location(self) -> "SourceSettings":
        needed, other = ("table", "path") if self.format == "table" else ("path", "table")
        if getattr(self, needed) is None or getattr(self, other) is not None:
            raise ValueError(f"format {self.format} takes {needed}, not {other}")
        if self.format not in ("files", "documents") and (self.id_column is None or not self.text_columns):
            raise ValueError("set id_column and at least one of text_columns")
        if self.is_parsed:
            self._check_parsed()
        for key in ("text_columns", "payload_columns"):
            names = [name.lower() for name in getattr(self, key)]
            if len(set(names)) < len(names):
                raise ValueError(f"{key} names a column twice")
        return self

    def _check_parsed(self) -> None:
        if self.id_column is not None or self.text_columns:
            raise ValueError("format documents has its own id and text, so leave out id_column and text_columns")
        others = sorted(set(self.options) - {"pathGlobFilter"})
        if others:
            raise ValueError(f"format documents takes pathGlobFilter alone as an option, not {', '.join(others)}")
        unknown = [name for name in self.payload_columns if name not in PAYLOAD]
        if unknown:
            names = ", ".join(PAYLOAD)
            raise ValueError(f"format documents has no column {', '.join(unknown)} for payload, but {names}")

    @property
    def is_parsed(self) -> bool:
        """Whether files are parsed into a table of the space, which then is what a run reads."""
        return self.format == "documents"

    @property
    def is_table(self) -> bool:
        """Whether the rows are in a table, which may have versions, or behind a view."""
        return self.format in ("delta", "table", "documents")

    @property
    def id_name(self) -> str:
        """The id column; a folder of files has its own."""
        return self.id_column or "path"

    @property
    def text_names(self) -> list[str]:
        """The text columns; a folder of files has its own."""
        return self.text_columns or ["text"]

    @property
    def carried_columns(self) -> list[str]:
        """The columns that reach the chunks beside the text: the payload and, of parsed files, where pages begin."""
        return [*self.payload_columns, *([PAGES] if self.is_parsed else [])]

    @property
    def context_columns(self) -> list[str]:
        """The columns that a document's context is made of."""
        return [name for name in self.context if name != HEADINGS]

    @property
    def named_columns(self) -> list[str]:
        """All columns that decide the rows of a document: id, texts, payload and context."""
        named = [self.id_name, *self.text_names, *self.carried_columns]
        return [*named, *(name for name in self.context_columns if name not in named)]


def as_context(value: object) -> object:
    """Reads `chunking.context`: `none`, one name, or a list of names."""
    if value in ("none", None):
        return []
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list) and len({str(name).lower() for name in names}) < len(names):
        raise ValueError("context names something twice")
    return names


class ChunkingSettings(Section):
    """How documents are cut into chunks; sizes are in the model's tokens, special tokens and prompt included."""

    method: Literal["structure", "none"] = "structure"
    rules: Annotated[int, Field(ge=1, le=NEWEST_RULES)] | None = None
    max_tokens: Annotated[int, Field(ge=16, le=1_000_000)] | None = None
    min_tokens: Annotated[int, Field(ge=1)] | None = None
    context: Annotated[list[Text], BeforeValidator(as_context)] = []

    @model_validator(mode="after")
    def _sizes(self) -> "ChunkingSettings":
        if self.method == "none" and (self.max_tokens or self.min_tokens):
            raise ValueError("max_tokens and min_tokens go with method structure")
        if self.max_tokens and self.min_tokens and self.min_tokens > self.max_tokens // 2:
            raise ValueError("min_tokens is at most half of max_tokens")
        return self


class ModelSettings(Section):
    """Which model computes the vectors. Settings that are left out are as the model folder says."""

    path: Text
    revision: Text | None = None
    cache: SharedFolder | None = None
    document_prompt: str | None = None
    query_prompt: str | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    normalize: bool | None = None
    precision: Literal["float32", "int8", "binary"] = "float32"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"


class SpaceSettings(Section):
    """One of several spaces: its name, and what differs from the rest of the settings."""

    name: Name
    chunking: dict[str, Any] = {}
    model: dict[str, Any] = {}
    inference: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        if not isinstance(value, str | dict):
            raise ValueError("is neither a name nor a group of settings. Write a name, or name: and what differs.")
        return {"name": value} if isinstance(value, str) else value


def _without_repeats(spaces: list[SpaceSettings]) -> list[SpaceSettings]:
    names = [each.name.lower() for each in spaces]
    repeated = [each.name for each in spaces if names.count(each.name.lower()) > 1]
    if repeated:
        raise ValueError(
            f"{' and '.join(repeated)} are the same name, or would be where a store ignores case. Give each space a "
            "name of its own."
        )
    return spaces


Spaces = Annotated[list[SpaceSettings], AfterValidator(_without_repeats)]


class InferenceSettings(Section):
    """How workers run the model."""

    device: Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")] = "auto"
    token_budget: Literal["auto"] | Annotated[int, Field(ge=16)] = "auto"
    backend: Literal["auto", "torch", "openvino"] = "auto"
    cache: CacheFolder | None = None
    resource_profile: Annotated[Literal["auto", "off"], BeforeValidator(_as_off)] = "auto"


class RunSettings(Section):
    """How a run is divided into slices, and when it stops."""

    slice_tokens: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    slice_rows: Annotated[int, Field(ge=1)] = 500_000
    slice_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 600
    memory_tokens: Annotated[int, Field(ge=0)] = 250_000
    full_check_every: Annotated[int, Field(ge=1)] = 20
    stale_after_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 3600
    max_attempts: Annotated[int, Field(ge=1)] = 3
    on_failed_update: Literal["keep", "remove"] = "keep"
    max_quarantined_fraction: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.01
    max_removed_fraction: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.3
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_cost: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class MaintenanceSettings(Section):
    """How `embedlake maintain` tidies the tables."""

    file_megabytes: Annotated[int, Field(ge=1)] = 256
    retention_hours: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 168


class FollowSettings(Section):
    """How `embedlake follow` waits for changes."""

    poll_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30


class PromotionSettings(Section):
    """What a space must show before readers are sent to it, and how long the one before it is kept."""

    queries: Text | None = None
    judgements: Text | None = None
    measure: Annotated[str, StringConstraints(pattern=r"^(nDCG|R|AP|RR)@[1-9][0-9]{0,3}$")] = "nDCG@10"
    max_loss: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0
    min_coverage: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.99
    keep_days: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 7

    @model_validator(mode="after")
    def _files(self) -> "PromotionSettings":
        if (self.queries is None) != (self.judgements is None):
            raise ValueError("queries and judgements go together")
        return self

    @property
    def cutoff(self) -> int:
        """How many documents of each query the measure looks at."""
        return int(self.measure.partition("@")[2])


class CostSettings(Section):
    """What an hour of the session costs: runs, plans and estimates are priced by it."""

    per_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    currency: Text = "USD"

    def price_of(self, seconds: float | None) -> float | None:
        """Returns what so many seconds cost; None if seconds or price are not known."""
        return None if seconds is None or self.per_hour is None else seconds / _HOUR * self.per_hour


class SparkSettings(Section):
    """The local session; used only where no session is live."""

    master: Text = "local[*]"
    properties: dict[str, SparkText] = {}
