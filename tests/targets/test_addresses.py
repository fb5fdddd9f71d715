"""What `--to` may contain, what it means, and which parts of it are never printed."""

from pathlib import Path

import pytest

from schemas.errors import InputError
from spark_jobs.targets.address import FORMS
from spark_jobs.targets.factory import open_target, target_name


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parquet:/a/b", "parquet:/a/b"),
        ("parquet:/a/../b", "parquet:/b"),
        ("parquet:/with space/#", "parquet:/with space/#"),
        ("faiss:/a", "faiss:/a"),
        ("usearch:/a:b", "usearch:/a:b"),
        ("lancedb:/a#t", "lancedb:/a#t"),
        ("lancedb:/a#b#t", "lancedb:/a#b#t"),
        ("qdrant:/a#t.u-v_w", "qdrant:/a#t.u-v_w"),
        ("qdrant:http://Host:6333#t", "qdrant:http://host:6333#t"),
        ("qdrant:https://[::1]:443/#t", "qdrant:https://[::1]:443#t"),
        ("postgresql://host/db#t", "postgresql://host/db#public.t"),
        ("postgresql://host:5433/db#s.t", "postgresql://host:5433/db#s.t"),
        ("postgresql:///db#Table One;", "postgresql:///db#public.Table One;"),
        ("postgresql://[::1]:5432/db#t", "postgresql://[::1]:5432/db#public.t"),
        ("postgresql://%2Ftmp%2Fpg/my%20db#t", "postgresql://%2Ftmp%2Fpg/my%20db#public.t"),
        ('postgresql://h/db#"a.b"."say ""x"""', 'postgresql://h/db#"a.b"."say ""x"""'),
        ('postgresql://h/db#"a"."b"', "postgresql://h/db#a.b"),
        ('postgresql://h/db#"me@home"', 'postgresql://h/db#public."me@home"'),
    ],
)
def test_a_target_has_one_name_which_means_the_same(text: str, expected: str) -> None:
    assert target_name(text) == expected
    assert target_name(expected) == expected


def test_folders_are_absolute_and_links_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in ("real", "link", "link/../real", "~/link", "./real/."):
        assert target_name(f"parquet:{text}") == f"parquet:{tmp_path / 'real'}"


def test_the_environment_of_libpq_completes_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example.org")
    monkeypatch.setenv("PGPORT", "6000")
    assert target_name("postgresql:///db#t") == "postgresql://db.example.org:6000/db#public.t"
    assert target_name("postgresql://other:5432/db#t") == "postgresql://other:5432/db#public.t"


@pytest.mark.parametrize(
    "text", ["", "x", "parquet", "csv:/a", "PARQUET:/a", " parquet:/a", "postgres://h/db#t", "//h"]
)
def test_another_form_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(InputError) as caught:
        open_target(text)
    if text != "parquet":
        assert all(form in str(caught.value) for form in FORMS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("parquet:", "names no folder"),
        ("parquet:s3://bucket/x", "names a URL"),
        ("faiss:file:/x", "names a URL"),
        ("parquet:~nobody-of-this-name/x", "cannot be found"),
        ("parquet:/a\0b", "cannot be printed"),
        ("parquet:/a\nb", "cannot be printed"),
        ("lancedb:/a", "no valid table or collection name"),
        ("lancedb:#t", "names no folder"),
        ("lancedb:/a#", "no valid table or collection name"),
        ("lancedb:/a#../t", "no valid table or collection name"),
        ("lancedb:/a#..", "no valid table or collection name"),
        ("lancedb:/a#t;DROP", "no valid table or collection name"),
        ("lancedb:/a#Größe", "no valid table or collection name"),
        ("lancedb:/a#" + "x" * 1000, "no valid table or collection name"),
        ("qdrant:/a#a/b", "no valid table or collection name"),
        ("qdrant:http://host#t", "has no valid server"),
        ("qdrant:http://host:6333/prefix#t", "has no valid server"),
        ("qdrant:http://host:70000#t", "has no valid server"),
        ("postgresql://h/db", "unrecognized --to postgresql:"),
        ("postgresql://h#t", "unrecognized --to postgresql:"),
        ("postgresql://h:port/db#t", "unrecognized --to postgresql:"),
        ("postgresql://h:70000/db#t", "unrecognized --to postgresql:"),
        ("postgresql://h/db/x#t", "unrecognized --to postgresql:"),
        ("postgresql://h/%ff#t", "not as UTF-8"),
        ("postgresql://h/d%00b#t", "the name of the database has a NUL character"),
        ("postgresql://h/db#", "has no valid table name"),
        ("postgresql://h/db#.t", "has no valid table name"),
        ("postgresql://h/db#t.", "has no valid table name"),
        ("postgresql://h/db#a.b.c", "has no valid table name"),
        ('postgresql://h/db#"a"b', "has no valid table name"),
        ('postgresql://h/db#a"b', "has no valid table name"),
        ('postgresql://h/db#"a', "has no valid table name"),
        ('postgresql://h/db#""', "the name of the table is empty"),
        ('postgresql://h/db#""."t"', "the name of the schema is empty"),
        ("postgresql://h/db#" + "x" * 64, "the name of the table is longer than the 63 bytes"),
        ("postgresql://h/db#" + "é" * 32, "the name of the table is longer than the 63 bytes"),
        ("postgresql://h/db#" + "s" * 1000 + ".t", "the name of the schema is longer than the 63 bytes"),
    ],
)
def test_what_cannot_be_meant_exactly_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        open_target(text)
    assert said in str(caught.value)


SECRETS = [
    "postgresql://me:hunter2@host/db#t",
    "postgresql://hunter2@host/db#t",
    "postgresql://me:hun/ter2@host/db#t",
    "postgresql://me:hun#ter2@host/db#t",
    "postgresql://me:1#hunter2@host/db#t",
    "postgresql://host/db?password=hunter2#t",
    "postgres://me:hunter2@host/db#t",
    "mysql://me:hunter2@host/db",
    "qdrant:http://me:hunter2@host:6333#t",
    "qdrant:http://hunter2@host:6333#t",
    "qdrant:http://host:6333?api-key=hunter2#t",
    "qdrant:https://host:6333/?api-key=hunter2#t",
    "lancedb:s3://key:hunter2@bucket#t",
    "parquet:s3://key:hunter2@bucket",
    "hunter2",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_password_in_the_text_is_refused_and_not_repeated(text: str) -> None:
    for reader in (open_target, target_name):
        with pytest.raises(InputError) as caught:
            reader(text)
        assert "ter2" not in str(caught.value)
        assert "hunter" not in repr(caught.value.__cause__)


@pytest.mark.parametrize(("text", "variable"), [(SECRETS[0], "PGPASSWORD"), (SECRETS[8], "QDRANT_API_KEY")])
def test_who_gives_a_password_is_told_where_it_belongs(text: str, variable: str) -> None:
    with pytest.raises(InputError, match=variable):
        open_target(text)
