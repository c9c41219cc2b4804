"""A store that the suite runs over, and the ports on a bucket of it. What a provider brings is in its own folder."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, Self

import aiohttp

from broker.clock import SystemClock
from broker.contract import SignedRequest
from broker.domain.objects import UploadSpec
from broker.ports import (
    GetSigner,
    MultipartRights,
    ObjectHead,
    ObjectLister,
    ObjectRemover,
    PutSigner,
    StoreMark,
)
from tests.contracts.storage.witness import Witness
from tests.contracts.storage.words import Words

# What a store may not do although its protocol says so; named here, so that nothing is skipped in silence. For Ceph
# tests/peers/ceph/test_facts.py proves each.
Lack = Literal["refuses future dates", "checks the scope", "checks session tokens"]

# Whose rights the ports have: the broker's own; another account's of the same store, which may nothing here; those of
# somebody whom the store has never heard of; or of one who says that he is the broker and has another secret.
Who = Literal["owner", "neighbour", "unknown", "impostor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The ports under test, on one bucket."""

    put: PutSigner
    get: GetSigner
    objects: ObjectHead
    remover: ObjectRemover
    lister: ObjectLister
    mark: StoreMark
    multipart: MultipartRights | None = None
    witness: Witness
    bucket: str
    clock: SystemClock = field(default_factory=SystemClock)

    async def sign_put(self, key: str, spec: UploadSpec, *, capsule: str = "sealed") -> SignedRequest:
        now = self.clock.now()
        return await self.put.sign_put(key, spec, capsule, now=now, ends=now + timedelta(minutes=5))


PlaceWith = Callable[[Who], Place]


@dataclass(frozen=True, slots=True, kw_only=True)
class Store(ABC):
    """A running server with one plain and one versioned bucket."""

    url: str
    bucket: str
    versioned_bucket: str
    witness: Witness
    words: Words
    lacks: frozenset[Lack] = frozenset()

    @property
    @abstractmethod
    def accepts_unsigned_headers(self) -> bool:
        """Its own headers count also where nobody signed them, or nobody knows that they do not."""

    @abstractmethod
    def speaking(self, dialect: str) -> Self:
        """The same store, of which less or more is claimed."""

    @abstractmethod
    def place(
        self,
        bucket: str,
        http: aiohttp.ClientSession,
        *,
        who: Who = "owner",
        prefix: str = "uploads",
        page_size: int = 3,
    ) -> Place:
        """The ports there; `lister` and `mark` under `prefix`."""
