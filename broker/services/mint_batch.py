"""Mint a batch: each item is what a call of its own would be, by the same rules, and spoils no other.

PUTs are signed first and then recorded, in pieces between which the process serves others; uploads in parts are
recorded first and then begun at the store, some at a time. A crash anywhere leaves what a crash in single calls would
leave: sessions that their idempotency keys find.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from broker.contract import CreateUploadSession
from broker.domain.errors import BrokerError
from broker.domain.keys import shard_of
from broker.domain.multipart import MAX_PARTS_PER_CALL, PAGE_OF_PARTS
from broker.domain.principals import ApiKey
from broker.ports import Clock, Created, Sessions
from broker.services.mint import Draft, Mint, Minted
from broker.services.turns import Turns, pieces

DRAFTS_A_TURN = 16  # ours: under a millisecond of computing
RECORDED_AT_ONCE = 32  # ours: what the ledger writes in one step, so that no single mint waits behind a thousand
CALLS_AT_ONCE = 16  # ours: uploads in parts begun at the store, or sessions minted again, side by side

Answers = dict[int, Minted | BrokerError]


class Wish(NamedTuple):
    """One item: the body of a call of its own, and its Idempotency-Key."""

    body: CreateUploadSession
    idempotency_key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MintBatch:
    mint: Mint
    sessions: Sessions
    clock: Clock
    turns: Turns

    async def __call__(self, api_key: ApiKey, wishes: Sequence[Wish]) -> list[Minted | BrokerError]:
        """In order: what `Mint` would return or raise for each. Never raises for an item.

        Of many uploads in parts each gets a shorter first page, of at least one part.
        """
        now = self.clock.now()
        drawn: list[Draft | BrokerError] = []
        for piece in pieces(wishes, DRAFTS_A_TURN):
            async with self.turns.turn():
                drawn += [await self._drawn(api_key, wish, now) for wish in piece]
        drafts = {place: draft for place, draft in enumerate(drawn) if isinstance(draft, Draft)}
        answers: Answers = {place: error for place, error in enumerate(drawn) if isinstance(error, BrokerError)}
        created = await self._created(drafts)
        answers |= await self._granted(drafts, created, page=_page_of_parts(len(wishes)))
        return [answers[place] for place in range(len(wishes))]

    async def _drawn(self, api_key: ApiKey, wish: Wish, now: datetime) -> Draft | BrokerError:
        try:
            return await self.mint.draft(api_key, wish.body, wish.idempotency_key, now)
        except BrokerError as exc:
            return exc

    async def _created(self, drafts: Mapping[int, Draft]) -> dict[int, Created | BrokerError]:
        """Shard by shard, so that a step is full; on a shard in order, so that of twins the first one stands."""
        order = sorted(drafts, key=lambda place: shard_of(drafts[place].new.session.id))
        created: dict[int, Created | BrokerError] = {}
        for piece in pieces(order, RECORDED_AT_ONCE):
            answers = await self.sessions.create_many([drafts[place].new for place in piece])
            created.update(zip(piece, answers, strict=True))
        return created

    async def _granted(
        self, drafts: Mapping[int, Draft], created: Mapping[int, Created | BrokerError], *, page: int
    ) -> Answers:
        """What was signed is handed out; the others take a call to the store or to the ledger each."""
        room = asyncio.Semaphore(CALLS_AT_ONCE)

        async def granted(draft: Draft, made: Created) -> Minted | BrokerError:
            async with room:
                try:
                    return await self.mint.granted(draft, made, page=page)
                except BrokerError as exc:
                    return exc

        answers: Answers = {place: made for place, made in created.items() if isinstance(made, BrokerError)}
        left: list[tuple[int, Created]] = []
        for place, made in created.items():
            if isinstance(made, Created):
                ready = self.mint.ready(drafts[place], made)
                if ready is None:
                    left.append((place, made))
                else:
                    answers[place] = ready
        grants = await asyncio.gather(*(granted(drafts[place], made) for place, made in left))
        return answers | dict(zip((place for place, _ in left), grants, strict=True))


def _page_of_parts(items: int) -> int:
    return max(1, min(PAGE_OF_PARTS, MAX_PARTS_PER_CALL // max(items, 1)))
