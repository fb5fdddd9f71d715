"""The errors that embedlake raises on purpose, each with the exit code that a scheduler sees."""

import signal
from collections.abc import Iterable


class EmbedlakeError(Exception):
    """An error whose message is for the person who started the job."""

    exit_code = 1


class InputError(EmbedlakeError):
    """Something that the user must fix: settings, source, model folder, store or machine.

    Args:
        faults: One message for each fault: the cause in one sentence, the remedy in the next.

    Example:
        >>> print(InputError(["source.path is missing. Name a folder.", "library is missing"]))
        2 faults:
          - source.path is missing. Name a folder.
          - library is missing
    """

    exit_code = 2

    def __init__(self, faults: str | Iterable[str]) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        if len(self.faults) == 1:
            return self.faults[0]
        lines = "".join(f"\n  - {fault}" for fault in self.faults)
        return f"{len(self.faults)} faults:{lines}"


class QuarantineLimitError(EmbedlakeError):
    """More documents were quarantined than `run.max_quarantined_fraction` allows."""

    exit_code = 3


class RunActiveError(EmbedlakeError):
    """Another run of the space is active or has taken over from this one."""

    exit_code = 4


class SourceError(InputError):
    """The source's columns do not match the settings or the tables, or its history has a gap."""

    exit_code = 5


class ReconciliationError(EmbedlakeError):
    """The ledger, the vectors and the source disagree after the last commit."""

    exit_code = 6


class GateError(EmbedlakeError):
    """A space was not promoted, because it retrieves worse or covers less than the settings allow."""

    exit_code = 7


class CapReachedError(EmbedlakeError):
    """A run ended at `run.max_tokens` or `run.max_cost`; what it committed stays, and the next run goes on."""

    exit_code = 8


class StoppedError(KeyboardInterrupt):
    """A signal asked the run to stop. Not an `Exception`, so that no library handles it as one of its own errors."""

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number
        super().__init__(signal.Signals(signal_number).name)

    @property
    def exit_code(self) -> int:
        """The exit code that shells and schedulers expect from a process ended by a signal: 130 or 143."""
        return 128 + self.signal_number
