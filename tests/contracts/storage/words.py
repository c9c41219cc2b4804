"""How a protocol spells what the suite says to every store, as data: what its headers and parameters are called."""

from collections.abc import Mapping
from dataclasses import dataclass

from broker.domain.objects import Pin
from tests.contracts.storage.tampering import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One protocol's.

    :param header: what the names of its own headers begin with.
    :param query: what the names of a signature's parameters in a URL begin with.
    :param algorithm: how it signs; `other_algorithm` is one it knows, too, or might be told it does.
    :param other_terminal: nearly what the scope of a signature ends in.
    :param size: the signed header that holds the length.
    :param create_only: the signed header that lets nothing be replaced; `other_condition` would.
    :param digests: the headers of a declared digest, with how its value is written there.
    :param unseen_digests: what it checks and does not show afterwards.
    :param version: what a version is called in a URL; `version_header` in the answer to a PUT.
    :param other_version: one that it could have given and never gave.
    :param is_always_versioned: also an object of a bucket that keeps no older versions has one.
    :param lists_newest_first: how the versions of one key follow each other; oldest first otherwise.
    :param malformed: the answer where a header was signed and does not come, or comes and was not signed.
    :param expired: the answer to a request whose time is over.
    :param stale: the answer to a read of what has gone since it was pinned.
    :param pins: what may be done to the pin of a signed read.
    :param unsigned: headers that it knows, by what they are about, with a value that it would take from the signer.
    :param betrayed: headers that nobody has to sign, and that HEAD gives away.
    """

    header: str
    query: str
    algorithm: str
    other_algorithm: str
    other_terminal: str
    size: str
    create_only: str
    other_condition: str
    digests: Mapping[str, tuple[str, str]]
    unseen_digests: frozenset[str] = frozenset()
    version: str
    version_header: str
    other_version: str
    is_always_versioned: bool
    lists_newest_first: bool
    malformed: int
    expired: int
    stale: int
    pins: Mapping[str, Change]
    unsigned: Mapping[str, tuple[str, str]]
    betrayed: frozenset[str] = frozenset()

    def other_pin(self, etag: str) -> Pin:
        """A state that never was."""
        return Pin(etag=etag, version=self.other_version if self.is_always_versioned else None)

    @property
    def metadata(self) -> str:
        return f"{self.header}meta-"

    @property
    def digest_headers(self) -> set[str]:
        return {header for header, _ in self.digests.values()}

    def digest(self, algorithm: str, value: str) -> dict[str, str]:
        """The header that declares it."""
        header, text = self.digests[algorithm]
        return {header: text.format(value)}
