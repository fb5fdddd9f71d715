"""What errors of Hadoop's clients for object stores mean, and that nothing of their messages is repeated."""

import re

import pytest

from spark_jobs.runtime.object_stores import S3_PROPERTIES, find_fault, hadoop_version
from tests.support.paths import ROOT


def conf(name: str) -> dict[str, str]:
    text = (ROOT / "conf" / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^(spark\.\S+) +(\S.*)$", text, re.MULTILINE))


def test_conf_has_what_sessions_of_embedlake_have() -> None:
    s3 = conf("spark-s3.conf")
    assert {name: s3.get(name) for name in S3_PROPERTIES} == S3_PROPERTIES


def test_conf_has_everything_of_the_local_one_and_both_packages() -> None:
    s3, local = conf("spark-s3.conf"), conf("spark-local.conf")
    delta = local.pop("spark.jars.packages")
    assert {name: s3.get(name) for name in local} == local
    assert s3["spark.jars.packages"].split(",") == [delta, f"org.apache.hadoop:hadoop-aws:{hadoop_version()}"]


def test_the_version_in_the_page_is_that_of_spark_s_hadoop() -> None:
    page = (ROOT / "docs" / "object-stores.md").read_text(encoding="utf-8")
    named = set(re.findall(r"org\.apache\.hadoop:hadoop-(\w+):([\d.]+)", page))
    assert named == {(name, hadoop_version()) for name in ("aws", "azure", "gcp")}


def test_no_key_is_looked_for_in_properties() -> None:
    providers = S3_PROPERTIES["spark.hadoop.fs.s3a.aws.credentials.provider"].split(",")
    assert not [name for name in providers if "Simple" in name or "Temporary" in name or "Profile" in name]


S3 = "software.amazon.awssdk.services.s3.model.S3Exception"
# As Hadoop 3.5 and a server wrote them, with other ids.
SAID = {
    "java.nio.file.AccessDeniedException: s3a://lake/t/_delta_log: getFileStatus on s3a://lake/t/_delta_log: "
    f"{S3}: Forbidden (Service: S3, Status Code: 403, Request ID: 6C35UHD, Extended Request ID: iKV=):null": (
        "s3a://lake refuses access: the credentials are wrong, or have no right to what was asked for.",
        2,
    ),
    "java.nio.file.AccessDeniedException: s3a://lake/u/_delta_log: listObjects() on s3a://lake/u/_delta_log: "
    f"{S3}: The request signature we calculated does not match the signature you provided. "
    "(Service: S3, Status Code: 403, Request ID: IP1LM8Z):SignatureDoesNotMatch": (
        "s3a://lake does not accept the credentials: key, secret or session token is wrong or has expired.",
        2,
    ),
    "org.apache.hadoop.fs.s3a.UnknownStoreException: `s3a://gone/t/_delta_log': getFileStatus on "
    "s3a://gone/t/_delta_log: software.amazon.awssdk.services.s3.model.NoSuchBucketException: The specified bucket "
    "does not exist. (Service: S3, Status Code: 404, Request ID: YJ0H582)": ("s3a://gone does not exist.", 2),
    'org.apache.hadoop.fs.UnsupportedFileSystemException: No FileSystem for scheme "s3"': (
        "Hadoop knows S3 by the scheme s3a alone.",
        2,
    ),
    "java.lang.RuntimeException: java.lang.ClassNotFoundException: Class org.apache.hadoop.fs.s3a.S3AFileSystem not "
    "found": ("Spark was started without the package that reads and writes the object store.", 2),
    f"org.apache.hadoop.fs.s3a.AWSBadRequestException: listObjects() on s3a://lake/w: {S3}: The authorization header "
    'is malformed; the region "us-west-2" is wrong; expecting "eu-test-1" (Service: S3, Status Code: 400, Request ID: '
    "QTQ):AuthorizationHeaderMalformed": ("s3a://lake is in another region than the requests say.", 2),
    f"org.apache.hadoop.fs.s3a.AWSBadRequestException: getFileStatus on s3a://lake/t: {S3}: Bad Request (Service: S3, "
    "Status Code: 400, Request ID: 84Q297C)": (
        "s3a://lake does not take the requests (400), most often because it is in another region than they say.",
        2,
    ),
    f"org.apache.hadoop.fs.s3a.AWSServiceThrottledException: listObjects() on s3a://lake/t: {S3}: Please reduce your "
    "request rate. (Service: S3, Status Code: 503, Request ID: null):SlowDown": (
        "s3a://lake asked for fewer requests, again and again.",
        1,
    ),
    f"org.apache.hadoop.fs.s3a.AWSStatus500Exception: listObjects() on s3a://lake/t: {S3}: We encountered an internal "
    "error. (Service: S3, Status Code: 500, Request ID: null):InternalError": (
        "s3a://lake failed inside, again and again.",
        1,
    ),
}


@pytest.mark.parametrize(("text", "told"), SAID.items(), ids=[told[0][:40] for told in SAID.values()])
def test_the_cause_is_told_and_the_exit_code_fits(text: str, told: tuple[str, int]) -> None:
    found = find_fault(["org.apache.spark.SparkException: writing s3a://other/t", text])
    assert found is not None
    assert (f"{found.cause}.", found.exit_code) == told
    assert found.remedy.endswith(".") and "{" not in str(found)


@pytest.mark.parametrize("text", SAID)
def test_nothing_of_a_message_is_repeated_but_the_bucket(text: str) -> None:
    said = str(find_fault([text]))
    assert not re.search(r"Request ID|Status Code|_delta_log|software\.|java\.|us-west-2", said)


def test_the_package_has_the_version_of_spark_s_hadoop() -> None:
    text = "java.lang.ClassNotFoundException: Class org.apache.hadoop.fs.azurebfs.SecureAzureBlobFileSystem not found"
    assert f"org.apache.hadoop:hadoop-azure:{hadoop_version()} " in str(find_fault([text]))


@pytest.mark.parametrize(
    "text",
    [
        "java.net.SocketTimeoutException: Read timed out",
        "java.io.IOException: Broken pipe",
        "org.postgresql.util.PSQLException: Connection refused",
        "org.apache.spark.sql.AnalysisException: [PATH_NOT_FOUND] Path does not exist: s3a://lake/src",
    ],
)
def test_other_errors_are_left_alone(text: str) -> None:
    assert find_fault([text]) is None


def test_troubles_of_workers_beside_a_path_are_left_alone() -> None:
    assert find_fault(["SparkException: writing s3a://lake/t", "java.net.SocketException: Connection reset"]) is None
