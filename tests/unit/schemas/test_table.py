"""Names of tables are split as Spark splits them."""

import pytest

from schemas.table import name_parts, quoted


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("t", ["t"]),
        ("cat.schema.t", ["cat", "schema", "t"]),
        ("cat.`my.schema`.t", ["cat", "my.schema", "t"]),
        ("`a.b`.`c.d`.`e.f`", ["a.b", "c.d", "e.f"]),
        ("`a``.b`.t", ["a`.b", "t"]),
        ("````", ["`"]),
        ("delta.`/data/my.lake/t`", ["delta", "/data/my.lake/t"]),
        (" cat . `my schema` . t ", ["cat", "my schema", "t"]),
    ],
)
def test_a_name_is_split_at_dots_outside_backticks(name: str, parts: list[str]) -> None:
    assert name_parts(name) == parts
    assert name_parts(".".join(map(quoted, parts))) == parts


@pytest.mark.parametrize("name", ["", ".", "a..b", ".a", "a.", "`a", "a`b", "`a`b", "``", "a b", "a.`b`c.d"])
def test_what_is_no_name_of_a_table_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a table"):
        name_parts(name)
