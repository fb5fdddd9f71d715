"""How far a run is, in numbers that are read while they change."""

import time
from dataclasses import dataclass, field


@dataclass
class Figures:
    """How far a run is. Tokens are estimates of the plan, embedded but not always committed; counts are committed.

    Attributes:
        total: Tokens of the whole run; 0 before it is known.
        done: Tokens embedded so far.
        slice_from: Tokens before the slice that is embedded now.
        slice_tokens: Tokens of that slice; 0 if there is none.
        slice_number: Its number; 0 if there is none.
        documents: Documents in committed slices.
        all_documents: Documents that the run has to work on.
        chunks: Chunks in committed slices.
        failed: Texts that could not be embedded, in committed slices.
        per_hour: Price of an hour; None if it is not known.
        currency: Its currency.
        started: When the command began, on the monotonic clock.
        begun: When the work on tokens began; None before.
    """

    total: int = 0
    done: int = 0
    slice_from: int = 0
    slice_tokens: int = 0
    slice_number: int = 0
    documents: int = 0
    all_documents: int = 0
    chunks: int = 0
    failed: int = 0
    per_hour: float | None = None
    currency: str = ""
    started: float = field(default_factory=time.monotonic)
    begun: float | None = None

    def draw(self, done: float) -> None:
        """Moves to so many tokens; never back, because what is embedded is ahead of what is committed."""
        self.done = min(max(self.done, int(done)), max(self.total, self.done))

    @property
    def seconds(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Tokens per second since the work began, commits included; 0 before any."""
        elapsed = time.monotonic() - self.begun if self.begun is not None else 0.0
        return self.done / elapsed if elapsed > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all tokens are done at that rate; None before any is."""
        return (self.total - self.done) / self.rate if self.rate else None

    @property
    def cost(self) -> float | None:
        """Price of the time so far; None if the settings do not say what an hour costs."""
        return self.per_hour * self.seconds / 3600 if self.per_hour is not None else None
