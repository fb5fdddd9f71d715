"""What embedding a whole library would cost, by a sample of its documents; numpy, no Spark."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from spark_jobs.evaluation.measures import CONFIDENCE
from spark_jobs.evaluation.sampled import Estimate, student_quantile
from spark_jobs.settings.sections import CostSettings

_HOUR = 3600


@dataclass(frozen=True)
class BuildCost:
    """What a full build would cost.

    Attributes:
        sample_tokens: Tokens of the sample, prompts and special tokens included.
        tokens: Tokens of the whole library.
        tokens_per_second: Measured rate of the session, with all of its slots and without loading the model; 0 if
            nothing was embedded.
        slots: Tasks that run at the same time.
        hours: Duration of a full build at that rate; None if there is no rate.
        price: Its price; None if the settings do not say what an hour costs, or if there is no rate.
        currency: Its currency.
    """

    sample_tokens: int
    tokens: Estimate
    tokens_per_second: float
    slots: int
    hours: Estimate | None
    price: Estimate | None
    currency: str


def estimate_tokens(
    characters: Mapping[str, int], tokens: Mapping[str, int], certain: Collection[str], others: int, total: int
) -> Estimate:
    """Estimates the tokens of a library by the ratio of tokens to characters in a sample.

    The sample has two strata: documents that are certain to be in it, and documents drawn at random from the others.
    The combined ratio estimator weights each drawn document by what it stands for (W. G. Cochran, Sampling Techniques,
    3rd edition 1977, 6.11); its error comes from the drawn ones alone, whose tokens differ from what the ratio says.

    Args:
        characters: Characters of each sampled document.
        tokens: Tokens of each sampled document that has any.
        certain: Ids of the documents that were not drawn.
        others: Number of the library's documents from which the drawn ones were drawn.
        total: Characters of the whole library.

    Returns:
        The tokens; no interval if fewer than two documents were drawn from more.
    """
    drawn = [document for document in characters if document not in set(certain)]
    lengths, counts = (np.array([kind.get(d, 0) for d in drawn], dtype=np.float64) for kind in (characters, tokens))
    weight = others / len(drawn) if drawn else 0.0
    of_certain = (sum(kind.get(d, 0) for d in certain) for kind in (characters, tokens))
    all_lengths, all_counts = (
        sure + weight * part.sum() for sure, part in zip(of_certain, (lengths, counts), strict=True)
    )
    ratio = float(all_counts / all_lengths) if all_lengths else 0.0
    value = ratio * total
    if len(drawn) < 2:
        return Estimate(value, *((value, value) if len(drawn) == others else (None, None)))
    residuals = counts - ratio * lengths
    variance = others**2 * (1 - len(drawn) / others) * residuals.var(ddof=1) / len(drawn)
    # To the library's own characters, from those that the sample stands for.
    half = student_quantile(len(drawn), CONFIDENCE) * float(np.sqrt(variance)) * total / float(all_lengths or 1)
    return Estimate(value, max(0.0, value - half), value + half)


def build_cost(
    sample_tokens: int, tokens: Estimate, embedded_tokens: int, seconds: float, slots: int, cost: CostSettings
) -> BuildCost:
    """Extrapolates duration and price from the measured rate.

    Args:
        sample_tokens: Tokens of the sample.
        tokens: Tokens of the library.
        embedded_tokens: Tokens that were embedded, each text once.
        seconds: How long that took.
        slots: Tasks that ran at the same time.
        cost: What an hour costs.

    Returns:
        The cost.
    """
    rate = embedded_tokens / seconds if embedded_tokens and seconds > 0 else 0.0
    hours = _scaled(tokens, 1 / rate / _HOUR) if rate else None
    price = _scaled(hours, cost.per_hour) if hours is not None and cost.per_hour is not None else None
    return BuildCost(sample_tokens, tokens, rate, slots, hours, price, cost.currency)


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    low, high = (None if end is None else end * factor for end in (estimate.low, estimate.high))
    return Estimate(estimate.value * factor, low, high)
