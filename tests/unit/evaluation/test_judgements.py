"""Queries and judgments from files: what is read, and how invalid ones are reported."""

import json
from pathlib import Path

import pytest

from schemas.errors import InputError
from spark_jobs.evaluation.judgements import JudgedQueries, read_judged

QUERIES = '{"_id": "q1", "text": "Who hunts at night?"}\n{"_id": "q2", "text": "What makes honey?"}\n'
HEADING = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "queries.jsonl").write_text(QUERIES, encoding="utf-8")
    (tmp_path / "test.tsv").write_text(HEADING + "q1\td1\t1\nq2\td2\t2\n", encoding="utf-8")
    return tmp_path


def judged_of(folder: Path, queries: str | bytes | None = None, judgements: str | bytes | None = None) -> JudgedQueries:
    for name, content in (("queries.jsonl", queries), ("test.tsv", judgements)):
        if content is not None:
            (folder / name).write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return read_judged(folder / "queries.jsonl", folder / "test.tsv")


def faults_of(folder: Path, queries: str | bytes | None = None, judgements: str | bytes | None = None) -> list[str]:
    with pytest.raises(InputError) as error:
        judged_of(folder, queries, judgements)
    return [fault.replace(f"{folder}/", "") for fault in error.value.faults]


def line(query: object, text: object) -> str:
    return json.dumps({"_id": query, "text": text}) + "\n"


# What is read


def test_queries_and_grades_as_beir_writes_them(folder: Path) -> None:
    found = judged_of(folder)
    assert found.queries == {"q1": "Who hunts at night?", "q2": "What makes honey?"}
    assert found.grades == {"q1": {"d1": 1}, "q2": {"d2": 2}}
    assert (found.unjudged, found.hopeless, found.documents) == (0, 0, ["d1", "d2"])
    assert found.queries_file.path.name == "queries.jsonl" and len(found.judgements_file.sha256) == 64


@pytest.mark.parametrize(
    "judgements",
    [
        "q1\td1\t1\nq2\td2\t2\n",
        "q1\td1\t1\nq2\td2\t2",
        "query-id\tcorpus-id\tscore\r\nq1\td1\t1\r\nq2\td2\t2\r\n",
        "query_id\tdoc_id\tRelevance\n\nq1\td1\t+1\n\nq2\td2\t2\n\n",
        "q1 0 d1 1\nq2 Q0 d2 2\n",
        "q1\t0\td1\t1\nq2\t0\td2\t2\n",
        "q1  0\td1 1 \nq2  0\td2 2 \n",
        "\ufeffq1\td1\t1\nq2\td2\t2\n",
        f"\ufeff{HEADING}q1\td1\t1\nq2\td2\t2\n",
        "q1\td1\t1\nq2\td2\t2\nq1\td1\t1\n",
    ],
    ids=[
        "no-heading",
        "no-last-end",
        "crlf",
        "other-heading",
        "trec",
        "trec-tabs",
        "trec-mixed",
        "bom",
        "bom-heading",
        "twice-the-same",
    ],
)
def test_every_format_of_judgments_gives_the_same_grades(folder: Path, judgements: str) -> None:
    assert judged_of(folder, judgements=judgements).grades == {"q1": {"d1": 1}, "q2": {"d2": 2}}


def test_queries_with_bom_crlf_blank_lines_numbers_for_ids_and_other_keys(folder: Path) -> None:
    queries = '\ufeff{"_id": 7, "text": "a", "metadata": {"x": [1]}}\r\n\r\n{"text": "b\u2028c", "_id": "8"}\r\n'
    found = judged_of(folder, queries, "7\td\t1\n8\td\t1\n")
    assert found.queries == {"7": "a", "8": "b\u2028c"}


def test_queries_and_judgments_as_csv(folder: Path) -> None:
    queries, judgements = folder / "queries.csv", folder / "test.csv"
    queries.write_text('text,_id\n"He said ""no"", then left.",q1\n"two\n\nlines",NA\nc,3\n', encoding="utf-8")
    judgements.write_text('query-id,corpus-id,score\nq1,"a ""b"", c",1\nNA,d2,2\n', encoding="utf-8")
    found = read_judged(queries, judgements)
    assert found.queries == {"q1": 'He said "no", then left.', "NA": "two\n\nlines"}
    assert found.grades == {"q1": {'a "b", c': 1}, "NA": {"d2": 2}}
    assert found.unjudged == 1


def test_queries_of_a_table_have_a_hash_of_what_they_say(folder: Path) -> None:
    tables = [[("q1", "a"), ("q2", "b")], [("q2", "b"), ("q1", "a")], [("q1", "a"), ("q2", "c")]]
    hashes = []
    for name, rows in zip(("q.parquet", "q.orc", "folder"), tables, strict=True):
        if name == "folder":
            (folder / name).mkdir()
        found = read_judged(folder / name, folder / "test.tsv", lambda path, rows=rows: rows)
        assert found.queries == dict(rows)
        hashes.append(found.queries_file.sha256)
    assert hashes[0] == hashes[1] != hashes[2]


def test_ids_may_hold_spaces_where_tabs_separate(folder: Path) -> None:
    assert judged_of(folder, judgements="q1\tnumpy: a b\t1\n").grades == {"q1": {"numpy: a b": 1}}


def test_irrelevant_documents_have_grade_0_and_queries_without_judgments_are_left_out(folder: Path) -> None:
    queries = line("q1", "a") + line("q2", "b") + line("q3", "c")
    found = judged_of(folder, queries, "q3\td1\t-2\nq3\td2\t0\nq1\td1\t3\nq1\td9\t-1\n")
    assert list(found.queries) == ["q1", "q3"]
    assert found.grades == {"q1": {"d1": 3, "d9": 0}, "q3": {"d1": 0, "d2": 0}}
    assert (found.unjudged, found.hopeless, found.documents) == (1, 1, ["d1", "d2", "d9"])


def test_scifact_is_read_in_full(data_folder: Path) -> None:
    scifact = data_folder / "scifact"
    found = read_judged(scifact / "queries.jsonl", scifact / "qrels" / "test.tsv")
    assert (len(found.queries), found.unjudged) == (300, 809)
    assert sum(map(len, found.grades.values())) == 339
    assert found.grades["1"] == {"31715818": 1}
    assert found.queries["1"] == "0-dimensional biomaterials show inductive properties."


# What is refused


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("{", "is not a JSON object"),
        ("[" * 100_000, "is not a JSON object"),
        ('["q", "text"]', "is not a JSON object"),
        ('{"text": "a"}', "has no _id"),
        ('{"_id": "", "text": "a"}', "has no _id"),
        ('{"_id": null, "text": "a"}', "has no _id"),
        ('{"_id": true, "text": "a"}', "has no _id"),
        ('{"_id": 1.5, "text": "a"}', "has no _id"),
        ('{"id": "x", "text": "a"}', "has no _id"),
        ('{"_id": "x"}', "query 'x' has no text"),
        ('{"_id": "x", "text": 5}', "query 'x' has no text"),
        ('{"_id": "x", "text": " \\u200b"}', "query 'x' has an empty text"),
        ('{"_id": "x", "text": "a\\ud800"}', "query 'x' has no text that is valid Unicode"),
        ('{"_id": "\\udfff", "text": "a"}', "has no text that is valid Unicode"),
        ('{"_id": "q1", "text": "a"}', "query id 'q1' appears more than once"),
        ('{"_id": "\\u001b[31m", "text": ""}', r"query '\x1b[31m' has an empty text"),
    ],
)
def test_an_invalid_query_is_reported_with_its_line(folder: Path, wrong: str, words: str) -> None:
    (fault,) = faults_of(folder, QUERIES + "\n" + wrong + "\n")
    assert fault.startswith("queries.jsonl, line 4: ") and words in fault


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("q1", "has neither 3 columns nor TREC's 4"),
        ("q1\td1", "has neither 3 columns nor TREC's 4"),
        ("q1 0 d1 1 x", "has neither 3 columns nor TREC's 4"),
        ("q1,d1,1", "has neither 3 columns nor TREC's 4"),
        ("q1\td3\tyes", "the score is not a whole number up to 1,000"),
        ("q1\td3\t", "the score is not a whole number"),
        ("q1\td3\t0.5", "the score is not a whole number"),
        ("q1\td3\tnan", "the score is not a whole number"),
        ("q1\td3\t1_0", "the score is not a whole number"),
        ("q1\td3\t1001", "the score is not a whole number up to 1,000"),
        ("q1\td3\t99999999999999999999", "is not a whole number up to 1,000"),
        ("q1\t\t1", "has an empty id"),
        ("\td3\t1", "has an empty id"),
        ("q9\td3\t1", "query id 'q9' is not in"),
        ("q1\td1\t0", "query 'q1' has another score for document 'd1' in line 2"),
        (HEADING.strip(), "the score is not a whole number"),
    ],
)
def test_an_invalid_judgment_is_reported_with_its_line(folder: Path, wrong: str, words: str) -> None:
    (fault,) = faults_of(folder, judgements=f"{HEADING}q1\td1\t1\n{wrong}\n")
    assert fault.startswith("test.tsv, line 3: ") and words in fault


def test_a_first_line_is_a_header_only_if_it_has_the_known_names(folder: Path) -> None:
    (fault,) = faults_of(folder, judgements="q1\td1\tone\nq2\td2\t1\n")
    assert fault.startswith("test.tsv, line 1: the score is not a whole number")


def test_all_faults_of_both_files_are_reported_in_line_order(folder: Path) -> None:
    queries = line("q1", "a") + "{\n" + line("q1", "b")
    faults = faults_of(folder, queries.encode() + b"\xff\n", b"q1\td1\tx\n\xe4\nq1\nq7\td1\t1\n")
    assert [fault.partition(": ")[0] for fault in faults] == [
        "queries.jsonl, line 2",
        "queries.jsonl, line 3",
        "queries.jsonl, line 4",
        "test.tsv, line 1",
        "test.tsv, line 2",
        "test.tsv, line 3",
    ], "and q7 may stand in one of the lines that could not be read"
    assert "is not UTF-8" in faults[2] and "is not UTF-8" in faults[4]


def test_ten_faults_are_listed_and_the_rest_counted(folder: Path) -> None:
    faults = faults_of(folder, "{\n" * 2500, "q1\n" * 11)
    assert faults[9].startswith("queries.jsonl, line 10: ") and faults[10] == "and 2,490 more in queries.jsonl"
    assert faults[20].startswith("test.tsv, line 10: ") and faults[21:] == ["and 1 more in test.tsv"]


@pytest.mark.parametrize("content", ["", "\n\r\n", "\ufeff"])
def test_empty_files_are_reported_together(folder: Path, content: str) -> None:
    assert faults_of(folder, content, content) == [
        "the queries file queries.jsonl is empty. Name a file with queries.",
        "the judgements file test.tsv is empty. Name a file with judgements.",
    ]


def test_judgments_with_only_a_header_are_refused(folder: Path) -> None:
    (fault,) = faults_of(folder, judgements=HEADING)
    assert fault.startswith("the judgements file test.tsv has a heading but no judgement")


def test_missing_files_and_folders_are_reported_together(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_judged(tmp_path / "none.jsonl", tmp_path)
    absent, folder = error.value.faults
    assert "none.jsonl cannot be read: No such file or directory" in absent
    assert f"the judgements file {tmp_path} cannot be read: Is a directory" in folder


def test_no_query_text_appears_in_a_message(folder: Path) -> None:
    faults = faults_of(folder, line("q1", "secret words") * 2 + '{"_id": "q2", "text": "secret words"\n')
    assert len(faults) == 2 and "secret" not in " ".join(faults)
