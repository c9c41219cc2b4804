"""The SNS door: what SNS signed for a topic of ours, lately, and nothing else."""

import asyncio
import base64
import json
import logging
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.errors import NotAuthentic, SenderUnavailable
from broker.doors.sns import MAX_AGE, SKEW
from broker.ports import Opened
from tests.unit.doors.senders import aws, bridged, records
from tests.unit.doors.sns_world import ARN, CERTIFICATE, HOST, KEY, TOKEN, Sns, certificate, enveloped, rsa_key

VERSIONS = ["1", "2"]
KINDS = ["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"]
SUBSCRIBED = Opened(hints=(), ignored=1)


@pytest.fixture
def sns() -> Sns:
    return Sns()


async def refused(sns: Sns, message: object, **headers: str) -> None:
    asked = len(sns.pages.asked)
    with pytest.raises(NotAuthentic):
        await sns.door.open(enveloped(message, **headers))
    assert not [url for url in sns.pages.asked[asked:] if url != CERTIFICATE], "a stranger made us call"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("subject", ["Amazon S3 Notification", "", None])
async def test_what_sns_signed_is_read(sns: Sns, version: str, subject: str | None) -> None:
    opened = await sns.door.open(enveloped(sns.signed(SignatureVersion=version, Subject=subject)))
    assert [(hint.bucket, hint.key) for hint in opened.hints] == [("acme", KEY)]


async def test_a_field_that_is_null_is_one_that_is_not_there(sns: Sns) -> None:
    assert (await sns.door.open(enveloped(sns.signed(Subject=None) | {"Subject": None, "Token": None}))).hints


async def test_an_event_of_eventbridge_comes_by_a_topic_too(sns: Sns) -> None:
    opened = await sns.door.open(enveloped(sns.signed(Message=json.dumps(bridged("uploads/id/a+b.csv")))))
    assert [hint.key for hint in opened.hints] == ["uploads/id/a+b.csv"]


async def test_what_is_published_by_others_is_ignored_and_bad_records_spoil_no_good_ones(sns: Sns) -> None:
    assert await sns.door.open(enveloped(sns.signed(Message="hello\nMessageId\nworld"))) == SUBSCRIBED
    opened = await sns.door.open(enveloped(sns.signed(Message=records({}, aws(KEY), 7).decode())))
    assert ([hint.key for hint in opened.hints], opened.malformed) == ([KEY], 2)


async def test_what_comes_twice_is_read_twice_and_asked_for_once(sns: Sns) -> None:
    message = enveloped(sns.signed())
    for _ in range(3):
        assert len((await sns.door.open(message)).hints) == 1
    assert sns.pages.asked == [CERTIFICATE]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_no_signed_field_may_be_changed_added_or_left_out(sns: Sns, kind: str, version: str) -> None:
    good = sns.signed(kind, SignatureVersion=version)
    unsigned = {"UnsubscribeURL", "SigningCertURL", "Signature", "SignatureVersion"}
    for field in good.keys() - unsigned:
        await refused(sns, good | {field: good[field] + "x"})
        await refused(sns, good | {field: good[field][:-1]})
        await refused(sns, good | {field: None})
        await refused(sns, good | {field: 7})
        await refused(sns, {name: value for name, value in good.items() if name != field})
    await refused(sns, good | {"SignatureVersion": {"1": "2", "2": "1"}[version]})
    await refused(sns, good | {"Type": KINDS[KINDS.index(kind) - 1]})
    if kind == "Notification":
        await refused(sns, sns.signed(SignatureVersion=version, Subject=None) | {"Subject": "Re: uploads"})
    assert sns.pages.asked == [CERTIFICATE]
    await sns.door.open(enveloped(good))


async def test_what_is_not_signed_may_say_anything(sns: Sns) -> None:
    opened = await sns.door.open(enveloped(sns.signed() | {"UnsubscribeURL": "https://evil.example/", "More": [7]}))
    assert opened.hints
    assert sns.pages.asked == [CERTIFICATE]


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_elses_key_will_do(sns: Sns, kind: str) -> None:
    await refused(sns, sns.signed(kind, by="somebody else"))


@pytest.mark.parametrize(
    "signature", ["", "!", "AAAA", "A" * 344, base64.b64encode(bytes(256)).decode(), "é", " ", "AAA", "\ud83d\ude00"]
)
async def test_what_is_no_signature_is_refused(sns: Sns, signature: str) -> None:
    await refused(sns, sns.message() | {"Signature": signature})


@pytest.mark.parametrize("version", ["", "0", "3", "01", "1 ", "SHA256"])
async def test_a_version_that_there_is_not_is_refused(sns: Sns, version: str) -> None:
    await refused(sns, sns.signed() | {"SignatureVersion": version})


async def test_an_operator_may_refuse_sha_1() -> None:
    sns = Sns(versions=("2",))
    await refused(sns, sns.signed(SignatureVersion="1"))
    assert sns.pages.asked == []
    assert (await sns.door.open(enveloped(sns.signed(SignatureVersion="2")))).hints


TOPICS = [
    ARN[:-1],
    ARN + "x",
    ARN.replace("123456789012", "210987654321"),
    ARN.replace("eu-central-1", "us-east-1"),
    ARN.upper(),
    ARN + ":5be8",
    f" {ARN}",
    "",
    "*",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arn", TOPICS)
async def test_a_topic_that_is_not_listed_is_not_heard_though_sns_signed_it(sns: Sns, kind: str, arn: str) -> None:
    await refused(sns, sns.signed(kind, TopicArn=arn))
    assert sns.pages.asked == []


async def test_a_certificate_of_another_region_proves_nothing() -> None:
    other = ARN.replace("eu-central-1", "us-east-1")
    sns = Sns(topics=(ARN, other))
    sns.pages.pages[CERTIFICATE.replace("eu-central-1", "us-east-1")] = sns.pages.pages[CERTIFICATE]
    await refused(sns, sns.signed(TopicArn=other))
    assert sns.pages.asked == []
    here = CERTIFICATE.replace("eu-central-1", "us-east-1")
    assert (await sns.door.open(enveloped(sns.signed(TopicArn=other, SigningCertURL=here)))).hints


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://evil.example/SimpleNotificationService-a.pem",
        f"{HOST}.evil.example/SimpleNotificationService-a.pem",
        f"{HOST}@evil.example/SimpleNotificationService-a.pem",
        f"{HOST}:8443/SimpleNotificationService-a.pem",
        CERTIFICATE.replace("https", "http"),
        CERTIFICATE + "?x",
        CERTIFICATE.upper(),
        "http://169.254.169.254/SimpleNotificationService-a.pem",
    ],
)
async def test_no_certificate_is_fetched_from_anywhere_else(sns: Sns, url: str) -> None:
    sns.pages.pages[url] = sns.pages.pages[CERTIFICATE] or b""
    await refused(sns, sns.signed(SigningCertURL=url))
    assert sns.pages.asked == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_replay_is_refused_once_sns_would_have_stopped_trying(sns: Sns, kind: str) -> None:
    message = sns.signed(kind)
    sns.clock.advance(MAX_AGE)
    await sns.door.open(enveloped(message))
    sns.clock.advance(timedelta(milliseconds=1))
    sns.pages.asked.clear()
    await refused(sns, message)
    assert sns.pages.asked == []


async def test_a_message_from_the_future_is_refused(sns: Sns) -> None:
    later = Sns()
    later.clock.advance(SKEW)
    assert (await sns.door.open(enveloped(later.signed()))).hints
    later.clock.advance(timedelta(milliseconds=1))
    await refused(sns, later.signed())


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "now",
        "2026-11-20",
        "2026-11-20T12:00:00",
        "2026-11-20T12:00:00+00:00",
        "2026-11-20T12:00:00.000Z\n",
        "2026-13-20T12:00:00.000Z",
        "2026-11-20T25:00:00.000Z",
        "9999-12-31T23:59:59.999Z",
        "0000-01-01T00:00:00.000Z",
        "0001-01-01T00:00:00.000Z",
        "٢026-11-20T12:00:00.000Z",
    ],
)
async def test_a_time_that_is_none_is_refused(sns: Sns, timestamp: str) -> None:
    await refused(sns, sns.signed(Timestamp=timestamp))


async def test_one_signed_text_has_one_meaning(sns: Sns) -> None:
    """Values with line breaks could be cut into other fields under the same signature."""
    good = sns.signed(MessageId="m", Subject="s")
    for field in ("MessageId", "Subject", "Timestamp", "TopicArn"):
        await refused(sns, sns.signed(**{field: f"{good[field]}\nTimestamp\n2026-11-20T12:00:00.000Z"}))
    moved = {name: value for name, value in good.items() if name != "Subject"}
    await refused(sns, moved | {"MessageId": "m\nSubject\ns"})
    await refused(sns, moved | {"Message": f"{good['Message']}\nMessageId\nm", "MessageId": "s"})


# --- the certificate


async def test_while_certificates_cannot_be_had_sns_is_asked_to_send_again(sns: Sns) -> None:
    sns.unavailable()
    with pytest.raises(SenderUnavailable):
        await sns.door.open(enveloped(sns.signed()))
    await refused(sns, sns.signed(TopicArn=ARN + "x"))
    await refused(sns, sns.signed(Timestamp="2026-11-19T12:00:00.000Z"))


@pytest.mark.parametrize("page", [b"", b"<html>", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
async def test_a_page_that_is_no_certificate_proves_nothing(sns: Sns, page: bytes) -> None:
    sns.pages.pages[CERTIFICATE] = page
    await refused(sns, sns.signed())


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_certificate_out_of_its_days_or_too_weak_proves_nothing(sns: Sns, version: str) -> None:
    now, day = sns.clock.now(), timedelta(days=1)
    for begins, days in ((now + day, 5), (now - 9 * day, 5)):
        sns = Sns()
        sns.pages.pages[CERTIFICATE] = certificate(rsa_key(), begins=begins, days=days)
        await refused(sns, sns.signed(SignatureVersion=version))
    sns = Sns()
    sns.pages.pages[CERTIFICATE] = certificate(rsa_key("weak"), begins=now - day)
    await refused(sns, sns.signed(by="weak", SignatureVersion=version))


# --- subscriptions


CONFIRMATION = f"{HOST}/?Action=ConfirmSubscription&TopicArn={ARN.replace(':', '%3A')}&Token={TOKEN}"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_subscription_to_a_listed_topic_is_confirmed_by_an_address_of_our_own(
    sns: Sns, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sns.pages.pages[CONFIRMATION] = b"<ConfirmSubscriptionResponse/>"
    evil = sns.signed("SubscriptionConfirmation", SignatureVersion=version, SubscribeURL="https://evil.example/")
    assert await sns.door.open(enveloped(evil)) == SUBSCRIBED
    assert sns.pages.asked == [CERTIFICATE, CONFIRMATION]
    assert [record.message for record in caplog.records] == ["sns.subscribed"]
    assert TOKEN not in caplog.text


async def test_a_subscription_that_sns_does_not_confirm_is_told_to_the_operator(
    sns: Sns, caplog: pytest.LogCaptureFixture
) -> None:
    assert await sns.door.open(enveloped(sns.signed("SubscriptionConfirmation"))) == SUBSCRIBED
    assert [(record.levelname, record.message) for record in caplog.records] == [("WARNING", "sns.not-confirmed")]


async def test_while_sns_cannot_be_told_it_asks_again(sns: Sns) -> None:
    sns.unavailable(CONFIRMATION)
    with pytest.raises(SenderUnavailable):
        await sns.door.open(enveloped(sns.signed("SubscriptionConfirmation")))


async def test_the_end_of_a_subscription_is_told_and_not_undone(sns: Sns, caplog: pytest.LogCaptureFixture) -> None:
    assert await sns.door.open(enveloped(sns.signed("UnsubscribeConfirmation"))) == SUBSCRIBED
    assert sns.pages.asked == [CERTIFICATE]
    assert [record.message for record in caplog.records] == ["sns.unsubscribed"]


async def test_raw_delivery_is_refused_and_the_operator_told_why(sns: Sns, caplog: pytest.LogCaptureFixture) -> None:
    headers = {"x-amz-sns-rawdelivery": "true", "x-amz-sns-topic-arn": ARN, "x-amz-sns-message-type": "Notification"}
    await refused(sns, records(aws(KEY)), **headers)
    assert [(record.message, vars(record)["why"]) for record in caplog.records] == [("sns.refused", "raw delivery")]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"TopicArn": ARN + "x"}, "topic"),
        ({"Timestamp": "2026-11-19T12:00:00.000Z"}, "age"),
        ({"Timestamp": "2026-13-19T12:00:00.000Z"}, "age"),
        ({"SignatureVersion": "3"}, "signature version"),
        ({"SigningCertURL": "https://evil.example/"}, "address of the certificate"),
        ({"SigningCertURL": f"{HOST}/SimpleNotificationService-none.pem"}, "certificate"),
        ({"Message": "forged"}, "signature"),
        ({"Signature": "!"}, "signature"),
        ({"Type": "Else"}, "shape"),
    ],
)
async def test_the_operator_and_nobody_else_is_told_why(
    sns: Sns, caplog: pytest.LogCaptureFixture, changes: dict[str, str], why: str
) -> None:
    with pytest.raises(NotAuthentic) as refusal:
        await sns.door.open(enveloped(sns.signed() | changes))
    assert refusal.value.detail == NotAuthentic().detail
    assert [(record.message, vars(record)["why"]) for record in caplog.records] == [("sns.refused", why)]


# --- hostile bodies


BODIES: list[Any] = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"{",
    b"\xff\xfe",
    b"[" * 100_000,
    records(aws(KEY)),
    {"Type": "Notification"},
    {"Type": "notification"},
    {"Type": ["Notification"]},
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: str(body)[:20])
async def test_what_sns_would_not_write_is_refused(sns: Sns, body: object) -> None:
    await refused(sns, body)


values = st.none() | st.integers() | st.text(max_size=30) | st.lists(st.integers(), max_size=2)
FIELDS = ["Type", "MessageId", "TopicArn", "Subject", "Message", "Timestamp", "SignatureVersion", "Signature"]


@given(st.dictionaries(st.sampled_from([*FIELDS, "SigningCertURL", "Token", "SubscribeURL"]), values, min_size=1))
def test_no_field_of_any_kind_breaks_the_door(changes: dict[str, Any]) -> None:
    sns, good = Sns(), SIGNED_ONCE
    is_same = all(good.get(name) == value for name, value in changes.items() if name not in {"Token", "SubscribeURL"})
    body = json.dumps(good | changes).encode(errors="surrogatepass")
    try:
        asyncio.run(sns.door.open(enveloped(body)))
    except NotAuthentic:
        return
    assert is_same


SIGNED_ONCE = Sns().signed()


@given(st.integers(0, 2500), st.binary(max_size=8))
def test_no_damage_breaks_the_door(at: int, junk: bytes) -> None:
    sns, body = Sns(), json.dumps(SIGNED_ONCE).encode()
    for damaged in (body[:at] + junk + body[at + len(junk) :], body[:at], junk):
        try:
            opened = asyncio.run(sns.door.open(enveloped(damaged)))
        except NotAuthentic:
            continue
        assert [hint.key for hint in opened.hints] == [KEY]
