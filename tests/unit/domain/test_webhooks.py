"""Payload, signature and patience of webhooks. The judge of signatures is the official `standardwebhooks` package."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UnsetType
from msgspec.structs import fields, replace
from standardwebhooks import Webhook as Judge
from standardwebhooks import WebhookVerificationError

from broker.contract import Reason, State, UploadSession, WebhookSession
from broker.domain.copies import Copy
from broker.domain.errors import ConfigurationInvalid
from broker.domain.jobs import finish
from broker.domain.policy import Policy
from broker.domain.sessions import Session, expire, verify
from broker.domain.webhooks import (
    GIVEN_UP_AFTER,
    LONGEST_PAUSE,
    Webhook,
    again_at,
    headers_of,
    is_delivered,
    key_in,
    message_id,
    pause_of,
    payload,
    type_of,
)
from tests.clock import START
from tests.unit.domain.samples import GUARANTEES, INFO, PLACE, pending

SECRET, OTHER = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))
KEY, OTHER_KEY = key_in(SECRET), key_in(OTHER)
BODY = payload(pending(), state=State.EXPIRED, epoch=0, at=START, reason=None)
HOUR = timedelta(hours=1)
LABELS = {"owner": "user-17", "batch": "b-1", "metadata": {"case": "17"}}


def signed(*keys: bytes, now: datetime | None = None, body: bytes = BODY, webhook_id: str = "evt_1") -> dict[str, str]:
    return headers_of(keys, webhook_id, body, now or datetime.now(UTC))


# --- the signature


@pytest.mark.parametrize("secret", [SECRET, OTHER])
def test_each_of_two_secrets_verifies_what_was_signed_with_both(secret: str) -> None:
    headers = signed(KEY, OTHER_KEY)
    assert Judge(secret).verify(BODY, headers)["type"] == "session.expired"
    assert headers["webhook-signature"].count("v1,") == 2


def test_ours_is_the_signature_that_the_official_package_makes() -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    theirs = Judge(SECRET).sign("evt_1", now, BODY.decode())
    assert signed(KEY, now=now)["webhook-signature"] == theirs


def test_a_stranger_s_secret_verifies_nothing() -> None:
    with pytest.raises(WebhookVerificationError):
        Judge(OTHER).verify(BODY, signed(KEY))


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_header_that_somebody_changed_is_refused(name: str) -> None:
    headers = signed(KEY)
    wrong = {"webhook-id": "evt_2", "webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}
    headers[name] = wrong.get(name, "v1," + "A" * 43 + "=")
    with pytest.raises(WebhookVerificationError):
        Judge(SECRET).verify(BODY, headers)


@given(place=st.integers(0, len(BODY) - 1), bit=st.integers(0, 6))
def test_a_body_that_somebody_changed_is_refused(place: int, bit: int) -> None:
    changed = bytearray(BODY)
    changed[place] ^= 1 << bit
    with pytest.raises((WebhookVerificationError, UnicodeDecodeError)):
        Judge(SECRET).verify(bytes(changed), signed(KEY))


def test_each_attempt_is_signed_for_its_own_moment() -> None:
    with pytest.raises(WebhookVerificationError, match="too old"):
        Judge(SECRET).verify(BODY, signed(KEY, now=datetime.now(UTC) - HOUR))


def test_the_id_has_no_dot_and_depends_on_nothing_but_session_and_event() -> None:
    assert message_id("00ab", "1732100000000-7") == message_id("00ab", "1732100000000-7") == "evt_00ab_1732100000000_7"
    assert message_id("00ab", "1732100000000-70") != message_id("00ab", "1732100000000-7")


@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_secret_is_a_prefix_and_base64(size: int) -> None:
    assert key_in("whsec_" + base64.b64encode(b"k" * size).decode()) == b"k" * size


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "k" * 40,
        base64.b64encode(b"k" * 32).decode(),
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
        "whsec_" + "k" * 39 + "!",
        "whsec_" + "ü" * 40,
    ],
)
def test_what_is_no_secret_is_refused_without_being_quoted(secret: str) -> None:
    with pytest.raises(ConfigurationInvalid, match="whsec_ and the base64 of 24 to 64 bytes") as refused:
        key_in(secret)
    assert not secret.removeprefix("whsec_") or secret.removeprefix("whsec_") not in str(refused.value)


# --- what is told


def told(session: Session, state: State, epoch: int = 0, reason: Reason | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(payload(session, state=state, epoch=epoch, at=START, reason=reason))
    return found


def verified(**changes: object) -> Session:
    return verify(pending(**changes), INFO, PLACE, START).after


def processing(session: Session, epoch: int = 1) -> Session:
    return replace(session, progress=replace(session.progress, state=State.PROCESSING, epoch=epoch))


def test_an_event_names_the_session_as_its_owner_knows_it() -> None:
    event = told(verified(**LABELS), State.VERIFIED)
    assert (event["type"], event["timestamp"]) == ("session.verified", "2026-11-20T12:00:00Z")
    assert event["data"].items() >= {**LABELS, "state": "verified", "epoch": 0, "filename": "report.csv"}.items()
    assert event["data"]["object"]["destination"] == "default"
    assert event["data"]["stored"]["etag"] == "abc"


def test_every_field_but_epoch_and_copies_is_one_of_the_session_s_status_and_of_its_type() -> None:
    known = {field.name: field.type for field in fields(UploadSession)}
    for field in fields(WebhookSession):
        is_of_its_own = field.name in {"epoch", "copies"}  # copies without what is signed
        assert is_of_its_own or known[field.name] in {field.type, field.type | UnsetType}


def test_no_url_and_no_token_is_told() -> None:
    assert not {"upload", "token", "parts"} & {field.name for field in fields(WebhookSession)}


def test_an_event_is_described_as_it_was_although_the_session_has_moved_on() -> None:
    job = processing(verified(), epoch=3)
    done = finish(job, State.PROCESSED, START, Policy(), result=b'{"rows": 3}').after
    early, late = told(done, State.VERIFIED), told(done, State.PROCESSED, 3)
    assert (early["data"]["state"], early["data"]["epoch"]) == ("verified", 0)
    assert "result" not in early["data"]
    assert late["data"]["result"] == {"rows": 3}
    assert "reason" not in late["data"]


def test_an_expiry_is_told_without_the_bytes_that_came_late() -> None:
    gone = expire(pending(), PLACE, START)
    late = verify(gone.after, INFO, PLACE, START).after
    data = told(late, State.EXPIRED, reason=gone.reason)["data"]
    assert "stored" not in data
    assert data["reason"]["code"] == "deadline"
    assert told(late, State.VERIFIED)["data"]["stored"]["size_bytes"] == 3


@pytest.mark.parametrize(
    ("state", "epoch", "name"),
    [
        (State.PENDING, 0, None),
        (State.VERIFIED, 0, "session.verified"),
        (State.VERIFIED, 1, None),
        (State.PROCESSING, 1, None),
        (State.PROCESSED, 1, "session.processed"),
        (State.FAILED, 2, "session.failed"),
        (State.REJECTED, 0, "session.rejected"),
        (State.REJECTED, 1, "session.rejected"),
        (State.EXPIRED, 0, "session.expired"),
        (State.ABORTED, 0, None),
    ],
)
def test_five_things_are_told_and_verified_only_the_first_time(state: State, epoch: int, name: str | None) -> None:
    assert type_of(state, epoch) == name


@pytest.mark.parametrize(
    ("destinations", "principals", "is_wanted"),
    [
        (("*",), ("*",), True),
        (("default",), ("*",), True),
        (("eu",), ("*",), False),
        (("*",), ("app",), True),
        (("*",), ("other",), False),
        (("default",), ("other",), False),
        ((), ("*",), False),
    ],
)
def test_a_webhook_hears_of_the_destinations_and_keys_that_it_names(
    destinations: tuple[str, ...], principals: tuple[str, ...], is_wanted: bool
) -> None:
    webhook = Webhook(name="crm", keys=(KEY,), destinations=destinations, principals=principals)
    assert webhook.wants(pending()) is is_wanted


def test_a_webhook_does_not_show_its_keys() -> None:
    assert repr(Webhook(name="crm", keys=(KEY,))) == "Webhook(name='crm')"


# --- patience


@given(dice=st.floats(0, 1))
def test_attempts_go_on_for_a_day_further_and_further_apart_and_end_there(dice: float) -> None:
    moments, attempt = [START], 1
    while (following := again_at(attempt, since=START, now=moments[-1], dice=dice, pause=None)) is not None:
        assert following > moments[-1]
        moments.append(following)
        attempt += 1
    assert moments[1] - START < timedelta(seconds=7)
    assert moments[-1] == START + GIVEN_UP_AFTER
    assert 12 <= len(moments) <= 16


def test_what_failed_together_does_not_come_back_together() -> None:
    moments = {again_at(3, since=START, now=START, dice=dice / 10, pause=None) for dice in range(11)}
    assert len(moments) == 11


@given(seconds=st.integers(0, 10**6), attempt=st.integers(1, 100))
def test_an_endpoint_may_ask_for_longer_never_for_sooner_or_for_ever(seconds: int, attempt: int) -> None:
    usual = again_at(attempt, since=START, now=START, dice=0.5, pause=None)
    asked = again_at(attempt, since=START, now=START, dice=0.5, pause=timedelta(seconds=seconds))
    assert usual is not None
    assert asked is not None
    assert usual <= asked <= START + GIVEN_UP_AFTER


def test_what_comes_too_late_is_tried_once() -> None:
    assert again_at(1, since=START, now=START + 30 * HOUR, dice=0, pause=None) is None


@pytest.mark.parametrize(
    ("status", "wished", "pause"),
    [
        (200, HOUR, None),
        (500, HOUR, None),
        (503, None, None),
        (503, timedelta(seconds=90), timedelta(seconds=90)),
        (429, timedelta(seconds=90), timedelta(seconds=90)),
        (429, 30 * HOUR, LONGEST_PAUSE),
        (410, None, LONGEST_PAUSE),
        (None, None, None),
    ],
)
def test_an_endpoint_is_left_alone_when_it_says_so(status: int | None, wished: Any, pause: Any) -> None:
    assert pause_of(status, wished) == pause


def test_only_a_2xx_is_a_delivery() -> None:
    assert [status for status in range(100, 600) if is_delivered(status)] == [*range(200, 300)]
    assert not is_delivered(None)


def test_of_a_fan_out_the_copies_are_told_and_it_is_wanted_by_whoever_wants_one_of_them() -> None:
    copies = tuple(
        Copy(id=f"00{n * 26}", destination=name, bucket="b", key=f"k/{name}", guarantees=GUARANTEES, state=state)
        for n, name, state in (("a", "eu", State.VERIFIED), ("b", "us", State.EXPIRED))
    )
    session = verified(copies=copies, required=1)
    event = told(session, State.VERIFIED)
    assert [(copy["destination"], copy["state"]) for copy in event["data"]["copies"]] == [
        ("eu", "verified"),
        ("us", "expired"),
    ]
    assert not any({"upload", "id"} & copy.keys() for copy in event["data"]["copies"])
    for names, is_wanted in ((("us",), True), (("eu", "ap"), True), (("default",), False)):
        assert Webhook(name="w", keys=(), destinations=names).wants(session) is is_wanted
