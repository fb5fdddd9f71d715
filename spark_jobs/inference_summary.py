"""What inference took in all tasks of a run: collected on the way to the table, summed up for record and report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F

from schemas.inference import NAMES, PEAKS, SUMS

# Share of the time in which the model is at work that leaves nothing to gain elsewhere.
_BUSY = 0.9


def meter_columns() -> list[Column]:
    """Sums up the meters of all tasks, for an observation of `schemas.inference.METER`.

    Returns:
        One aggregate for each field of the meter, under its name.
    """
    sums = [F.coalesce(F.sum(f"meter.{name}"), F.lit(0.0)).alias(name) for name in SUMS]
    return sums + [F.max(f"meter.{name}").alias(name) for name in (*PEAKS, *NAMES)]


@dataclass
class InferenceSummary:
    """What the model was given and what it took, over the slices of a run.

    Attributes:
        values: Fields of the meter; empty while nothing was embedded.
    """

    values: dict[str, Any] = field(default_factory=dict)

    def add(self, observed: Mapping[str, Any]) -> None:
        """Adds one slice.

        Args:
            observed: Results of `meter_columns`.
        """
        for name in SUMS:
            self.values[name] = self.values.get(name, 0.0) + observed[name]
        for name in PEAKS:
            self.values[name] = max(self.values.get(name, 0.0), observed[name] or 0.0)
        self.values.update({name: observed[name] for name in NAMES if observed[name] is not None})

    def bottleneck(self) -> str:
        """Names the stage that the others wait for.

        Returns:
            `read`, `tokenise`, `forward`, `collect`, `encode` or `write`.
        """
        v = self.values
        # The model is what a machine is paid for: while it is busy nothing else can be the reason.
        if v["forward"] >= _BUSY * (v["forward"] + v["forward_waited"]):
            return "forward"
        return max(("read", "tokenise", "collect", "encode", "write"), key=lambda stage: float(v[stage]))

    def line(self) -> str:
        """Renders it for the report.

        Returns:
            One line; empty where nothing was embedded.
        """
        v = self.values
        if not v or not v["passes"]:
            return ""
        busy = v["forward"] + v["forward_waited"]
        parts = [
            f"{v['device']} {v['dtype']}",
            f"{v['token_budget']:,.0f} tokens a pass",
            f"{v['tokens'] / max(v['forward'], 1e-9):,.0f} tokens/s in the model",
            f"{1 - v['tokens'] / v['computed']:.1%} padding",
            f"model waited {v['forward_waited'] / max(busy, 1e-9):.0%} of the time, bottleneck {self.bottleneck()}",
            f"loaded in {v['load_seconds']:.1f} s",
            f"at most {v['peak_mebibytes']:,.0f} MiB a worker",
        ]
        if v["out_of_memory"]:
            parts.append(f"{v['out_of_memory']:,.0f} times out of memory")
        return " · ".join(parts)
