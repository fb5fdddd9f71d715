"""Questions: which are refused, and those that the process of a local session embeds itself."""

import os
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import InputError
from spark_jobs.search.prompt import questions_of_input
from spark_jobs.search.queries import embed_here, query_model
from spark_jobs.search.query_rows import check_question
from spark_jobs.search.question import load_here
from spark_jobs.settings import Settings, as_settings

QUESTION = "How do I show a progress bar?"


def settings_of(path: str, **model: str) -> Settings:
    return as_settings(
        {
            "library": "toy",
            "store": {"path": "unused"},
            "source": {"format": "json", "path": "unused", "id_column": "id", "text_columns": ["text"]},
            "model": {"path": path, "dtype": "float32", **model},
        }
    )


def test_a_local_question_has_the_query_prompt(model_folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    prompts = {"query_prompt": "query: ", "document_prompt": "passage: "}
    local = load_here(settings_of(os.fspath(model_folder), **prompts))
    embedded = embed_here(local.encoder(), query_model(local.described), [("q", QUESTION)])
    expected = SentenceTransformer(os.fspath(model_folder), device="cpu").encode([f"query: {QUESTION}"])
    assert np.abs(embedded.matrix - expected).max() < 1e-5
    assert (embedded.ids, embedded.truncated) == (["q"], [])


def test_a_local_question_that_is_too_long_for_the_model_says_so() -> None:
    local = load_here(settings_of("fake:8"))
    embedded = embed_here(local.encoder(), query_model(local.described), [("short", "owl"), ("long", "owl " * 300)])
    assert embedded.truncated == ["long"]
    with pytest.raises(InputError, match=r"^query 'q' cannot be embedded: model_error$"):
        embed_here(local.encoder(), query_model(local.described), [("q", "FAKE-ENCODER-RAISES")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the question is empty. Write a question."),
        (" \t\N{ZERO WIDTH SPACE}", "the question is empty. Write a question."),
        ("caf\udce9", "the question is not valid UTF-8. Write it in UTF-8."),
        ("a" * 1_000_001, "the question has 1,000,001 characters; at most 1,000,000 are read. Shorten it."),
    ],
)
def test_what_is_no_question_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_question(text)
    assert str(caught.value) == message


def test_lines_are_questions_whatever_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b"one\r\n\n \ncaf\xe9\nthr\xc3\xa9e"
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(lines), encoding="ascii"))
    assert list(questions_of_input()) == [(1, "one"), (4, "caf\udce9"), (5, "thrée")]
