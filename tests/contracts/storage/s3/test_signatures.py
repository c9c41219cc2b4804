"""What only a signature of S3 says: for which region and service it is, and by which session its signer acts."""

from dataclasses import replace

import aiohttp
import pytest

from broker.storage.s3.sigv4 import Credential, SigV4
from tests.contracts.storage.s3.stores import S3Place, S3Store, place_on
from tests.contracts.storage.samples import BODY, SPEC
from tests.contracts.storage.test_get_tampered import sign, stored
from tests.contracts.storage.test_put_tampered import assert_nothing_is_stored, assert_refused, needs
from tests.contracts.storage.wire import Send, as_signed

ELSEWHERE = [
    pytest.param(SigV4(region="eu-west-9"), id="another region"),
    pytest.param(SigV4(region="default", service="sts"), id="another service"),
]


@pytest.mark.parametrize("service", ELSEWHERE)
async def test_a_put_signed_for_another_region_or_service_is_refused(
    store: S3Store, place: S3Place, send: Send, key: str, service: SigV4
) -> None:
    needs(store, "checks the scope")
    elsewhere = replace(place, put=replace(place.put, sigv4=service))

    reply = await send.put(await elsewhere.sign_put(key, SPEC), BODY)

    assert_refused(reply)
    await assert_nothing_is_stored(store, key)


@pytest.mark.parametrize("service", ELSEWHERE)
async def test_a_get_signed_for_another_region_or_service_reads_nothing(
    store: S3Store, place: S3Place, send: Send, key: str, service: SigV4
) -> None:
    needs(store, "checks the scope")
    pin = await stored(place, send, key)
    elsewhere = replace(place, get=replace(place.get, sigv4=service))

    reply = await send(as_signed(await sign(elsewhere, key, pin)))

    assert reply.status in {400, 403}
    assert BODY not in reply.body


async def test_a_put_signed_with_an_invented_session_token_is_refused(
    store: S3Store, http: aiohttp.ClientSession, send: Send, key: str
) -> None:
    needs(store, "checks session tokens")
    keys = store.credential
    tokened = Credential(access_key=keys.access_key, secret_key=keys.secret_key, session_token="invented")
    stranger = place_on(store, store.bucket, http, tokened)

    reply = await send.put(await stranger.sign_put(key, SPEC), BODY)

    assert reply.status in {400, 403}
    await assert_nothing_is_stored(store, key)
