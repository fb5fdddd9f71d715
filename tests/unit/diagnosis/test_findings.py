"""How findings are counted and shown."""

from spark_jobs.diagnosis.findings import Diagnosis, fault, grouped, listed, ok, told_groups, version_numbers, warning

FOUND = Diagnosis(
    (
        ok("java", "Java 17 is started as java."),
        warning("cores", "There are too few.", "Ask for more."),
        fault("model", "It is not there.", "Copy it."),
        fault("store", "It is full.", "Empty it."),
    )
)


def test_each_finding_is_a_line_with_its_remedy() -> None:
    assert str(FOUND) == (
        "ok       java   Java 17 is started as java.\n"
        "warning  cores  There are too few. Ask for more.\n"
        "fault    model  It is not there. Copy it.\n"
        "fault    store  It is full. Empty it.\n"
        "\n"
        "2 faults, 1 warning, 1 ok"
    )


def test_the_same_as_plain_values() -> None:
    values = FOUND.as_dict()
    assert (values["faults"], values["warnings"]) == (2, 1)
    assert values["findings"][1] == {
        "name": "cores",
        "level": "warning",
        "cause": "There are too few.",
        "remedy": "Ask for more.",
    }


def test_only_faults_count_as_faults() -> None:
    assert FOUND.has_faults
    assert not Diagnosis((warning("cores", "Few.", "Add."),)).has_faults


def test_names_are_listed_and_grouped() -> None:
    assert [listed(["a"]), listed(["a", "b"]), listed(list("abcdef"))] == ["a", "a and b", "a, b, c, d, e and 1 more"]
    groups = grouped([("one", "1.0"), ("two", "2.0"), ("three", "1.0")])
    assert told_groups(groups) == "1.0 on one and three, 2.0 on two"


def test_versions_begin_with_numbers() -> None:
    assert [version_numbers(text) for text in ("4.2.0", "17", "4.3.0.dev1", "21-ea", "none")] == [
        (4, 2, 0),
        (17,),
        (4, 3, 0),
        (21,),
        (),
    ]
