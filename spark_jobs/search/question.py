"""One question after another of the same space: what they share, and the single scan that each of them costs.

In a live session:

    prepared = prepare_search(spark, settings)
    for question in questions:
        print(as_lines(ask(prepared, question, SearchOptions(k=5))))
"""

from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql.types import StructType

from schemas.errors import InputError
from schemas.worker_rows import RANKED
from spark_jobs.runtime.properties import session_properties
from spark_jobs.runtime.threads import aside, together
from spark_jobs.search.hits import SearchResult, collect_hits
from spark_jobs.search.nearest import SearchOptions, matching, nearest_to_one
from spark_jobs.search.queries import EmbeddedQueries, embed_here, embed_on_executors, query_model
from spark_jobs.search.query_rows import check_question
from spark_jobs.settings.loading import Settings
from spark_jobs.settings.specs import inference_spec
from spark_jobs.store.open_space import StoredSpace, find_space, newest_rows, search_model
from spark_jobs.store.properties import for_question
from spark_jobs.store.spaces import require_space
from spark_jobs.store.tables import delta_session
from udfs.encoders.encoder import load_encoder
from udfs.encoders.protocol import Encoder
from udfs.models.fingerprint import model_fingerprint
from udfs.specs import InferenceSpec

_QUESTION = "question"


@dataclass(frozen=True)
class LocalModel:
    """A model that this process loads, beside whatever else it does.

    Attributes:
        described: What is loaded.
        encoder: Waits for it, and raises an InputError if it cannot be loaded.
    """

    described: InferenceSpec
    encoder: Callable[[], Encoder]


LoadModel = Callable[[Settings], LocalModel]


@dataclass(frozen=True)
class PreparedSearch:
    """What the questions of one space share.

    Attributes:
        space: The space. Its rows are read anew for each question.
        model: The model that made it, as `search_model` describes it.
        local: The same model in this process; None if executors embed the questions.
        settings: The configuration.
        load: How this process loads the model of a space; None if executors embed the questions.
    """

    space: StoredSpace
    model: InferenceSpec
    local: LocalModel | None
    settings: Settings
    load: LoadModel | None


def load_here(settings: Settings) -> LocalModel:
    """Starts to load the settings' model in this process.

    Only for the process that starts a local session: its machine is the workers' machine. Any other driver may lack
    what a model needs.

    Args:
        settings: The configuration.

    Returns:
        The model, which is still being loaded.

    Raises:
        InputError: The model cannot be used.
    """
    described = inference_spec(settings)
    wanted = query_model(described)
    # A process that ended amid torch's imports would abort.
    return LocalModel(described, aside(lambda: load_encoder(wanted), is_awaited=True))


def prepare_search(
    spark: SparkSession,
    settings: Settings,
    space: str | None = None,
    load: LoadModel | None = None,
) -> PreparedSearch:
    """Finds a space and its model, for any number of questions.

    Args:
        spark: The live session.
        settings: The configuration, which names the library.
        space: A space of the library to search instead of its active one.
        load: How this process loads the space's model, such as `load_here`; without it, executors embed the questions.

    Returns:
        The space and its model.

    Raises:
        InputError: The space does not exist, or the model is not the one that created it.
    """
    with delta_session(spark), session_properties(spark, for_question(per_document=False)):
        found = find_space(spark, settings, space)
    local = load(found.settings) if load is not None else None
    model = search_model(found, local.described if local is not None else None)
    return PreparedSearch(found, model, local, settings, load)


def ask(prepared: PreparedSearch, question: str, options: SearchOptions) -> SearchResult:
    """Finds the chunks nearest to a question, by exact search of the rows as they are now.

    Args:
        prepared: What `prepare_search` returned.
        question: Any text that is not blank.
        options: How many hits to return, and from which rows.

    Returns:
        At most `options.k` hits.

    Raises:
        InputError: The question or the filter cannot be used.
    """
    check_question(question)
    space, spark = prepared.space, prepared.space.tables.spark
    model, queries = query_model(prepared.model, options.rescore), [(_QUESTION, question)]
    with delta_session(spark), session_properties(spark, for_question(options.per_document)):
        rows = matching(newest_rows(space), options.where)
        if prepared.local is not None:
            embedded = embed_here(prepared.local.encoder(), model, queries)
        else:
            embedded = embed_on_executors(spark, model, queries, space.settings.inference)
        return _found(space, rows, embedded, options)


def ask_active(prepared: PreparedSearch, question: str, options: SearchOptions) -> tuple[PreparedSearch, SearchResult]:
    """Finds the chunks nearest to a question in the space that is active when this is called.

    The registry is read beside the scan, so that a question takes no longer than by `ask` unless another space has
    become active.

    Args:
        prepared: What `prepare_search` or this function returned for the active space.
        question: Any text that is not blank.
        options: How many hits to return, and from which rows.

    Returns:
        What to prepare the next question with, and at most `options.k` hits of one space.

    Raises:
        InputError: The question or the filter cannot be used.
    """
    check_question(question)
    spark, guesses, rows = prepared.space.tables.spark, list[SearchResult | Exception](), list[Row]()

    def guess() -> None:
        try:
            guesses.append(ask(prepared, question, options))
        except Exception as error:  # the space may be gone, which is no fault if another one is active
            guesses.append(error)

    with delta_session(spark), session_properties(spark, for_question(options.per_document)):
        together(spark, [guess, lambda: rows.append(require_space(spark, prepared.settings))])
    if not prepared.space.is_row(rows[0]):
        prepared = prepare_search(spark, prepared.settings, load=prepared.load)
        return prepared, ask(prepared, question, options)
    if isinstance(guesses[0], Exception):
        raise guesses[0]
    return prepared, guesses[0]


def ask_once(spark: SparkSession, settings: Settings, question: str, options: SearchOptions) -> SearchResult:
    """Finds the chunks nearest to a question in the active space; executors embed it while the space is found.

    The guess is that the settings describe the active space. If they do not, the question is embedded again.

    Args:
        spark: The live session.
        settings: The configuration, which names the library.
        question: Any text that is not blank.
        options: How many hits to return, and from which rows.

    Returns:
        At most `options.k` hits.

    Raises:
        InputError: The space, the question or the filter cannot be used.
    """
    check_question(question)
    if settings.model.precision == "int8":
        # What rounds the question's vector stands in the registry.
        return ask(prepare_search(spark, settings), question, options)
    try:
        model = query_model(inference_spec(settings), options.rescore)
    except InputError:
        # Only a fault if the active space needs this model.
        return ask(prepare_search(spark, settings), question, options)
    prepared, embedded = list[PreparedSearch](), list[EmbeddedQueries]()
    queries = [(_QUESTION, question)]
    with delta_session(spark), session_properties(spark, for_question(options.per_document)):
        together(
            spark,
            [
                lambda: prepared.append(prepare_search(spark, settings)),
                lambda: embedded.append(embed_on_executors(spark, model, queries, settings.inference)),
            ],
        )
        space = prepared[0].space
        if space.model_fingerprint != model_fingerprint(model.model):
            return ask(prepared[0], question, options)
        return _found(space, matching(newest_rows(space), options.where), embedded[0], options)


def _found(space: StoredSpace, rows: DataFrame, embedded: EmbeddedQueries, options: SearchOptions) -> SearchResult:
    nearest = nearest_to_one(space, rows, embedded, options)
    hits = [
        Row(**{"query_id": _QUESTION, "rank": rank, **hit.asDict()})
        for rank, hit in enumerate(collect_hits(nearest), start=1)
    ]
    columns = StructType([*RANKED[:2], *nearest.schema.fields])
    return SearchResult(space.name, hits, bool(embedded.truncated), columns)
