"""Sentence pairs from files, and the correlation of scores with cosines."""

from pathlib import Path

import numpy as np
import pytest

from schemas.errors import InputError
from spark_jobs.evaluation.pairs import ScoredPairs, correlations, read_pairs

PAIRS = [("A man, alone.", 'He said "no".', 2.5), ("Owls hunt.", "Bees hum.", 0.0), ("a", "b", 5.0)]
CSV = '"A man, alone.","He said ""no"".",2.5\nOwls hunt.,Bees hum.,0\na,b,5.0\n'
TSV = 'A man, alone.\tHe said "no".\t2.5\nOwls hunt.\tBees hum.\t0\na\tb\t5.0\n'


def pairs_of(folder: Path, content: str | bytes, name: str = "pairs.csv") -> ScoredPairs:
    (folder / name).write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return read_pairs(folder / name)


def faults_of(folder: Path, content: str | bytes, name: str = "pairs.csv") -> list[str]:
    with pytest.raises(InputError) as error:
        pairs_of(folder, content, name)
    return [fault.replace(f"{folder}/", "") for fault in error.value.faults]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (CSV, "pairs.csv"),
        (CSV.replace("\n", "\r\n"), "pairs.CSV"),
        ("\ufeff" + CSV, "pairs.txt"),
        ("sentence1,sentence2,score\n" + CSV, "pairs.csv"),
        ("\n" + CSV.replace("\n", "\n\n"), "pairs.csv"),
        (TSV, "pairs.tsv"),
        ("\ufeffSentence1\tsentence2\tScore\r\n" + TSV.replace("\n", "\r\n"), "pairs.TSV"),
    ],
    ids=["csv", "crlf", "bom", "heading", "blank-lines", "tsv", "tsv-heading"],
)
def test_every_format_gives_the_same_pairs(tmp_path: Path, content: str, name: str) -> None:
    found = pairs_of(tmp_path, content, name)
    assert [(*pair, score) for pair, score in zip(found.sentences, found.scores, strict=True)] == PAIRS


def test_named_columns_may_come_in_any_order_among_others(tmp_path: Path) -> None:
    content = "index\tscore\tgenre\tsentence2\tsentence1\n0\t1.5\tnews\tsecond\tfirst\n1\t2\tnews\td\tc\n"
    found = pairs_of(tmp_path, content, "dev.tsv")
    assert (found.sentences, found.scores) == ([("first", "second"), ("c", "d")], [1.5, 2.0])


def test_a_quotation_mark_is_a_plain_character_where_tabs_separate(tmp_path: Path) -> None:
    found = pairs_of(tmp_path, '"Open\tb\t1\nc"\td\t2\n', "a.tsv")
    assert found.sentences == [('"Open', "b"), ('c"', "d")]


def test_a_quoted_sentence_may_hold_a_line_break(tmp_path: Path) -> None:
    found = pairs_of(tmp_path, '"a\n\n \nb",c,1\n"d\r\n",NA,2\n')
    assert found.sentences == [("a\n\n \nb", "c"), ("d\r\n", "NA")]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("a,b", "has 2 columns instead of 3"),
        ("a, b,c,1", "has 4 columns instead of 3"),
        ("a,b,high", "the score is not a number"),
        ("a,b,", "the score is not a number"),
        ("a,b,nan", "the score is not a number"),
        ("a,b,1e999", "the score is not a number"),
        ("a,b,score", "the score is not a number"),
        (" ,b,1", "has an empty sentence"),
        ("a,,1", "has an empty sentence"),
        ('"a"x,b,1', "is not CSV"),
        (f"{'a' * 200_000},b,1", "is not CSV"),
    ],
)
def test_an_invalid_pair_is_reported_with_its_line(tmp_path: Path, wrong: str, words: str) -> None:
    (fault,) = faults_of(tmp_path, f'"a\n\nb",c,1\n\n{wrong}\nd,e,2\n')
    assert fault.startswith("pairs.csv, line 5: ") and words in fault


def test_an_unclosed_quotation_mark_is_reported_where_it_opened(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, 'a,b,1\n"c,d,2\ne,f,3\n')
    assert fault.startswith("pairs.csv, line 2: is not CSV")


def test_lines_that_are_not_utf8_are_reported_up_to_ten_faults(tmp_path: Path) -> None:
    # Without its last line the quotation would not end: one fault makes no second one.
    (fault,) = faults_of(tmp_path, b'a,b,1\n"c\n\xff",d,2\n')
    assert fault.startswith("pairs.csv, line 3: is not UTF-8")
    faults = faults_of(tmp_path, "a,b,x\n" * 12)
    assert len(faults) == 11 and faults[-1] == "and 2 more in pairs.csv"


def test_a_header_without_all_required_columns_is_refused(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, "sentence1,text,gold\na,b,1\n")
    assert fault.startswith("pairs.csv, line 1: names no column sentence2 and no column score")


@pytest.mark.parametrize("content", ["a,b,1\n", "a,b,1\nc,d,1\n", "sentence1,sentence2,score\n"])
def test_constant_scores_have_no_correlation(tmp_path: Path, content: str) -> None:
    (fault,) = faults_of(tmp_path, content)
    assert "has fewer than two different scores" in fault


def test_a_missing_file_and_an_empty_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the pairs file .*none\.csv cannot be read"):
        read_pairs(tmp_path / "none.csv")
    (fault,) = faults_of(tmp_path, "")
    assert fault == "the pairs file pairs.csv is empty. Name a file with pairs."


def test_the_sts_benchmark_is_read_in_full(data_folder: Path) -> None:
    folder = data_folder / "stsb-en"
    assert len(read_pairs(folder / "stsb-en-test.csv").scores) == 1379
    assert len(read_pairs(folder / "stsb-en-dev.csv").scores) == 1500


def scored(folder: Path, scores: list[float]) -> ScoredPairs:
    return pairs_of(folder, "".join(f"a{place},b,{score}\n" for place, score in enumerate(scores)))


def test_correlations_match_their_textbook_formulas(tmp_path: Path) -> None:
    scores = [1.0, 4.0, 2.0, 2.0, 5.0]
    cosines = np.array([0.1, 0.8, 0.7, np.nan, 0.9])
    spearman, pearson = correlations(scored(tmp_path, scores), cosines)
    # Ranks of the four good pairs are 1, 3, 2, 4 on both sides.
    assert spearman == pytest.approx(1.0)
    wanted, found = np.array([1.0, 4.0, 2.0, 5.0]), np.array([0.1, 0.8, 0.7, 0.9])
    assert pearson == pytest.approx(float(np.corrcoef(wanted, found)[0, 1]))
    # Equal scores share the mean of their ranks: 1, 2.5, 2.5, 4 against 2, 1, 3, 4.
    spearman, _ = correlations(scored(tmp_path, [1, 2, 2, 3]), np.array([0.2, 0.1, 0.3, 0.4]))
    assert spearman == pytest.approx(float(np.corrcoef([1, 2.5, 2.5, 4], [2, 1, 3, 4])[0, 1]))


@pytest.mark.parametrize("cosines", [[0.5, 0.5, 0.5], [0.1, np.nan, np.nan], [np.nan] * 3, [0.1, 0.2, np.nan]])
def test_cosines_that_cannot_correlate_are_refused(tmp_path: Path, cosines: list[float]) -> None:
    pairs = scored(tmp_path, [1, 1, 2])
    with pytest.raises(InputError, match=r"that could be embedded all have the same score or the same cosine"):
        correlations(pairs, np.array(cosines))
