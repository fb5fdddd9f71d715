"""Object stores: Hadoop's properties for S3, and what its errors mean, in sentences without keys or request ids."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyspark

from schemas.errors import InputError

# The same as in conf/spark-s3.conf, where each has its reason.
S3_PROPERTIES = {
    "spark.hadoop.fs.s3a.aws.credentials.provider": (
        "software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider,"
        "software.amazon.awssdk.auth.credentials.WebIdentityTokenFileCredentialsProvider,"
        "org.apache.hadoop.fs.s3a.auth.IAMInstanceCredentialsProvider"
    ),
    "spark.hadoop.fs.s3a.input.stream.type": "classic",
    "spark.hadoop.fs.s3a.connection.establish.timeout": "15s",
    "spark.hadoop.fs.s3a.connection.timeout": "20s",
    "spark.hadoop.fs.s3a.attempts.maximum": "1",
    "spark.hadoop.fs.s3a.retry.limit": "2",
    "spark.hadoop.fs.s3a.retry.throttle.limit": "8",
}

# Its exit code tells a scheduler to try again.
_AGAIN = 1
# How Hadoop's clients for object stores, and what they stand on, call themselves in errors.
_OF_OBJECT_STORES = re.compile(
    r"fs\.s3a|fs\.azurebfs|fs\.gs\.|com\.google\.cloud|awssdk|s3a://|\babfss?://|\bgs://|No FileSystem for scheme"
)
_BUCKET = re.compile(r"\b(?:s3a|abfss?|gs)://[A-Za-z0-9._@-]+")
_PACKAGES = {
    "s3a": "org.apache.hadoop:hadoop-aws",
    "azurebfs": "org.apache.hadoop:hadoop-azure",
    "gs": "org.apache.hadoop:hadoop-gcp",
}


@dataclass(frozen=True, slots=True)
class StoreFault:
    """What is wrong with an object store.

    Attributes:
        cause: The cause, in a sentence without its full stop.
        remedy: What to do, in one sentence.
        exit_code: That of a job which ends because of it.
    """

    cause: str
    remedy: str
    exit_code: int = InputError.exit_code

    def __str__(self) -> str:
        """Renders cause and remedy, as every message has them."""
        return f"{self.cause}. {self.remedy}"


@dataclass(frozen=True, slots=True)
class _Rule:
    sign: re.Pattern[str]
    cause: str
    remedy: str
    exit_code: int = InputError.exit_code


_RULES = (
    _Rule(
        re.compile(r'No FileSystem for scheme "?s3n?"?\b'),
        "Hadoop knows S3 by the scheme s3a alone",
        "Write s3a:// in place of s3://.",
    ),
    _Rule(
        re.compile(r"Class org\.apache\.hadoop\.fs\.(?P<client>s3a|azurebfs|gs)\.\w+ not found"),
        "Spark was started without the package that reads and writes {place}",
        "Add {package} to spark.jars.packages, after Delta's own.",
    ),
    _Rule(
        re.compile(r"NoAuthWithAWSException|CredentialInitializationException|No AWS Credentials|Unable to load cred"),
        "there are no credentials for {place}",
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment of the driver and the executors, or give "
        "their machines a role.",
    ),
    _Rule(
        re.compile(
            r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken|TokenRefreshRequired"
            r"|No user exists with the provided access key"
        ),
        "{place} does not accept the credentials: key, secret or session token is wrong or has expired",
        "Correct AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.",
    ),
    _Rule(
        re.compile(r"UnknownStoreException|NoSuchBucket|bucket does not exist|FilesystemNotFound|Bucket not found"),
        "{place} does not exist",
        "Create the bucket, or correct the path.",
    ),
    _Rule(
        re.compile(r"AuthorizationHeaderMalformed|IllegalLocationConstraint|PermanentRedirect|Status Code: 301"),
        "{place} is in another region than the requests say",
        "Set spark.hadoop.fs.s3a.endpoint.region to its region.",
    ),
    _Rule(
        # The answer to HEAD has no text.
        re.compile(r"Status Code: 400\b"),
        "{place} does not take the requests (400), most often because it is in another region than they say",
        "Set spark.hadoop.fs.s3a.endpoint.region to its region.",
    ),
    _Rule(
        re.compile(r"Status Code: 40[13]\b|\b40[13]\b.*(?:Forbidden|Unauthorized)|AuthorizationPermissionMismatch"),
        "{place} refuses access: the credentials are wrong, or have no right to what was asked for",
        "Correct them, or give them the rights to list, read, write and delete there.",
    ),
    _Rule(
        re.compile(r"RemoteFileChangedException|Status Code: 412"),
        "a file of {place} was written by somebody else while this job used it",
        "Let one job at a time write there, and run the same command again.",
        _AGAIN,
    ),
    _Rule(
        re.compile(r"Status Code: (?:503|429)\b|AWSServiceThrottled|SlowDown|ServerBusy"),
        "{place} asked for fewer requests, again and again",
        "Run the same command again later.",
        _AGAIN,
    ),
    _Rule(
        re.compile(r"Status Code: 5\d\d\b|AWSStatus500Exception"),
        "{place} failed inside, again and again",
        "Run the same command again later.",
        _AGAIN,
    ),
    _Rule(
        re.compile(r"SSLHandshakeException|SSLException|Unrecognized SSL message|PKIX path"),
        "no encrypted connection to {place} comes about",
        "Say http:// or https:// in spark.hadoop.fs.s3a.endpoint as the server speaks it, and have Java trust its "
        "certificate.",
    ),
    _Rule(
        re.compile(r"UnknownHostException"),
        "the name of the server of {place} is unknown",
        "Correct spark.hadoop.fs.s3a.endpoint, or look at the network.",
        _AGAIN,
    ),
    _Rule(
        re.compile(r"Connection refused|HttpHostConnect|NoRouteToHost|Network is unreachable"),
        "nothing takes connections at the endpoint of {place}",
        "Correct spark.hadoop.fs.s3a.endpoint, or start the server.",
        _AGAIN,
    ),
    _Rule(
        re.compile(
            r"SocketTimeout|ConnectTimeout|ConnectionTimeout|[Rr]ead timed out|[Cc]onnect timed out"
            r"|ApiCall(?:Attempt)?Timeout|did not complete within|Acquire operation took longer"
        ),
        "the endpoint of {place} did not answer in time, again and again",
        "Look at the server and the network, and run the same command again.",
        _AGAIN,
    ),
    _Rule(
        re.compile(r"Connection reset|NoHttpResponse|failed to respond|Premature end|Broken pipe|Unexpected end of"),
        "connections to {place} broke off, again and again",
        "Look at the server and the network, and run the same command again.",
        _AGAIN,
    ),
)


def find_fault(texts: Iterable[str]) -> StoreFault | None:
    """Finds what an error of Hadoop's clients for object stores means.

    Args:
        texts: Kind and message of an error and of its causes.

    Returns:
        What is wrong; None of any other error.
    """
    # Workers and files on disks have the same troubles, so the client has to be named beside the sign.
    of_stores = [text for text in texts if _OF_OBJECT_STORES.search(text)]
    for rule in _RULES:
        for found in filter(None, map(rule.sign.search, of_stores)):
            client = found.groupdict().get("client") or "s3a"
            place = _BUCKET.search(found.string)
            words = {"place": place[0] if place is not None else "the object store", "package": _package(client)}
            return StoreFault(rule.cause.format(**words), rule.remedy.format(**words), rule.exit_code)
    return None


def _package(client: str) -> str:
    return f"{_PACKAGES[client]}:{hadoop_version() or 'VERSION'}"


@cache
def hadoop_version() -> str:
    """Returns the version of Hadoop that PySpark brings; empty where it brings none."""
    jars = Path(pyspark.__file__).with_name("jars").glob("hadoop-client-api-*.jar")
    return next((path.stem.removeprefix("hadoop-client-api-") for path in jars), "")
