"""`Jobs` by destination: a consumer leases from the queues of its zones, longest visible first, and from no other."""

import pytest
from ledger_samples import DAY, HOLD, NOW, POLICY, SECOND, created, leased, states_of, verified
from msgspec.structs import replace

from broker.contract import State
from broker.domain.jobs import finish, release
from broker.domain.queues import Zones
from broker.domain.sessions import Change, Session
from broker.ports import Ledger

EU, US = frozenset({"eu"}), frozenset({"us"})

# Names that a careless join, pattern or comparison would confuse.
ALIKE = (
    "eu",
    "e",
    "u",
    "eu,us",
    "us,eu",
    "EU",
    "eu ",
    "*",
    "%2C",
    "%",
    ":",
    "{00}",
    "[a]*",
    "jobs",
    "ü",
    "日本",
    "é",
    "e\u0301",
    "\\",
    '"',
)


async def ids(ledger: Ledger, zones: Zones, *, limit: int = 100, now: int = 0) -> list[str]:
    at = NOW + now * SECOND
    return [job.id for job in await ledger.lease(limit, worker="w", now=at, until=at + HOLD, zones=zones)]


async def moved(ledger: Ledger, session: Session, to: str, **said: object) -> Change:
    """Its job can be read from another destination from now on."""
    progress = replace(session.progress, revision=session.progress.revision + 1)
    after = replace(session, progress=progress, facts=replace(session.facts, destination=to))
    change = replace(Change(before=session, after=after), **said)
    assert await ledger.apply(change)
    return change


async def test_a_consumer_gets_the_jobs_of_its_zones_and_no_others(ledger: Ledger) -> None:
    jobs = {
        place: (await verified(ledger, number, destination=place)).id for number, place in enumerate(("eu", "us", "ap"))
    }
    assert await ids(ledger, EU) == [jobs["eu"]]
    assert await ids(ledger, EU) == []
    assert set(await ids(ledger, frozenset({"us", "ap", "nowhere"}))) == {jobs["us"], jobs["ap"]}


async def test_who_has_no_zones_gets_every_job(ledger: Ledger) -> None:
    jobs = {(await verified(ledger, number, destination=place)).id for number, place in enumerate(ALIKE)}
    assert set(await ids(ledger, None)) == jobs


async def test_who_has_an_empty_set_of_zones_gets_nothing(ledger: Ledger) -> None:
    await verified(ledger)
    assert await ids(ledger, frozenset()) == []


@pytest.mark.parametrize("name", ALIKE)
async def test_no_name_is_taken_for_another(ledger: Ledger, name: str) -> None:
    jobs = {place: await verified(ledger, destination=place) for place in ALIKE}
    assert await ids(ledger, frozenset({name})) == [jobs[name].id]
    assert await ledger.renew(jobs[name].id, 1, until=NOW + DAY, zones=frozenset({name})) is not None
    for neighbour in {*ALIKE} - {name}:
        assert await ledger.renew(jobs[name].id, 1, until=NOW + DAY, zones=frozenset({neighbour})) is None


async def test_of_several_queues_the_longest_visible_job_comes_first(ledger: Ledger) -> None:
    places = ("eu", "us", "ap")
    jobs = [
        await verified(ledger, now=NOW - age * SECOND, destination=places[place])
        for age, place in ((90, 0), (80, 1), (70, 1), (60, 2), (50, 0), (40, 0), (30, 2), (20, 1), (10, 0))
    ]
    wanted = [job.id for job in jobs]
    assert await ids(ledger, None, limit=2) == wanted[:2]
    assert await ids(ledger, frozenset(places), limit=5) == wanted[2:7]
    assert await ids(ledger, frozenset(places)) == wanted[7:]


async def test_no_zone_waits_behind_another(ledger: Ledger) -> None:
    for number in range(30):
        await verified(ledger, number, now=NOW - DAY, destination="eu")
    late = await verified(ledger, destination="us")
    assert await ids(ledger, US, limit=1) == [late.id]


async def test_leases_of_different_zones_are_disjoint_and_complete(ledger: Ledger, other: Ledger) -> None:
    jobs = [await verified(ledger, number, destination=("eu", "us")[number % 2]) for number in range(40)]
    seen: list[str] = []
    while batch := [*await ids(ledger, EU, limit=3), *await ids(other, US, limit=3), *await ids(other, None, limit=1)]:
        seen += batch
    assert sorted(seen) == sorted(job.id for job in jobs)


async def test_a_lost_lease_is_visible_again_in_its_zone_alone(ledger: Ledger) -> None:
    job = await verified(ledger, destination="eu")
    assert await ids(ledger, EU) == [job.id]
    assert await ids(ledger, US, now=60) == []
    assert await ids(ledger, EU, now=60) == [job.id]


async def test_a_released_job_is_back_in_its_zone(ledger: Ledger) -> None:
    await verified(ledger, destination="eu")
    (job,) = await ledger.lease(1, worker="w", now=NOW, until=NOW + HOLD, zones=EU)
    await ledger.apply(release(job, NOW, POLICY, is_infrastructure=False))
    assert await ids(ledger, US) == []
    assert await ids(ledger, EU) == [job.id]


async def test_a_lease_cannot_be_renewed_from_another_zone(ledger: Ledger) -> None:
    await verified(ledger, destination="eu")
    job = await leased(ledger)
    assert await ledger.renew(job.id, 1, until=NOW + DAY, zones=US) is None
    assert await ledger.renew(job.id, 1, until=NOW + DAY, zones=frozenset()) is None
    assert await ids(ledger, EU, now=31) == [job.id]  # and was not prolonged


async def test_a_renewed_lease_stays_invisible_in_its_zone(ledger: Ledger) -> None:
    await verified(ledger, destination="eu")
    job = await leased(ledger)
    assert await ledger.renew(job.id, 1, until=NOW + 2 * HOLD, zones=EU) == job
    assert await ids(ledger, EU, now=31) == []
    assert await ids(ledger, None, now=31) == []
    assert await ids(ledger, EU, now=60) == [job.id]


@pytest.mark.parametrize("to", ["us", "eu"])
async def test_a_job_moves_to_the_queue_of_its_session(ledger: Ledger, to: str) -> None:
    job = await verified(ledger, destination="eu")
    await moved(ledger, job, to, job_at=NOW + 5 * SECOND)
    assert await ids(ledger, None) == []
    assert await ids(ledger, EU if to == "us" else US, now=5) == []
    assert await ids(ledger, frozenset({to}), now=5) == [job.id]


async def test_a_job_that_moves_can_stay_visible_as_long_as_it_was(ledger: Ledger) -> None:
    first, second = await verified(ledger, now=NOW - SECOND, destination="eu"), await verified(ledger, destination="us")
    await moved(ledger, first, "us", stays=True)
    assert await ids(ledger, EU) == []
    assert await ids(ledger, US) == [first.id, second.id]


async def test_a_leased_job_that_moves_stays_leased_as_long_as_it_was(ledger: Ledger) -> None:
    await verified(ledger, destination="eu")
    job = await leased(ledger)
    change = await moved(ledger, job, "us", stays=True)
    assert await ids(ledger, None, now=29) == []
    assert await ledger.renew(job.id, 1, until=NOW + 2 * HOLD, zones=US) == change.after
    assert await ids(ledger, None, now=31) == []
    assert await ids(ledger, EU, now=60) == []
    assert await ids(ledger, US, now=60) == [job.id]


async def test_a_session_without_a_job_that_keeps_it_has_none(ledger: Ledger) -> None:
    await moved(ledger, await created(ledger, destination="eu"), "us", stays=True)
    assert await ids(ledger, None) == []
    backlog = await ledger.backlog(now=NOW)
    assert (backlog.jobs_visible, backlog.jobs_hidden) == (0, 0)


async def test_a_finished_job_leaves_its_queue(ledger: Ledger) -> None:
    await verified(ledger, destination="eu")
    job = await leased(ledger)
    assert await ledger.apply(finish(job, State.PROCESSED, NOW, POLICY))
    assert await ids(ledger, EU, now=3600) == []
    assert (await states_of(ledger, job))[-1] == (State.PROCESSED, 1)


async def test_the_backlog_is_that_of_all_queues(ledger: Ledger) -> None:
    for number, place in enumerate(("eu", "us", "ap")):
        await verified(ledger, number, now=NOW - number * SECOND, destination=place)
    await ids(ledger, US)
    backlog = await ledger.backlog(now=NOW)
    assert (backlog.jobs_visible, backlog.jobs_hidden, backlog.oldest_job) == (2, 1, NOW - 2 * SECOND)


async def test_a_lease_that_is_over_at_once_is_given_once(ledger: Ledger) -> None:
    job = await verified(ledger)
    assert [each.id for each in await ledger.lease(5, worker="w", now=NOW, until=NOW)] == [job.id]
