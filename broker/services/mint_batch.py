"""Mint a batch: each item is what a call of its own would be, by the same rules, and spoils no other.

PUTs are signed first and then recorded, in pieces between which the process serves others; uploads in parts are
recorded first and then begun at the store, some at a time. A crash anywhere leaves what a crash in single calls would
leave: sessions that their idempotency keys find.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from broker.contract import CreateUploadSession
from broker.domain.errors import BrokerError, CredentialsUnavailable
from broker.domain.keys import shard_of
from broker.domain.multipart import MAX_PARTS_PER_CALL, PAGE_OF_PARTS
from broker.domain.principals import ApiKey
from broker.ports import Clock, Created, NewSession, Quota, Sessions
from broker.services.at_once import at_once
from broker.services.drafts import Draft, Minted
from broker.services.limits import quota_of
from broker.services.mint import Mint
from broker.services.turns import Turns, pieces

DRAFTS_A_TURN = 8  # ours: some 0.2 ms of computing
RECORDED_AT_ONCE = 32  # ours: what the ledger writes in one step, so that no single mint waits behind a thousand
STRETCH = 256  # ours: recorded while the next one is signed; over 16 shards it still makes steps of 16
SIGNED_AT_ONCE = 64  # ours: signatures that are calls to a provider, side by side
CALLS_AT_ONCE = 16  # ours: uploads in parts begun at the store, or sessions minted again, side by side


class Wish(NamedTuple):
    """One item: the body of a call of its own, and its Idempotency-Key.

    :ivar is_announced: somebody will say when the bytes are there.
    """

    body: CreateUploadSession
    idempotency_key: str | None
    is_announced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MintBatch:
    mint: Mint
    sessions: Sessions
    clock: Clock
    turns: Turns

    async def __call__(
        self, api_key: ApiKey, wishes: Sequence[Wish], *, sent_from: str | None = None
    ) -> list[Minted | BrokerError]:
        """In order: what `Mint` would return or raise for each. Never raises for an item.

        Of many uploads in parts each gets a shorter first page, of at least one part. A key that may not have so many
        at this moment gets the first of them.
        :raises LedgerUnavailable: it does not say how many the key may have.
        """
        admitted, refusal = await self.mint.limits.admit_some(api_key, len(wishes))
        now, quota, page = self.clock.now(), quota_of(api_key), _page_of_parts(len(wishes))
        rest = _Rest(mint=self.mint, sessions=self.sessions, quota=quota, page=page)
        async with asyncio.TaskGroup() as group:
            for stretch in pieces(range(admitted), STRETCH):
                drafts: dict[int, Draft] = {}
                for piece in pieces(stretch, DRAFTS_A_TURN):
                    async with self.turns:
                        for place in piece:
                            try:
                                draft = self._draft(api_key, wishes[place], now, sent_from)
                                drafts[place] = draft if draft.is_signed_afar else await self.mint.signed(draft)
                            except BrokerError as exc:
                                rest.answers[place] = exc
                group.create_task(rest.of(drafts))
        refused = [] if refusal is None else [refusal] * (len(wishes) - admitted)
        return [*(rest.answers[place] for place in range(admitted)), *refused]

    def _draft(self, api_key: ApiKey, wish: Wish, now: datetime, sent_from: str | None) -> Draft:
        """A look at what was announced and has not come yet is a HEAD in vain: of a thousand files that are sent one
        after another the last ones would be looked at again and again."""
        draft = self.mint.draft(api_key, wish.body, wish.idempotency_key, now, sent_from=sent_from)
        if not (wish.is_announced and draft.is_put):
            return draft
        policy = draft.bucket.destination.policy
        look_at = now + max(policy.first_look, policy.longest_look_interval)
        return replace(draft, new=replace(draft.new, look_at=look_at))


class _Rest:
    """What one batch has left to do once its items are drafts, and what became of them."""

    def __init__(self, *, mint: Mint, sessions: Sessions, quota: Quota | None, page: int) -> None:
        self.answers: dict[int, Minted | BrokerError] = {}
        self._mint = mint
        self._sessions = sessions
        self._quota = quota
        self._page = page
        self._recording = asyncio.Lock()  # fair, so the first stretch is the first to be recorded
        self._room = asyncio.Semaphore(CALLS_AT_ONCE)
        self._silent: dict[str, str] = {}  # where nothing can be signed now, and why

    async def of(self, drafts: Mapping[int, Draft]) -> None:
        async with self._recording:
            drafts = await self._signed(drafts)
            created = await self._created(drafts)
        async with asyncio.TaskGroup() as group:
            for place, made in created.items():
                done = made if isinstance(made, BrokerError) else self._mint.ready(drafts[place], made)
                if done is not None:
                    self.answers[place] = done
                elif isinstance(made, Created):
                    group.create_task(self._grant(place, drafts[place], made))

    async def _signed(self, drafts: Mapping[int, Draft]) -> Mapping[int, Draft]:
        """With those whose signature is a call: many of these side by side, or a batch would take a minute."""
        afar = [place for place, draft in drafts.items() if draft.is_signed_afar]
        if not afar:
            return drafts
        signed = await at_once(SIGNED_AT_ONCE, [partial(self._signed_afar, drafts[place]) for place in afar])
        drafts = {**drafts}
        for place, done in zip(afar, signed, strict=True):
            if isinstance(done, BrokerError):
                self.answers[place] = done
                del drafts[place]
            else:
                drafts[place] = done
        return drafts

    async def _signed_afar(self, draft: Draft) -> Draft:
        """Who cannot sign for one item keeps no later one waiting: each would cost all of a patience, for the same."""
        name = draft.bucket.destination.name
        if not draft.is_put:
            return await self._mint.signed(draft)
        if name in self._silent:
            raise CredentialsUnavailable(self._silent[name])
        try:
            return await self._mint.signed(draft)
        except CredentialsUnavailable as trouble:
            self._silent[name] = trouble.detail
            raise

    async def _created(self, drafts: Mapping[int, Draft]) -> dict[int, Created | BrokerError]:
        """Shard by shard, so that a step is full; on a shard in order, so that of twins the first one stands."""
        order = sorted(drafts, key=lambda place: shard_of(drafts[place].new.session.id))
        created: dict[int, Created | BrokerError] = {}
        for piece in pieces(order, RECORDED_AT_ONCE):
            created.update(zip(piece, await self._recorded([drafts[place].new for place in piece]), strict=True))
        return created

    async def _recorded(self, news: Sequence[NewSession]) -> Sequence[Created | BrokerError]:
        try:
            return await self._sessions.create_many(news, quota=self._quota)
        except BrokerError as exc:
            return [exc] * len(news)

    async def _grant(self, place: int, draft: Draft, made: Created) -> None:
        async with self._room:
            try:
                self.answers[place] = await self._mint.granted(draft, made, page=self._page)
            except BrokerError as exc:
                self.answers[place] = exc


def _page_of_parts(items: int) -> int:
    return max(1, min(PAGE_OF_PARTS, MAX_PARTS_PER_CALL // max(items, 1)))
