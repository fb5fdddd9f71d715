"""The faults that `make mutants` seeds, and the test that must notice each."""

from typing import NamedTuple

_CASES = "tests/spark/embedding/test_refresh_cases.py::test_"
_FAULTS = "tests/spark/embedding/test_faults.py::test_"
_LIBRARY = "tests/spark/embedding/test_embed_library.py::test_"
_CLAIMS = "tests/spark/store/test_claims.py::test_"
_LOCKS = "tests/unit/store/test_locks.py::test_"
_SESSION = "tests/unit/runtime/test_session.py::test_"
_SETTINGS = "tests/unit/settings/test_loading.py::test_"
_SENTENCE = "tests/unit/encoders/test_sentence.py::test_"
_JOBS = "tests/jobs/"


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
        "if table_id != source.table_id:",
        "if False:",
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
        "spark_jobs/store/claims.py",
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
        "spark_jobs/store/claims.py",
        "if last is not None and not last.clean:",
        "if False:",
        "tests/spark/embedding/test_refresh_model_after.py",
    ),
    Mutant(
        "a run that failed is not shut out",
        "spark_jobs/store/claims.py",
        "if last is not None and not last.clean:",
        "if last is not None and not last.ended:",
        _CLAIMS + "a_commit_of_a_failed_run_that_lands_late_is_skipped",
    ),
    Mutant(
        "a plan that was emptied passes for done",
        "spark_jobs/embedding/reconcile.py",
        "if (summary.written, summary.digest) != (work.written, work.digest):",
        "if False:",
        _CLAIMS + "a_plan_that_somebody_emptied_does_not_pass_for_done",
    ),
    Mutant(
        "a run with a long slice seems dead",
        "spark_jobs/store/claims.py",
        "while not ended.wait(seconds):",
        "while False:",
        _CLAIMS + "a_run_is_known_to_live_while_a_long_slice_embeds",
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
        "a package is left out of the wheel",
        "setup.py",
        '        "udfs.models",\n',
        "",
        _JOBS + "test_wheel.py::test_the_wheel_holds_the_packages_and_nothing_else",
    ),
    Mutant(
        "a query finds itself",
        "spark_jobs/evaluation/retrieval.py",
        "is_left_out = query in found and judged.grades[query].get(query, 0) == 0",
        "is_left_out = False",
        "tests/unit/evaluation/test_retrieval.py",
    ),
    Mutant(
        "no document is fetched instead of a query's own",
        "spark_jobs/evaluation/retrieval.py",
        "fetched = depth if keep_identical_ids else depth + 1",
        "fetched = depth",
        "tests/unit/evaluation/test_retrieval.py::test_one_more_document_is_searched_for_where_one_may_leave",
    ),
    Mutant(
        "what became of queries' own documents is not recorded",
        "spark_jobs/evaluation/report.py",
        '"counted" if evaluation.keep_identical_ids else f"{scores.own_documents} left out"',
        '"counted"',
        "tests/unit/evaluation/test_measures.py::test_what_became_of_queries_own_documents_is_shown_and_recorded",
    ),
    Mutant(
        "NaN is written as no JSON reader takes it",
        "spark_jobs/runtime/json_text.py",
        "return value if math.isfinite(value) else",
        "return value if value else",
        "tests/unit/runtime/test_json_text.py",
    ),
    Mutant(
        "keys of maps stay what they are",
        "spark_jobs/runtime/json_text.py",
        "return {_key(key, key_kind): json_value(item, item_kind)",
        "return {key: json_value(item, item_kind)",
        "tests/unit/search/test_hits.py",
    ),
    Mutant(
        "instants are in the driver's time zone",
        "spark_jobs/runtime/json_text.py",
        "value.astimezone(UTC).isoformat()",
        "value.isoformat()",
        "tests/unit/search/test_hits.py",
    ),
    Mutant(
        "JSON is printed with emoji",
        "spark_jobs/runtime/command.py",
        "emoji=False",
        "emoji=True",
        "tests/unit/search/test_hits.py",
    ),
    Mutant(
        "a missing id becomes a text",
        "spark_jobs/search/query_rows.py",
        "    if name is None:\n",
        "    name = str(query_id)\n    if name is None:\n",
        "tests/unit/search/test_query_files.py",
    ),
    Mutant(
        "line breaks inside quotes are lost",
        "spark_jobs/search/text_files.py",
        "splitlines(keepends=True)",
        "splitlines()",
        "tests/unit/search/test_query_files.py",
    ),
    Mutant(
        "rows of CSV may have any number of columns",
        "spark_jobs/search/query_files.py",
        "if len(fields) == len(header):",
        "if len(fields) >= 2:",
        "tests/unit/search/test_query_files.py",
    ),
    Mutant(
        "ids are unique within one file only",
        "spark_jobs/search/query_files.py",
        "    for index, fault in query_faults(queries):\n        name",
        "    for index, fault in query_faults(queries[len(files) :]):\n        name",
        "tests/unit/search/test_query_files.py::test_ids_are_unique_over_all_files",
    ),
    Mutant(
        "packages of the user take the place of Delta's",
        "spark_jobs/runtime/session.py",
        "properties.pop(_PACKAGES, None)",
        "pass",
        _SESSION + "packages_and_extensions_of_the_user_are_added_to_those_of_delta",
    ),
    Mutant(
        "a session without Delta is let in",
        "spark_jobs/runtime/session.py",
        "if _WITHOUT_DELTA.search(str(error)):",
        "if not str(error):",
        _SESSION + "a_session_without_delta_is_refused",
    ),
    Mutant(
        "options that choose a version are let through in other letters",
        "spark_jobs/settings/sections.py",
        "if name.lower() in _VERSION_OPTIONS",
        "if name in _VERSION_OPTIONS",
        _SETTINGS + "an_option_that_chooses_a_version_of_the_source_is_refused",
    ),
    Mutant(
        "a scheme with one slash counts as a local path",
        "spark_jobs/settings/sections.py",
        "*):(?=/)",
        "*):(?=//)",
        _LOCKS + "a_store_elsewhere_needs_no_folder_for_locks",
    ),
    Mutant(
        "the default file system is not asked",
        "spark_jobs/store/file_system.py",
        'if split_path(root)[0] in ("", "file"):',
        "if root is not None:",
        "tests/unit/store/test_file_system.py::test_a_path_without_a_scheme_is_on_the_default_file_system",
    ),
    Mutant(
        "a dot within backticks separates names",
        "schemas/table.py",
        "(?P<quoted>(?:[^`]|``)+)",
        "(?P<quoted>(?:[^`.]|``)+)",
        "tests/unit/schemas/test_table.py::test_a_name_is_split_at_dots_outside_backticks",
    ),
    Mutant(
        "a Delta table that cannot be described counts as a view",
        "spark_jobs/embedding/source.py",
        'if source.format == "delta" or _is_delta_table(spark, source):',
        'if source.format == "delta":',
        "tests/spark/embedding/test_sources.py::test_a_delta_table_is_never_taken_for_a_view",
    ),
    Mutant(
        "libraries that differ by case share their tables",
        "spark_jobs/store/spaces.py",
        'F.lower("library") == settings.library.lower()',
        'F.col("library") == settings.library',
        "tests/spark/store/test_tables.py::test_names_that_differ_by_case_do_not_share_tables_in_a_catalog",
    ),
    Mutant(
        "spaces that differ by case share their tables",
        "spark_jobs/store/spaces.py",
        "row.space.lower() == space.lower()",
        "row.space == space",
        "tests/unit/store/test_spaces.py::test_in_a_catalog_the_first_name_owns_the_tables",
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
        "texts are cut within added tokens",
        "udfs/encoders/distinct_words.py",
        "frozenset(string.punctuation) - kept_whole",
        "frozenset(string.punctuation)",
        "tests/unit/encoders/test_distinct_words.py::test_ids_equal_those_of_whole_texts",
    ),
    Mutant(
        "a word is read again in each batch",
        "udfs/encoders/distinct_words.py",
        "tokens = self._read(words[0].dictionary.to_pylist())",
        "[self._read(batch.dictionary.to_pylist()) for batch, _ in batches]\n"
        "        tokens = self._read(words[0].dictionary.to_pylist())",
        "tests/unit/encoders/test_distinct_words.py::test_each_distinct_word_of_all_batches_is_read_once",
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
]
