"""What the options, the header and the errors of CSV mean; no Spark session."""

import pytest

from schemas.errors import InputError
from spark_jobs.settings.sections import SourceSettings
from spark_jobs.sources.charsets import charset_of, one_character_per_byte
from spark_jobs.sources.csv_rows import column_names, csv_fault, reader_options


def options(**given: str) -> dict[str, str]:
    columns = {"id_column": "id", "text_columns": ["text"], "format": "csv", "path": "/x", "options": given}
    return reader_options(SourceSettings.model_validate(columns))[0]


@pytest.mark.parametrize(
    ("name", "charset"),
    [
        ("latin1", "ISO-8859-1"),
        ("L1", "ISO-8859-1"),
        ("utf8", "UTF-8"),
        ("UTF-8-SIG", "UTF-8"),
        ("ascii", "UTF-8"),
        ("utf_16_le", "UTF-16LE"),
        ("U32", "UTF-32"),
    ],
)
def test_an_encoding_has_any_name_that_python_knows(name: str, charset: str) -> None:
    assert charset_of({"encoding": name}) == charset_of({"charset": name}) == charset


@pytest.mark.parametrize("name", ["cp1252", "shift_jis", "hex", "no-such", "a\0b", ""])
def test_an_encoding_that_spark_cannot_read_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"cannot be read\. Write US-ASCII, ISO-8859-1, UTF-8"):
        charset_of({"encoding": name})


def test_options_win_over_rfc_4180_and_are_written_as_the_files_are_read() -> None:
    assert options()["escape"] == '"' and options(quote="'")["escape"] == "'"
    own = options(multiLine="false", Escape="\\", sep="¦", pathGlobFilter="é*.csv")
    assert (own["multiline"], own["escape"], own["sep"]) == ("false", "\\", "Â¦")
    assert (own["encoding"], own["pathglobfilter"]) == ("ISO-8859-1", "é*.csv")
    assert options(encoding="latin1", sep="¦")["sep"] == "¦"


def test_columns_without_a_name_of_their_own_have_their_position() -> None:
    header = ["\ufeff" + '"id"', "Größe", "", "x", "X"]
    as_read = [one_character_per_byte(name) for name in header]
    assert column_names(as_read, "UTF-8") == ["id", "Größe", "_c2", "x3", "X4"]


READING = "[FAILED_READ_FILE.NO_HINT] Encountered error while reading file file:///data/two words.csv.  SQLSTATE: KD001"


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        ("\nCaused by: x: CSV header does not conform to the schema.", "words.csv has other columns in its header"),
        (
            "\nCaused by: x: Unescaped quote character\nInternal state when error was thrown: line=4, content=secret",
            "words.csv near line 5: a quotation mark inside quotation marks is not doubled.",
        ),
        ("", "words.csv cannot be read as CSV: its header differs from the first file's, or"),
    ],
)
def test_errors_of_the_reader_are_said_in_words_of_csv(cause: str, said: str) -> None:
    fault = csv_fault(ValueError(READING + cause))
    assert fault is not None and fault.startswith("file:///data/two " + said) and "secret" not in fault


def test_errors_of_other_kinds_are_not_explained_by_csv() -> None:
    assert csv_fault(ValueError(READING + "\nCaused by: java.io.IOException: permission denied")) is None
    assert csv_fault(ValueError("anything")) is None
