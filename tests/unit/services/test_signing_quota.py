"""The provider signs no more at this moment: another way if it is as strong, else "later"; and nothing is lost."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker.contract import Level, ResumableUpload, State
from broker.domain.errors import BrokerError, CredentialsUnavailable, SigningQuotaExhausted
from broker.services.drafts import Minted
from broker.services.mint_batch import SIGNED_AT_ONCE, Wish
from tests.memory_bucket import ENFORCED
from tests.unit.services.house import APP, ORIGIN, PLACE, WISH, House, request_of
from tests.unit.services.resumables import BY_URI, house_of, uri_of

LATER = timedelta(seconds=7)


def dry(house: House) -> House:
    house.bucket.sign_trouble = SigningQuotaExhausted(retry_after=LATER)
    return house


async def test_who_leaves_the_strategy_open_gets_an_upload_that_nobody_signs() -> None:
    house = dry(house_of())
    minted = await house.mint(APP, WISH, "key", sent_from=ORIGIN)
    assert house.bucket.resumables.held[uri_of(minted.upload)].origin == ORIGIN
    assert minted.session.facts.requests_end_at == minted.session.facts.expires_at
    house.bucket.resumables.send_by(uri_of(minted.upload))
    await house.pass_time(timedelta(minutes=1))
    assert (await house.session(minted.session.id)).state is State.VERIFIED
    again = await house.mint(APP, WISH, "key")
    assert again.session.id == minted.session.id


@pytest.mark.parametrize("size", [12, PLACE.resumable.threshold_bytes + 1])
async def test_it_promises_what_that_way_binds(size: int) -> None:
    house = dry(house_of())
    house.bucket.resumables.guarantees = replace(ENFORCED, size=Level.AT_HEAD)
    assert (await house.minted(size_bytes=size)).session.facts.guarantees.size is Level.AT_HEAD


async def test_never_at_the_price_of_what_is_required() -> None:
    house = dry(house_of())
    house.bucket.resumables.guarantees = replace(ENFORCED, create_only=Level.NONE)
    with pytest.raises(SigningQuotaExhausted) as refused:
        await house.minted()
    assert refused.value.retry_after == LATER
    assert await house.events() == []
    assert house.bucket.resumables.opened == 0


@pytest.mark.parametrize("changes", [{"strategy": "put"}, {"size_bytes": 0}])
async def test_who_names_a_put_or_sends_nothing_comes_again(changes: dict[str, object]) -> None:
    house = dry(house_of())
    with pytest.raises(SigningQuotaExhausted):
        await house.minted(**changes)
    assert await house.events() == []


async def test_where_the_store_opens_none_everybody_comes_again() -> None:
    with pytest.raises(SigningQuotaExhausted):
        await dry(House()).minted()


async def test_a_put_that_was_minted_stays_one() -> None:
    house = house_of()
    minted = await house.minted()
    dry(house)
    with pytest.raises(SigningQuotaExhausted):
        await house.remint(minted.session)
    house.bucket.sign_trouble = None
    _, upload = await house.remint(await house.session(minted.session.id))
    assert request_of(upload).method == "PUT"


async def test_a_job_that_cannot_be_read_now_goes_back_unharmed() -> None:
    house = house_of()
    session = await house.uploaded()
    dry(house)
    assert await house.lease(1, worker="w", wait=timedelta(0)) == []
    held = await house.session(session.id)
    assert (held.state, held.attempts.failures, held.attempts.infrastructure) == (State.VERIFIED, 0, 1)
    house.bucket.sign_trouble = None
    house.clock.advance(timedelta(minutes=10))
    assert (await house.leased()).id == session.id


async def test_a_renewal_that_cannot_be_read_keeps_the_lease() -> None:
    house = house_of()
    await house.uploaded()
    job = await house.leased()
    dry(house)
    with pytest.raises(SigningQuotaExhausted):
        await house.renew(job.id, token=job.lease.token, epoch=job.lease.epoch)
    assert (await house.report(job)).state is State.PROCESSED


# --- a batch


def strategy_of(answer: Minted | BrokerError) -> str:
    if isinstance(answer, BrokerError):
        return answer.code
    return "resumable" if isinstance(answer.upload, ResumableUpload) else "put"


@pytest.mark.parametrize("signs_afar", [False, True])
async def test_in_a_batch_each_item_finds_its_own_way(signs_afar: bool) -> None:
    house = dry(house_of(signs_afar=signs_afar))
    wishes = [Wish(WISH, "one"), Wish(replace(WISH, strategy="put"), "two"), Wish(WISH, "three")]
    answers = await house.mint_batch(APP, wishes, sent_from=ORIGIN)
    assert [*map(strategy_of, answers)] == ["resumable", "signing-quota-exhausted", "resumable"]
    assert {held.origin for held in house.bucket.resumables.held.values()} == {ORIGIN}
    house.bucket.sign_trouble = None
    assert strategy_of((await house.mint_batch(APP, wishes[1:2]))[0]) == "put"


async def test_a_batch_signs_side_by_side_where_each_signature_is_a_call() -> None:
    house = house_of(signs_afar=True)
    signing = most = 0

    async def slow() -> None:
        nonlocal signing, most
        signing += 1
        most = max(most, signing)
        for _ in range(3):
            await asyncio.sleep(0)
        signing -= 1

    house.bucket.before_sign = slow
    answers = await house.mint_batch(APP, [Wish(WISH, str(number)) for number in range(300)])
    assert {*map(strategy_of, answers)} == {"put"}
    assert len({answer.session.id for answer in answers if isinstance(answer, Minted)}) == 300
    assert most == SIGNED_AT_ONCE
    for answer in answers:
        assert isinstance(answer, Minted)
        house.bucket.send(request_of(answer.upload))


async def test_a_batch_waits_once_for_a_provider_that_does_not_answer() -> None:
    """Each question costs all of a patience: a thousand items would wait for minutes, and their client for nothing."""
    house = house_of(signs_afar=True)
    house.bucket.sign_trouble = CredentialsUnavailable("IAM does not answer")
    asked = 0

    async def hang() -> None:
        nonlocal asked
        asked += 1
        for _ in range(3):
            await asyncio.sleep(0)

    house.bucket.before_sign = hang
    wishes = [Wish(WISH, str(number)) for number in range(600)]
    wishes[590:] = [Wish(replace(BY_URI, strategy="resumable"), f"uri-{number}") for number in range(10)]
    answers = await house.mint_batch(APP, wishes)
    assert [*map(strategy_of, answers)] == ["credentials-unavailable"] * 590 + ["resumable"] * 10
    assert asked <= SIGNED_AT_ONCE
    house.bucket.sign_trouble = None
    again = await house.mint_batch(APP, wishes)
    assert {*map(strategy_of, again)} == {"put", "resumable"}


async def test_of_twins_in_a_batch_that_is_signed_afar_the_first_one_stands() -> None:
    house = house_of(signs_afar=True)
    answers = await house.mint_batch(APP, [Wish(WISH, "twin"), Wish(WISH, "twin")])
    assert [answer.is_replay for answer in answers if isinstance(answer, Minted)] == [False, True]


async def test_a_fan_out_in_a_batch_is_signed_afar_too() -> None:
    other = replace(PLACE, name="other", bucket="acme-other")
    house = house_of(signs_afar=True, more=(other,))
    md5 = {"checksum": replace(WISH.checksum, md5="CY9rzUYh03PK3k6DJie09g==")}
    [answer] = await house.mint_batch(APP, [Wish(replace(WISH, destinations=["default", "other"], **md5), None)])
    assert isinstance(answer, Minted)
    assert [copy.upload is not None for copy in answer.copies] == [True, True]
