"""The result of a comparison by a sample: how it is shown, and as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from spark_jobs.evaluation.cost import BuildCost
from spark_jobs.evaluation.measures import CONFIDENCE
from spark_jobs.evaluation.sampled import Estimate, SampledDifference
from spark_jobs.runtime.report import render_lines

# Enough to tell models apart.
_FINGERPRINT_DIGITS = 12
# What the overlap is measured with.
JUDGED, SAMPLED = "judged queries", "documents of the sample"


@dataclass(frozen=True)
class ComparedSpace:
    """One of the two spaces.

    Attributes:
        space: Library and space.
        model: Name of the model.
        model_fingerprint: Hash of everything that decides a vector.
        chunking: The chunking rule, in words.
        chunks: Number of the sample's chunks.
    """

    space: str
    model: str
    model_fingerprint: str
    chunking: str
    chunks: int

    def __str__(self) -> str:
        """Renders the space in one line."""
        model = f"model {self.model} {self.model_fingerprint[:_FINGERPRINT_DIGITS]}"
        return f"{self.space} · {model} · chunking {self.chunking} · {self.chunks:,} chunks of the sample"


@dataclass(frozen=True)
class SampleFacts:
    """What was sampled.

    Attributes:
        documents: Number of sampled documents.
        relevant: How many of them are in the sample because they are relevant to a query.
        library_documents: Documents of the source that the baseline has, from which the sample was drawn.
        failed_chunks: Number of chunks that the candidate's model could not embed.
        seed: What decided the draws.
    """

    documents: int
    relevant: int
    library_documents: int
    failed_chunks: int
    seed: int


@dataclass(frozen=True)
class SampledQuality:
    """The estimate by judged queries.

    Attributes:
        queries: Number of queries that were drawn.
        queries_left_out: Judged queries whose relevant documents did not fit into the sample.
        unknown_documents: Relevant documents that source or baseline do not have.
        k: Cutoff of nDCG.
        estimate: The estimate.
    """

    queries: int
    queries_left_out: int
    unknown_documents: int
    k: int
    estimate: SampledDifference


@dataclass(frozen=True)
class NeighbourOverlap:
    """How many of the nearest documents both spaces have in common, within the sample.

    Attributes:
        share: Mean share over the queries.
        k: Number of nearest documents.
        queries: Number of queries.
        of: What the queries are: `JUDGED` or `SAMPLED`.
    """

    share: Estimate
    k: int
    queries: int
    of: str

    def line(self) -> str:
        """Renders the overlap in one line."""
        what = f"of the nearest {self.k:,} documents are the same · {self.queries:,} {self.of} · within the sample"
        return f"{_shown(self.share, '.3f')} {what}"


@dataclass(frozen=True)
class SampledComparison:
    """What a sample says of a candidate; print it for a summary.

    Attributes:
        baseline: The library's active space.
        candidate: The space that could be built.
        sample: What was sampled.
        quality: The estimate by judged queries; None without judgements.
        overlap: How many of the nearest documents are the same.
        cost: What building the candidate would cost.
    """

    baseline: ComparedSpace
    candidate: ComparedSpace
    sample: SampleFacts
    quality: SampledQuality | None
    overlap: NeighbourOverlap
    cost: BuildCost

    def __str__(self) -> str:
        """Renders the comparison in plain text."""
        return render_lines(self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """Renders the comparison as pairs of label and text."""
        sample, cost = self.sample, self.cost
        drawn = f"{sample.documents:,} of {sample.library_documents:,} documents · seed {sample.seed}"
        if sample.failed_chunks:
            drawn += f" · the candidate's model could not embed {sample.failed_chunks:,} chunks"
        tokens = f"{cost.sample_tokens:,} in the sample · {_shown(cost.tokens, ',.0f')} in the library"
        return [
            ("baseline", str(self.baseline)),
            ("candidate", str(self.candidate)),
            ("sample", drawn),
            *(_quality_lines(self.quality, sample) if self.quality else [("quality", "no judgements were given")]),
            (f"overlap@{self.overlap.k}", self.overlap.line()),
            ("tokens", tokens),
            *self._build_lines(),
        ]

    def _build_lines(self) -> list[tuple[str, str]]:
        cost = self.cost
        if cost.hours is None:
            return [("build", "nothing was embedded, so there is no rate")]
        rate = f"{cost.tokens_per_second:,.0f} tokens/s with {cost.slots:,} slots, without loading the model"
        price = "cost.per_hour is not set, so no price is shown"
        if cost.price is not None:
            price = f"{_shown(cost.price, ',.2f')} {cost.currency}"
        return [("build", f"{_shown(cost.hours, ',.2f')} hours at {rate}"), ("price", price)]

    def as_dict(self) -> dict[str, Any]:
        """Returns the comparison for JSON."""
        return {"confidence": CONFIDENCE, **asdict(self)}


def _quality_lines(quality: SampledQuality, sample: SampleFacts) -> list[tuple[str, str]]:
    estimate = quality.estimate
    queries = f"{quality.queries:,} with judgements · {sample.relevant:,} relevant documents in the sample"
    if quality.queries_left_out:
        queries += f" · {quality.queries_left_out:,} left out, because their documents do not fit; raise --sample"
    if quality.unknown_documents:
        queries += f" · {quality.unknown_documents:,} relevant documents are not in the library"
    measure = f"nDCG@{quality.k}"
    difference = _shown(estimate.difference, "+.4f")
    if estimate.difference.low is None:
        difference += " (one query has no interval)"
    known = f"baseline {estimate.baseline:.4f}, which the sample estimates as {estimate.baseline_estimated:.4f}"
    among = f"among the sampled documents alone {estimate.in_sample[0]:.4f} and {estimate.in_sample[1]:.4f}"
    return [
        ("queries", queries),
        (measure, f"candidate minus baseline, each searched whole: {difference}"),
        ("", f"{known} · {among}"),
    ]


def _shown(estimate: Estimate, form: str) -> str:
    value = format(estimate.value, form)
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} ({CONFIDENCE:.0%} interval {estimate.low:{form}} to {estimate.high:{form}})"
