"""The gate of a promotion: what a space must show, measured against the active one."""

from dataclasses import dataclass

from spark_jobs.evaluation.measures import MeasureDifference
from spark_jobs.evaluation.report import Evaluation
from spark_jobs.settings.sections import PromotionSettings
from spark_jobs.store.readiness import LedgerAgreement


@dataclass(frozen=True)
class Verdict:
    """What a promotion is decided by.

    Attributes:
        settings: What the space must show.
        agreement: How its ledger agrees with that of the active space.
        evaluation: Its evaluation against the active space; None without judgements.
    """

    settings: PromotionSettings
    agreement: LedgerAgreement
    evaluation: Evaluation | None = None

    @property
    def difference(self) -> MeasureDifference | None:
        """The measure of the space less that of the active one; None without judgements."""
        if self.evaluation is None or self.evaluation.comparison is None:
            return None
        return self.evaluation.comparison.differences[self.settings.measure]

    @property
    def least(self) -> float | None:
        """The lower end of the difference's interval, or the difference itself for a single query."""
        difference = self.difference
        if difference is None:
            return None
        return difference.value if difference.low is None else difference.low

    def faults(self) -> list[str]:
        """Explains why the space does not pass, one sentence each; none if it passes."""
        settings, agreement, least = self.settings, self.agreement, self.least
        faults = []
        if agreement.coverage < settings.min_coverage:
            faults.append(
                f"it has embedded {agreement.covered:,} of the {agreement.documents:,} documents of the active space, "
                f"{agreement.coverage:.4f}, less than promotion.min_coverage {settings.min_coverage:g}"
            )
        if least is not None and least < -settings.max_loss:
            faults.append(
                f"{settings.measure} may be lower by up to {-least:.5f} ({self.difference}), more than "
                f"promotion.max_loss {settings.max_loss:g}"
            )
        return faults

    def figures(self) -> dict[str, float]:
        """Returns what was measured, for the registry."""
        agreement, difference, measure = self.agreement, self.difference, self.settings.measure
        figures: dict[str, float] = {
            "documents": float(agreement.documents),
            "covered": float(agreement.covered),
            "coverage": agreement.coverage,
        }
        if self.evaluation is None or self.evaluation.comparison is None or difference is None:
            return figures
        figures |= {
            measure: self.evaluation.scores.means[measure],
            f"{measure} of the active space": self.evaluation.comparison.other.means[measure],
            "difference": difference.value,
            "queries": float(len(self.evaluation.judged.queries)),
        }
        if difference.low is not None and difference.high is not None:
            figures |= {"low": difference.low, "high": difference.high}
        return figures

    def lines(self) -> list[tuple[str, str]]:
        """Returns the label and text of each line of a summary."""
        agreement, difference, measure = self.agreement, self.difference, self.settings.measure
        lines = [
            (
                "coverage",
                f"{agreement.covered:,} of {agreement.documents:,} documents ({agreement.coverage:.2%}), at least "
                f"{self.settings.min_coverage:.2%} wanted",
            )
        ]
        if self.evaluation is None or self.evaluation.comparison is None or difference is None:
            return [*lines, ("quality", "not measured: the settings name no promotion.queries and no judgements")]
        means = self.evaluation.scores.means[measure], self.evaluation.comparison.other.means[measure]
        allowed = f"a loss of {self.settings.max_loss:g} is allowed at its lower end"
        lines.append((measure, f"{means[0]:.5f} · against {means[1]:.5f} · {difference}; {allowed}"))
        if self.evaluation.scores.missing:
            judged = len(self.evaluation.judged.documents)
            lines.append(("unknown", f"{self.evaluation.scores.missing:,} of {judged:,} judged documents"))
        return lines
