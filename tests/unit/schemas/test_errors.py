"""Messages and exit codes of the errors that users see."""

import pickle

import pytest

from schemas.errors import EmbedlakeError, InputError, QuarantineLimitError, ReconciliationError


def test_a_single_fault_is_the_message() -> None:
    assert str(InputError("library is missing")) == "library is missing"
    assert str(InputError(["library is missing"])) == "library is missing"
    assert InputError("library is missing").faults == ("library is missing",)


def test_several_faults_are_counted_and_listed() -> None:
    error = InputError(fault for fault in ("library is missing", "model is missing"))
    assert error.faults == ("library is missing", "model is missing")
    assert str(error) == "2 faults:\n  - library is missing\n  - model is missing"


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (EmbedlakeError("x"), 1),
        (InputError("x"), 2),
        (QuarantineLimitError("x"), 3),
        (ReconciliationError("x"), 6),
    ],
)
def test_each_error_has_its_exit_code(error: EmbedlakeError, exit_code: int) -> None:
    assert isinstance(error, EmbedlakeError)
    assert error.exit_code == exit_code
    assert str(error) == "x"


@pytest.mark.parametrize("error", [InputError("one"), InputError(["one", "two"]), QuarantineLimitError("one")])
def test_an_error_survives_pickling_from_a_worker(error: EmbedlakeError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert getattr(copy, "faults", None) == getattr(error, "faults", None)
