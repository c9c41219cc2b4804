"""The URI of an upload in the record: kept whole, of two writers one wins, and closing it moves no schedule."""

import asyncio

from ledger_samples import DAY, DESTINATION, HOLD, NOW, SECOND, created, events_of

from broker.contract import State
from broker.domain.resumable import Resumable
from broker.domain.resuming import closed, lent
from broker.domain.sessions import Session, abort
from broker.domain.uris import UriSealer
from broker.ports import Ledger

URI = "https://storage.example/upload/storage/v1/b/acme/o?uploadType=resumable&upload_id=" + "ABg5-Ux" * 40
ORIGIN = "https://app.example"
SEALER = UriSealer([b"k" * 32])


async def reserved(ledger: Ledger) -> Session:
    return await created(ledger, resumable=Resumable(origin=ORIGIN), requests_end_at=NOW + DAY)


def sealed(session: Session, uri: str = URI) -> str:
    return SEALER.seal(uri, session_id=session.id, key=session.facts.key)


async def stored(ledger: Ledger, session_id: str) -> Session:
    found = await ledger.get(session_id)
    assert found is not None
    return found


async def test_a_uri_is_kept_whole_and_sealed(ledger: Ledger) -> None:
    session = await reserved(ledger)
    assert await ledger.apply(lent(session, sealed(session), NOW + SECOND))
    found = await stored(ledger, session.id)
    assert found.facts.resumable == Resumable(sealed_uri=sealed(session), origin=ORIGIN)
    assert SEALER.open(found.facts.resumable.sealed_uri, session_id=session.id, key=found.facts.key) == URI
    assert await ledger.next_due() == NOW + SECOND


async def test_of_two_who_open_at_once_one_is_known(ledger: Ledger, other: Ledger) -> None:
    session = await reserved(ledger)
    changes = [lent(session, sealed(session, f"{URI}-{number}"), NOW + SECOND) for number in range(2)]
    won = await asyncio.gather(ledger.apply(changes[0]), other.apply(changes[1]))
    assert sorted(won) == [False, True]
    assert await stored(ledger, session.id) == changes[won.index(True)].after


async def test_what_is_closed_leaves_look_and_claim_alone_and_is_no_event(ledger: Ledger) -> None:
    session = await reserved(ledger)
    change = lent(session, sealed(session), NOW + SECOND)
    assert await ledger.apply(change)
    gone = abort(change.after, DESTINATION, NOW)
    assert await ledger.apply(gone)
    [due] = await ledger.claim(1, now=NOW, hold=HOLD)
    events = await events_of(ledger, session)
    assert due.session is not None
    shut = closed(due.session, NOW + SECOND)
    assert await ledger.apply(shut)
    assert await stored(ledger, session.id) == shut.after
    assert (shut.after.state, shut.after.facts.resumable) == (State.ABORTED, Resumable(origin=ORIGIN))
    assert shut.after.facts.requests_end_at == NOW + SECOND
    assert await events_of(ledger, session) == events
    await ledger.postpone(due, None)  # the claim is still the one
    assert await ledger.next_due() is None


async def test_who_opens_after_it_was_closed_comes_too_late(ledger: Ledger) -> None:
    session = await reserved(ledger)
    assert await ledger.apply(closed(session, NOW))
    assert not await ledger.apply(lent(session, sealed(session), NOW + SECOND))
    found = await stored(ledger, session.id)
    assert found.facts.resumable == Resumable(origin=ORIGIN)
