"""A stop stays a stop, whatever else fails during shutdown."""

import logging
import signal
from threading import Thread

import pytest

from schemas.errors import StoppedError
from spark_jobs.runtime.signals import interruption_of, stop_in_order


def _close() -> None:
    raise OSError("the connection is broken")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_survives_errors_during_shutdown(number: signal.Signals, code: int) -> None:
    earlier = signal.getsignal(number)
    with pytest.raises(StoppedError) as caught, stop_in_order():
        try:
            signal.raise_signal(number)
        finally:
            _close()
    assert caught.value.exit_code == code
    assert signal.getsignal(number) is earlier
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_platform_s_own_thread_runs_without_signals() -> None:
    earlier, found = signal.getsignal(signal.SIGTERM), list[object]()

    def run() -> None:
        with stop_in_order():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = Thread(target=run)
    thread.start()
    thread.join()
    assert found == [earlier]


def test_library_logs_about_a_stop_are_hidden(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(StoppedError), stop_in_order():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            logging.getLogger("py4j").exception("interrupted while sending")
            raise
    assert caplog.messages == []
    logging.getLogger("py4j").error("afterwards")
    assert caplog.messages == ["afterwards"]


def test_other_errors_pass_through_unchanged() -> None:
    with pytest.raises(OSError, match="the connection is broken"), stop_in_order():
        _close()
    try:
        try:
            raise ValueError("first")
        finally:
            _close()
    except OSError as error:
        assert interruption_of(error) is None
