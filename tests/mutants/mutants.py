"""Breaks the code on purpose, one fault at a time, and expects a named test to notice: `make mutants`."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "lake", "build", "dist", "*.egg-info", "spark-warehouse")
_CASES = "tests/spark/embedding/test_refresh_cases.py::test_"
_FAULTS = "tests/spark/embedding/test_faults.py::test_"
_LIBRARY = "tests/spark/embedding/test_embed_library.py::test_"
_JOBS = "tests/jobs/"
_SENTENCE = "tests/unit/encoders/test_sentence.py::test_"


class Mutant(NamedTuple):
    """A fault: in which file what is replaced by what, and the test that must fail then."""

    fault: str
    file: str
    old: str
    new: str
    test: str


MUTANTS = [
    Mutant(
        "fence removed",
        "spark_jobs/store/fence.py",
        "with transaction(spark, self._app_id, self._version, self._run_id) as is_fenced:\n            yield is_fenced",
        "yield True",
        _CASES + "a_run_that_is_overtaken_writes_nothing_and_one_that_may_be_alive_is_not_overtaken",
    ),
    Mutant(
        "fence numbers do not grow",
        "spark_jobs/store/fence.py",
        "self._version += 1",
        "self._version += 0",
        _CASES + "texts_that_stand_elsewhere_are_not_embedded_again",
    ),
    Mutant(
        "ledger before vectors",
        "spark_jobs/embedding/slices.py",
        'with progress.step("merge vectors"), run.fence.commit(spark) as is_fenced:',
        "with run.fence.commit(spark):\n        outcomes = as_outcomes(chunks, staged, keep)\n        merge_ledger("
        "as_ledger_changes(plan, outcomes, run.preflight.source.version, run.run_id), run.tables, is_new=False)\n"
        '    with progress.step("merge vectors"), run.fence.commit(spark) as is_fenced:',
        _LIBRARY + "first_load_writes_every_document_and_the_second_run_writes_nothing",
    ),
    Mutant(
        "half-done documents are not looked for",
        "spark_jobs/embedding/plan.py",
        "if run.is_clean:",
        "if run:",
        _CASES + "a_text_that_goes_back_after_a_crash_between_the_commits",
    ),
    Mutant(
        "delete skipped",
        "spark_jobs/embedding/merging.py",
        '(F.col("change") == REMOVED) | replaced',
        '(F.col("change") == "never") | (replaced & F.lit(False))',
        _CASES + "texts_that_stand_elsewhere_are_not_embedded_again",
    ),
    Mutant(
        "hash compared wrongly",
        "spark_jobs/embedding/documents.py",
        'same_text = F.col("recorded.text_hash") == F.col("text_hash")',
        'same_text = F.substring("recorded.text_hash", 1, 0) == F.substring("text_hash", 1, 0)',
        _CASES + "texts_that_stand_elsewhere_are_not_embedded_again",
    ),
    Mutant(
        "payload of failed documents forgotten",
        "spark_jobs/embedding/documents.py",
        "F.coalesce(quarantined | ~same_payload, F.lit(True))",
        "F.coalesce(~same_payload, F.lit(True))",
        _CASES + "failed_updates_keep_or_remove_and_are_tried_again_when_asked",
    ),
    Mutant(
        "attempts without bound",
        "spark_jobs/embedding/documents.py",
        'F.col("recorded.attempts") < retry_below',
        "F.lit(retry_below) > 0",
        _CASES + "failed_updates_keep_or_remove_and_are_tried_again_when_asked",
    ),
    Mutant(
        "old vectors dropped when an update fails",
        "spark_jobs/embedding/merging.py",
        "F.when(failed, not keep_older)",
        "F.when(failed, True)",
        _CASES + "failed_updates_keep_or_remove_and_are_tried_again_when_asked",
    ),
    Mutant(
        "another table under the source's name goes unnoticed",
        "spark_jobs/embedding/source_feed.py",
        "before.source_id != source.table_id",
        "False",
        "tests/unit/embedding/test_source_feed.py",
    ),
    Mutant(
        "feed gap passed over",
        "spark_jobs/store/properties.py",
        '"spark.sql.files.ignoreMissingFiles": "false"',
        '"spark.sql.files.ignoreMissingFiles": "true"',
        _CASES + "feed_and_comparison_find_the_same_work",
    ),
    Mutant(
        "rows that leave the filter stay",
        "spark_jobs/embedding/source_feed.py",
        "ends.where(~arrives())",
        'ends.where(F.col("_change_type") == "delete")',
        _CASES + "feed_and_comparison_find_the_same_work",
    ),
    Mutant(
        "not-a-number vectors accepted",
        "udfs/inference/engine.py",
        "np.isfinite",
        "np.isreal",
        "tests/unit/inference/test_engine.py",
    ),
    Mutant(
        "model not tried",
        "spark_jobs/embedding/self_check.py",
        "if unlike:",
        "if False:",
        _CASES + "a_model_that_makes_other_vectors_is_refused",
    ),
    Mutant(
        "reuse left out",
        "spark_jobs/embedding/slicing.py",
        "return 0 < stored_rows <= texts * rows_per_text",
        "return False",
        _CASES + "texts_that_stand_elsewhere_are_not_embedded_again",
    ),
    Mutant(
        "no reconciliation",
        "spark_jobs/embedding/reconcile.py",
        "if summary.wrong:",
        "if False:",
        _CASES + "rows_that_vanished_are_named_and_the_next_run_makes_them_good",
    ),
    Mutant(
        "removal guard off",
        "spark_jobs/embedding/slicing.py",
        "if known and (removed / known > max_fraction or not left):",
        "if False:",
        _CASES + "an_emptied_source_removes_nothing_until_a_person_says_so",
    ),
    Mutant(
        "a run that may be alive is not refused",
        "spark_jobs/store/runs.py",
        "if age < settings.run.stale_after_seconds:",
        "if False:",
        _CASES + "a_run_that_is_overtaken_writes_nothing_and_one_that_may_be_alive_is_not_overtaken",
    ),
    Mutant(
        "vectors of a failed run are made again",
        "spark_jobs/embedding/staging.py",
        'staged.where(F.col("reason").isNull())',
        "staged.where(F.lit(False))",
        _LIBRARY + "what_a_failed_run_left_is_used_and_nothing_is_written_twice",
    ),
    Mutant(
        "rows appended without a fence",
        "spark_jobs/embedding/merging.py",
        "if insert_only and is_fenced:",
        "if insert_only:",
        _LIBRARY + "slices_are_commits_and_add_up_to_one_load_without_a_fence_too",
    ),
    Mutant(
        "numbers of runs begin anew when their record is lost",
        "spark_jobs/embedding/opening.py",
        'return max((int(run_id.rpartition(".")[2]) for run_id in ids), default=0)',
        "return 0 * len(ids)",
        _FAULTS + "tables_that_are_damaged_or_gone",
    ),
    Mutant(
        "any number of documents may be quarantined",
        "spark_jobs/embedding/reconcile.py",
        "limit = run.settings.run.max_quarantined_fraction",
        "limit = 1.0",
        _LIBRARY + "what_a_failed_run_left_is_used_and_nothing_is_written_twice",
    ),
    Mutant(
        "a crashed run is not shut out",
        "spark_jobs/embedding/opening.py",
        "if last is not None and not last.ended:",
        "if False:",
        "tests/spark/embedding/test_refresh_model_after.py",
    ),
    Mutant(
        "a second signal is ignored",
        "spark_jobs/runtime/signals.py",
        "signal.signal(other, signal.SIG_DFL)",
        "signal.signal(other, signal.SIG_IGN)",
        _JOBS + "test_kills.py::test_a_second_signal_ends_the_process_at_once",
    ),
    Mutant(
        "a stop is on record as a failure",
        "spark_jobs/embedding/run.py",
        "_try_to_record(run, STOPPED,",
        "_try_to_record(run, FAILED,",
        _JOBS + "test_kills.py::test_a_signal_ends_a_run_cleanly_and_the_next_run_continues",
    ),
    Mutant(
        "what a killed run has embedded is embedded again",
        "spark_jobs/embedding/staging.py",
        "only_missing(chunks, staged).repartition(",
        "only_missing(chunks, staged.limit(0)).repartition(",
        _LIBRARY + "what_a_failed_run_left_is_used_and_nothing_is_written_twice",
    ),
    Mutant(
        "Spark speaks on the terminal",
        "spark_jobs/runtime/command.py",
        "quiet=not debug",
        "quiet=debug",
        _JOBS + "test_starts.py::test_the_command_embeds_shows_its_store_embeds_nothing_twice_and_keeps_to_its_model",
    ),
    Mutant(
        "a Spark context is asked for over Connect",
        "spark_jobs/runtime/parallelism.py",
        'if hasattr(spark, "_jsparkSession"):\n        return',
        "if spark:\n        return",
        _JOBS + "test_connect.py::test_the_job_needs_nothing_that_spark_connect_lacks",
    ),
    Mutant(
        "weights stay mapped from a file that may change",
        "udfs/encoders/sentence.py",
        'copy=tensor.device.type == "cpu"',
        "copy=False",
        _SENTENCE + "weights_that_are_overwritten_after_loading_neither_reach_the_model_nor_are_loaded_again",
    ),
    Mutant(
        "files are not looked at again after a model was loaded",
        "udfs/models/source.py",
        "if not is_settled or _file_states(root) != before:",
        "if False:",
        _SENTENCE + "weights_that_change_while_they_are_loaded_are_refused",
    ),
    Mutant(
        "a checked folder counts as checked for good",
        "udfs/models/source.py",
        "def _as_described(",
        "@__import__('functools').lru_cache\ndef _as_described(",
        "tests/unit/models/test_verified.py::test_a_file_that_changes_between_two_loads_is_noticed",
    ),
    Mutant(
        "the stored precision is part of what is loaded",
        "udfs/encoders/encoder.py",
        "weights = (model.digest, spec.device,",
        "weights = (model.digest + model.precision, spec.device,",
        "tests/unit/encoders/test_fake.py::test_a_fake_model_is_loaded_once_for_equal_descriptions",
    ),
    Mutant(
        "a process holds every model that it has loaded",
        "udfs/encoders/encoder.py",
        "            release_encoders()\n",
        "",
        "tests/unit/encoders/test_fake.py::test_a_process_holds_one_model_and_a_bounded_number_of_its_uses",
    ),
    Mutant(
        "ranges of a single text count as measured",
        "udfs/quantization.py",
        "if texts >= LEAST_TEXTS and a < b else",
        "if a < b else",
        "tests/unit/udfs/test_quantization.py",
    ),
    Mutant(
        "values that int8 clips are not counted",
        "udfs/embed.py",
        'metered["clipped"] = float(',
        'metered["clipped"] = 0 * float(',
        "tests/unit/inference/test_engine.py::test_values_outside_the_ranges_are_counted_for_texts_that_have_a_vector",
    ),
    Mutant(
        "numbers that have collapsed pass verify",
        "spark_jobs/verify_space.py",
        "return (Finding(COLLAPSED, count, ()),) if count else ()",
        "return ()",
        "tests/spark/embedding/test_precision.py::"
        "test_ranges_of_a_single_text_fit_a_library_that_grows_or_are_reported",
    ),
    Mutant(
        "tokens that the model does not know are not counted",
        "udfs/encoders/token_counter.py",
        "unknown = encoding.ids.count(self._unknown) if self._unknown is not None else 0",
        "unknown = 0",
        "tests/unit/encoders/test_token_counter.py::test_unknown_tokens_are_counted_with_the_characters_behind_them",
    ),
    Mutant(
        "a sentence behind one unknown token counts as read",
        "udfs/chunk_documents.py",
        "chunk.hidden >= _UNREAD_SHARE * len(chunk.text)",
        "chunk.unknown >= _UNREAD_SHARE * len(chunk.text)",
        "tests/unit/udfs/test_chunk_documents.py::"
        "test_chunks_that_the_model_can_hardly_read_are_told_from_those_with_a_rare_symbol",
    ),
    Mutant(
        "a library that the model can hardly read is embedded without a word",
        "spark_jobs/embedding/slices.py",
        "if slice_.number == 1 and (warning",
        "if False and (warning",
        "tests/spark/embedding/test_unknown_tokens.py",
    ),
    Mutant(
        "a package is left out of the wheel",
        "setup.py",
        '        "udfs.models",\n',
        "",
        _JOBS + "test_wheel.py::test_the_wheel_holds_the_packages_and_nothing_else",
    ),
]


def caught(mutant: Mutant) -> tuple[bool, float]:
    """Runs the mutant's test on a copy of the project that has the fault.

    Returns:
        Whether the test failed, and the seconds it took.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder) / "embedlake"
        shutil.copytree(ROOT, copy, ignore=_LEFT_OUT, symlinks=True)
        path = copy / mutant.file
        source = path.read_text()
        if source.count(mutant.old) < 1:
            raise SystemExit(f"{mutant.fault}: {mutant.file} has no {mutant.old!r}; mend the mutant")
        path.write_text(source.replace(mutant.old, mutant.new))
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", mutant.test],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy), "TEST_SOURCE": str(copy)},
            capture_output=True,
            text=True,
            check=False,
        )
        # 1 says that tests failed; anything else, such as a test that is not there, proves nothing.
        if done.returncode not in (0, 1) or " failed" not in done.stdout + " failed" * (done.returncode == 0):
            raise SystemExit(f"{mutant.fault}: {mutant.test} did not run: {done.stdout[-2000:]}{done.stderr[-500:]}")
        return done.returncode == 1, time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="part of a fault's name")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time, each in a process of its own")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results = []
    wanted = [mutant for mutant in MUTANTS if not arguments.only or arguments.only in mutant.fault]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for mutant, (is_caught, seconds) in zip(wanted, pool.map(caught, wanted), strict=True):
            print(f"{'caught' if is_caught else 'SURVIVED':9}{seconds:6.0f} s  {mutant.fault}", flush=True)
            results.append({"fault": mutant.fault, "caught": is_caught, "by": mutant.test})
            if arguments.out:
                lines = ",\n".join(" " + json.dumps(result) for result in results)
                arguments.out.write_text(f"[\n{lines}\n]\n")
    survivors = [result["fault"] for result in results if not result["caught"]]
    print(f"{len(results) - len(survivors)} of {len(results)} caught")
    raise SystemExit(1 if survivors else 0)


if __name__ == "__main__":
    main()
