"""What one emulator process is told at start-up, parsed once; inside, the types are trusted."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One credential. Several may share a name: they are then keys of one owner (a temporary one has a token)."""

    name: str
    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `NAME:ACCESS_KEY:SECRET[:SESSION_TOKEN]`.

        :raises ValueError: when a field is missing or empty.
        """
        name, access_key, secret_key, *token = text.split(":", 3)
        if not (name and access_key and secret_key):
            raise ValueError
        return cls(
            name=name,
            access_key=access_key,
            secret_key=secret_key,
            session_token=token[0] if token else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketSpec:
    """A bucket that exists from the first start; without an owner it belongs to the first account."""

    name: str
    owner: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `NAME[@ACCOUNT]`."""
        name, _, owner = text.partition("@")
        return cls(name=name, owner=owner or None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Where the events of one bucket go. The URL may carry a token, so it is as secret as one."""

    bucket: str
    url: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `BUCKET=URL`.

        :raises ValueError: when either side is missing, or it is not an http(s) URL.
        """
        bucket, _, url = text.partition("=")
        if not bucket or not url.startswith(("http://", "https://")):
            raise ValueError
        return cls(bucket=bucket, url=url)


DEV_ACCOUNTS = (
    Account(name="dev", access_key="DEVACCESSKEY", secret_key="dev-secret-key"),  # noqa: S106 - published on purpose
    Account(name="other", access_key="OTHERACCESSKEY", secret_key="other-secret-key"),  # noqa: S106
)
DEV_BUCKETS = (BucketSpec(name="uploads"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that does not change while the process lives."""

    data: Path
    accounts: tuple[Account, ...] = DEV_ACCOUNTS
    buckets: tuple[BucketSpec, ...] = DEV_BUCKETS
    region: str = DEFAULT_REGION
    domains: tuple[str, ...] = ("s3.localhost", "localhost")
    notify: tuple[Notify, ...] = ()
    notify_bearer: str | None = field(default=None, repr=False)
    sends_test_event: bool = True
    cors_origins: tuple[str, ...] = ()
    accepts_unsigned_headers: bool = False
    is_fsynced: bool = False
    idle_timeout_seconds: float = 60.0
