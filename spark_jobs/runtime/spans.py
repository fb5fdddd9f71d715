"""Events as spans: one for each job or run, below it its steps and slices, below a slice its own steps."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spark_jobs.runtime.events import Event

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

_NAME = "embedlake"


class Spans:
    """Opens and ends spans as events come, in the order in which they happened.

    Args:
        tracer: Makes spans.
        parent: Context of whoever started the command; None for a trace of its own.
    """

    def __init__(self, tracer: "Tracer", parent: "Context | None") -> None:
        self._tracer, self._parent = tracer, parent
        self._job: Span | None = None
        self._ended_at: int | None = None
        self._slices: dict[int, Span] = {}
        self._steps: dict[tuple[int | None, str], Span] = {}

    def observe(self, event: Event, at: int) -> None:
        """Takes in an event that happened at `at`, in nanoseconds since 1970."""
        act = getattr(self, f"_on_{event.name}", None)
        if act is not None:
            act(event.values, at)

    def close(self, at: int) -> None:
        """Ends what is still open."""
        self._end_inner(at)
        self._end_job(at)

    def _on_job_started(self, values: Mapping[str, Any], at: int) -> None:
        self.close(at)
        self._job = self._tracer.start_span("job", self._parent, attributes=_attributes(values), start_time=at)

    def _on_run_started(self, values: Mapping[str, Any], at: int) -> None:
        if self._job is not None:
            self._job.update_name("run")
            self._job.set_attributes(_attributes(values))

    def _on_run_ended(self, values: Mapping[str, Any], at: int) -> None:
        if self._job is not None:
            self._job.set_attributes(_attributes({**values, **values.get("counts", {})}))

    def _on_job_ended(self, values: Mapping[str, Any], at: int) -> None:
        self._end_inner(at)
        self._ended_at = at
        if self._job is not None:
            self._job.set_attributes(_attributes(values))
        # Why a job failed is told after it.
        if values["outcome"] == "finished":
            self._end_job(at)

    def _on_error(self, values: Mapping[str, Any], at: int) -> None:
        self._note("error", values, at)
        if self._job is not None:
            _fail(self._job, str(values["message"]))
        if self._ended_at is not None:
            self._end_job(at)

    def _on_warning(self, values: Mapping[str, Any], at: int) -> None:
        self._note("warning", values, at)

    def _on_slice_started(self, values: Mapping[str, Any], at: int) -> None:
        self._slices[values["slice"]] = self._start("slice", self._job, values, at)

    def _on_slice_committed(self, values: Mapping[str, Any], at: int) -> None:
        span = self._slices.pop(values["slice"], None)
        if span is not None:
            span.set_attributes(_attributes(values))
            span.end(at)

    def _on_step_started(self, values: Mapping[str, Any], at: int) -> None:
        number = values.get("slice")
        parent = self._job if number is None else self._slices.get(number, self._job)
        self._steps[number, values["step"]] = self._start(values["step"], parent, values, at)

    def _on_step_ended(self, values: Mapping[str, Any], at: int) -> None:
        span = self._steps.pop((values.get("slice"), values["step"]), None)
        if span is not None:
            if values["outcome"] == "failed":
                _fail(span)
            span.end(at)

    def _note(self, name: str, values: Mapping[str, Any], at: int) -> None:
        if self._job is not None:
            self._job.add_event(name, _attributes(values), at)

    def _start(self, name: str, parent: "Span | None", values: Mapping[str, Any], at: int) -> "Span":
        from opentelemetry.trace import set_span_in_context

        context = set_span_in_context(parent) if parent is not None else self._parent
        return self._tracer.start_span(name, context, attributes=_attributes(values), start_time=at)

    def _end_inner(self, at: int) -> None:
        for span in (*self._steps.values(), *self._slices.values()):
            _fail(span)
            span.end(at)
        self._steps.clear()
        self._slices.clear()

    def _end_job(self, at: int) -> None:
        if self._job is not None:
            self._job.end(self._ended_at or at)
        self._job = self._ended_at = None


def _fail(span: "Span", message: str | None = None) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, message))


def _attributes(values: Mapping[str, Any]) -> dict[str, str | bool | int | float]:
    """Names values as attributes of embedlake; those that are no single value are left out."""
    return {f"{_NAME}.{name}": value for name, value in values.items() if isinstance(value, str | bool | int | float)}
