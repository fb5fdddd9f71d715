"""Tags of OpenLineage: only for its listener, and never instead of the user's own."""

from typing import Any

from spark_jobs.runtime.lineage import with_lineage_tags
from spark_jobs.settings import Settings, as_settings
from udfs import __version__

LISTENER = {"spark.extraListeners": "x.Other,io.openlineage.spark.agent.OpenLineageSparkListener"}


def settings(properties: dict[str, str], **model: Any) -> Settings:
    return as_settings(
        {
            "library": "books",
            "store": {"path": "/lake"},
            "source": {"format": "parquet", "path": "./books", "id_column": "id", "text_columns": ["body"]},
            "model": {"path": "fake:8", **model},
            "spark": {"properties": properties},
        }
    )


def test_a_session_with_the_listener_is_tagged() -> None:
    tagged = with_lineage_tags(settings(LISTENER)).spark.properties
    assert tagged == {
        **LISTENER,
        "spark.openlineage.job.tags": "library:books;space:main",
        # A colon would end the name of the tag.
        "spark.openlineage.run.tags": f"model:fake_8;embedlake:{__version__}",
    }


def test_other_sessions_and_the_tags_of_a_user_stay() -> None:
    plain = settings({"spark.extraListeners": "x.Other"})
    assert with_lineage_tags(plain) is plain
    own = {**LISTENER, "spark.openlineage.job.tags": "team:search", "spark.openlineage.run.tags": ""}
    assert with_lineage_tags(settings(own)).spark.properties == own
