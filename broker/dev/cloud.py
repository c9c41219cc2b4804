"""What stands in for a provider in the dev stack; `s3_cloud.py` and `gcs_cloud.py` start it."""

from collections.abc import Mapping
from dataclasses import dataclass

from broker.dev.children import Child

BUCKET = "dev-uploads"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """Its processes, and what the broker and whoever reads the announcement have to know of them.

    :param others: what a store of this provider needs beside it: identities, topics.
    :param config: its tables of `broker.toml`: destinations, and the source `dev`.
    :param secrets: the environment that these tables name.
    :param more_secrets: lines of the table `secrets` that this provider needs.
    :param announced: fields of `Announcement` that only this provider has.
    """

    store: Child
    away: Child | None  # the store of what is away
    others: tuple[Child, ...] = ()
    endpoints: Mapping[str, str]  # by destination
    config: str
    secrets: Mapping[str, str]
    more_secrets: str = ""
    announced: Mapping[str, str]


def bucket_of(destination: str) -> str:
    return BUCKET if destination == "default" else f"{BUCKET}-{destination}"
