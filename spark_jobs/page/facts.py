"""What the page of a report shows: plain facts, gathered before anything is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from schemas.plan import REMOVED, UNCHANGED
from spark_jobs.settings.sections import CostSettings
from spark_jobs.store.runs import wall_seconds
from spark_jobs.store.space_facts import SpaceFacts


@dataclass(frozen=True)
class Coverage:
    """How the source and the space differ.

    Attributes:
        documents: Documents by change, unchanged ones included; empty if the source cannot be read.
        version: The source's newest version; None if it has none.
        faults: Why a run would refuse the source; empty if it would not.
        note: What a person should know of the source; may be empty.
    """

    documents: Mapping[str, int]
    version: int | None = None
    faults: Sequence[str] = ()
    note: str = ""

    @property
    def of_source(self) -> int:
        """Documents of the source."""
        return sum(count for change, count in self.documents.items() if change != REMOVED)

    @property
    def in_step(self) -> int:
        """Documents of the source that the space has as they are."""
        return self.documents.get(UNCHANGED, 0)


@dataclass(frozen=True)
class Lengths:
    """How long chunks are, in tokens.

    Attributes:
        width: Tokens that each bin spans.
        counts: Chunks of each bin; bin n begins at n times the width, and the last one holds all longer chunks too.
        median: Half of the chunks are at most this long.
        p95: 95 of 100 chunks are at most this long.
        longest: Tokens of the longest chunk.
        limit: Most tokens that the model sees; None if it has no limit.
    """

    width: int
    counts: Sequence[int]
    median: int
    p95: int
    longest: int
    limit: int | None


@dataclass(frozen=True)
class Contents:
    """What a space holds.

    Attributes:
        statuses: Documents by status.
        reasons: Quarantined documents by reason.
        chunks: Rows of `vectors`.
        truncated: Chunks of which the model saw only the beginning.
        tokens: Tokens of all chunks.
        lengths: How long the chunks are; None if there are none.
    """

    statuses: Mapping[str, int]
    reasons: Mapping[str, int]
    chunks: int = 0
    truncated: int = 0
    tokens: int = 0
    lengths: Lengths | None = None

    @property
    def documents(self) -> int:
        """Documents with a row in the ledger."""
        return sum(self.statuses.values())


@dataclass(frozen=True)
class RunFacts:
    """One run of a space.

    Attributes:
        number: Its number.
        event: Its end, or `unfinished`.
        at: When its last event was recorded.
        plan: How its work was found, in words.
        counts: Documents, chunks and tokens, by the names in the record of runs.
        seconds: Wall-clock seconds by step.
        inference: What the model was given and how long it took; empty if nothing was embedded.
        slices: Slices that were committed.
        message: What went wrong; may be empty.
    """

    number: int
    event: str
    at: datetime
    plan: str
    counts: Mapping[str, int]
    seconds: Mapping[str, float]
    inference: Mapping[str, float | str | None]
    slices: int = 0
    message: str = ""

    @property
    def total_seconds(self) -> float:
        """Wall-clock seconds; those of all steps of a run that did not count them."""
        return wall_seconds(self.counts, self.seconds)

    @property
    def tokens(self) -> int:
        """Tokens of the run's texts, those with a vector that was already stored included."""
        return self.counts.get("tokens_embedded", 0) + self.counts.get("tokens_saved", 0)

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens embedded per second of the embed step; None if nothing was embedded."""
        tokens, seconds = self.counts.get("tokens_embedded", 0), self.seconds.get("embed", 0.0)
        return tokens / seconds if tokens and seconds > 0 else None

    @property
    def padding(self) -> float | None:
        """Share of the computed tokens that were padding."""
        computed = self._measured("computed")
        return 1 - self._measured("tokens") / computed if computed else None

    @property
    def waited(self) -> float | None:
        """Share of its time that the model waited for texts."""
        busy = self._measured("forward") + self._measured("forward_waited")
        return self._measured("forward_waited") / busy if busy else None

    def cost(self, cost: CostSettings) -> float | None:
        """What the run's time cost; None if the settings do not say what an hour costs."""
        return cost.price_of(self.total_seconds)

    def _measured(self, name: str) -> float:
        value = self.inference.get(name)
        return float(value) if isinstance(value, int | float) else 0.0


@dataclass(frozen=True)
class SliceFacts:
    """One committed slice of a run.

    Attributes:
        number: Its number in the run.
        tokens: Tokens that it embedded.
        seconds: From the commit before it, or from the start of the run, to its own.
    """

    number: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Runs:
    """The last runs of a space.

    Attributes:
        total: How many runs there were.
        shown: The last ones, the oldest first.
        sliced: Number of the newest run of several slices; None if there is none.
        slices: Its last slices, in order.
    """

    total: int = 0
    shown: Sequence[RunFacts] = ()
    sliced: int | None = None
    slices: Sequence[SliceFacts] = ()


@dataclass(frozen=True)
class Evaluated:
    """One measure of one evaluation; see `schemas.evaluations`."""

    space: str
    measure: str
    value: float
    queries: str
    query_count: int
    at: datetime
    against: str | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class SpaceChange:
    """One change of a library's spaces, refusals included; see `schemas.spaces`."""

    space: str
    change: str
    at: datetime
    reason: str
    figures: Mapping[str, float]


@dataclass(frozen=True)
class VectorMap:
    """A sample of vectors in two dimensions.

    Attributes:
        points: Two numbers of each point.
        explained: Share of the sample's variance that the two dimensions show.
        total: Vectors of the space, of which the points are a sample.
        column: Payload column by which points are colored; None for none.
        labels: Its values, the most frequent first.
        groups: Index in `labels` of each point; empty if there is no column.
        ids: Shortened id of each point's document; empty if texts are left out.
        texts: Shortened text of each point; empty if texts are left out.
    """

    points: Sequence[tuple[float, float]]
    explained: float
    total: int
    column: str | None = None
    labels: Sequence[str] = ()
    groups: Sequence[int] = ()
    ids: Sequence[str] = ()
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class TriedSize:
    """Forward passes of one size, as `embedlake calibrate` measured them."""

    kind: str
    value: int
    texts_per_second: float
    tokens_per_second: float
    padding: float
    p50: float
    p99: float
    peak_mebibytes: float


@dataclass(frozen=True)
class Calibrated:
    """The result of `embedlake calibrate`."""

    device: str
    dtype: str
    token_budget: int
    why: str
    results: Sequence[TriedSize]


@dataclass(frozen=True)
class PageFacts:
    """Everything that the page of a report shows.

    Attributes:
        library: The library.
        space: The space; of an empty store, the one that the settings name.
        at: When the facts were gathered.
        coverage: How the source and the space differ.
        contents: What the space holds.
        runs: Its last runs.
        spaces: All spaces of the library, the oldest first.
        evaluations: Measures of the library's spaces, the oldest first.
        changes: Changes of the library's spaces that have figures or a reason, the newest first.
        cost: What an hour costs.
        map: A sample of vectors; None if there are none.
        calibration: The result of a calibration; None if none was given.
    """

    library: str
    space: str
    at: datetime
    coverage: Coverage
    contents: Contents
    runs: Runs
    spaces: Sequence[SpaceFacts] = ()
    evaluations: Sequence[Evaluated] = ()
    changes: Sequence[SpaceChange] = ()
    cost: CostSettings = field(default_factory=CostSettings)
    map: VectorMap | None = None
    calibration: Calibrated | None = None

    @property
    def of_space(self) -> SpaceFacts | None:
        """What is known of the space; None if no run has opened it yet."""
        return next((each for each in self.spaces if each.space == self.space), None)
