"""Events as metrics; docs/observability.md lists them."""

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from spark_jobs.runtime.events import Event

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

Where = tuple[str, str]


class Metrics:
    """Counts as events come.

    Args:
        meter: Makes instruments.
    """

    def __init__(self, meter: "Meter") -> None:
        self._counters = {
            "documents": meter.create_counter("embedlake.documents", "{document}", "Documents committed."),
            "chunks": meter.create_counter("embedlake.chunks", "{chunk}", "Chunks committed."),
            "tokens_embedded": meter.create_counter("embedlake.tokens", "{token}", "Tokens embedded and committed."),
            "cost": meter.create_counter("embedlake.cost", "", "Price of the time of runs, by cost.per_hour."),
        }
        self._runs = meter.create_counter("embedlake.runs", "{run}", "Runs that ended.")
        self._rate = meter.create_gauge("embedlake.rate", "{token}/s", "Tokens embedded per second.")
        self._backlog = meter.create_gauge("embedlake.backlog", "{document}", "Documents still to be worked on.")
        self._quarantined = meter.create_gauge("embedlake.quarantined", "{document}", "Documents in quarantine.")
        self._steps = meter.create_histogram("embedlake.step.duration", "s", "Duration of steps.")
        self._served: dict[Where, float] = {}
        self._counted: dict[str, float] = {}
        meter.create_observable_gauge(
            "embedlake.freshness", [self._freshness], "s", "Age of the state of the source that the vectors show."
        )

    def observe(self, event: Event) -> None:
        """Takes in an event."""
        values = event.values
        if event.name == "run_started":
            self._counted = {}
        elif event.name == "plan":
            self._backlog.set(values["backlog"], _where(values))
        elif event.name == "slice_committed":
            self._count(values)
            self._backlog.set(values["backlog"], _where(values))
            self._rate.set(values["tokens_per_second"], _where(values))
        elif event.name == "run_ended":
            self._end(values)
        elif event.name == "looked":
            self._served[values["library"], values["space"]] = time.time()
        elif event.name == "step_ended":
            self._steps.record(values["seconds"], {**_where(values), "step": values["step"]})

    def _end(self, values: Mapping[str, Any]) -> None:
        self._count({name: values[name] for name in ("library", "space", "cost", "currency") if name in values})
        self._runs.add(1, {**_where(values), "outcome": values["outcome"]})
        if values["outcome"] == "finished":
            self._backlog.set(0, _where(values))
            self._quarantined.set(values["counts"]["library_quarantined"], _where(values))
            self._served[values["library"], values["space"]] = time.time() - values["source_age"]

    def _count(self, values: Mapping[str, Any]) -> None:
        """Adds what has come since the last event of the run, which has totals."""
        price = {"currency": values["currency"]} if "currency" in values else {}
        for name, counter in self._counters.items():
            if name in values:
                more = values[name] - self._counted.get(name, 0)
                counter.add(more, {**_where(values), **(price if name == "cost" else {})})
                self._counted[name] = values[name]

    def _freshness(self, _: "CallbackOptions") -> Iterator["Observation"]:
        from opentelemetry.metrics import Observation

        # Another thread may add a space.
        for (library, space), served in list(self._served.items()):
            yield Observation(time.time() - served, {"library": library, "space": space})


def _where(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: values[name] for name in ("library", "space") if name in values}
