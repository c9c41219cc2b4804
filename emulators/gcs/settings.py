"""What one emulator process is told at start-up, parsed once; inside, the types are trusted."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

# https://cloud.google.com/storage/docs/buckets#naming
BUCKET_NAME: Final = re.compile(r"(?!.*\.\.)(?!\d+\.\d+\.\d+\.\d+$)(?!goog)[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
# https://cloud.google.com/storage/docs/access-control/iam-permissions, those that are asked for here
PERMISSIONS: Final = frozenset(
    f"storage.{kind}.{verb}"
    for kind, verbs in {
        "objects": ("create", "get", "list", "delete", "update"),
        "buckets": ("get", "update", "getIamPolicy"),
    }.items()
    for verb in verbs
)
WEEK_SECONDS: Final = 604_800  # https://cloud.google.com/storage/docs/resumable-uploads: "expires after one week"
TOPIC: Final = re.compile(r"projects/[^/]+/topics/[^/]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketSpec:
    """A bucket that exists from the first start."""

    name: str
    is_versioned: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `NAME[@versioned]`.

        :raises ValueError: with what is wrong.
        """
        name, _, word = text.partition("@")
        if not BUCKET_NAME.fullmatch(name):
            raise ValueError("A bucket's name has 3 to 63 of a-z, 0-9, dot, hyphen and underscore")
        if word not in {"", "versioned"}:
            raise ValueError
        return cls(name=name, is_versioned=word == "versioned")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one account may do in one bucket."""

    bucket: str
    email: str
    permissions: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `BUCKET:EMAIL=PERMISSION[,PERMISSION…]`.

        :raises ValueError: with what is wrong.
        """
        who, _, given = text.partition("=")
        bucket, _, email = who.partition(":")
        permissions = frozenset(given.split(","))
        if not (bucket and email and given):
            raise ValueError
        if unknown := permissions - PERMISSIONS:
            raise ValueError(f"No permission here: {', '.join(sorted(unknown))}")
        return cls(bucket=bucket, email=email, permissions=permissions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """A bucket's notification configuration: what happens is published to the topic at `url`."""

    bucket: str
    url: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `BUCKET=http://HOST:PORT/v1/projects/P/topics/T`.

        :raises ValueError: when it is anything else.
        """
        bucket, _, url = text.partition("=")
        if not bucket or not url.startswith(("http://", "https://")) or not TOPIC.search(url):
            raise ValueError
        return cls(bucket=bucket, url=url)

    @property
    def topic(self) -> str:
        """As a configuration names it."""
        found = TOPIC.search(self.url)
        return f"//pubsub.googleapis.com/{found[0] if found else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that does not change while the process lives.

    `iam` is where tokens and certificates are asked for, `pubsub` the Pub/Sub of topics that clients configure.
    """

    data: Path
    iam: str
    buckets: tuple[BucketSpec, ...]
    grants: tuple[Grant, ...]
    notify: tuple[Notify, ...] = ()
    pubsub: str | None = None
    origins: tuple[str, ...] = ()
    location: str = "US"
    holds_to_declared_size: bool = True
    hides_missing: bool = False
    session_seconds: int = WEEK_SECONDS
    is_fsynced: bool = False
    idle_timeout_seconds: float = 60.0
