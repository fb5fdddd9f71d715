"""What the record of a run tells the forecasts of later ones."""

from pyspark.sql import Row

from spark_jobs.embedding.accounting import as_past_run


def past_run(device: str | None) -> Row:
    return Row(counts={}, seconds={}, device=device, dtype="bfloat16", backend="torch")


def test_runs_on_any_gpu_of_a_machine_had_the_same_kind_of_worker() -> None:
    assert {as_past_run(past_run(device)).worker for device in ("cuda:0", "cuda:7", "cuda")} == {
        "cuda bfloat16 by torch"
    }
    assert as_past_run(past_run("cpu")).worker == "cpu bfloat16 by torch"
    assert as_past_run(past_run(None)).worker == ""
