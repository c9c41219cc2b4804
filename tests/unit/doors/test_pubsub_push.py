"""The Pub/Sub door: what comes with a token that Google signed, for us, lately, in the name of whom we know."""

import asyncio
import hashlib
import hmac
import json
import logging
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.domain.errors import NotAuthentic, SenderUnavailable
from broker.doors.google_certificates import ASK_AGAIN_AFTER
from broker.doors.google_tokens import SKEW_SECONDS
from broker.ports import Hint, Opened
from tests.unit.doors.google_world import (
    AUDIENCE,
    BUCKET,
    CERTS,
    GENERATION,
    KEY,
    PUSHER,
    SUBSCRIPTION,
    Google,
    base64url,
    pushed,
    signed,
    told,
)
from tests.unit.doors.senders import aws, records
from tests.unit.doors.sns_world import rsa_key

HINT = Hint(bucket=BUCKET, key=KEY, version=GENERATION)


@pytest.fixture
def google() -> Google:
    return Google()


async def refused(google: Google, token: str) -> None:
    with pytest.raises(NotAuthentic) as refusal:
        await google.door.open(google.envelope(token=token))
    assert refusal.value.detail == NotAuthentic().detail


async def test_what_pubsub_sends_is_read(google: Google) -> None:
    for _ in range(3):
        assert await google.door.open(google.envelope()) == Opened(hints=(HINT,))
    assert google.pages.asked == [CERTS]


@pytest.mark.parametrize("issuer", ["https://accounts.google.com", "accounts.google.com"])
async def test_google_spells_its_name_in_two_ways(google: Google, issuer: str) -> None:
    assert (await google.door.open(google.envelope(token=google.token(iss=issuer)))).hints


# --- forged


async def test_without_a_token_nobody_is_heard(google: Google) -> None:
    bodies: list[dict[str, str]] = [
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": google.token()},
        {"authorization": f"Basic {google.token()}"},
        {"authorization": f"Token {google.token()}"},
    ]
    for headers in bodies:
        with pytest.raises(NotAuthentic):
            await google.door.open(google.envelope(**headers))
    assert google.pages.asked == []


async def test_a_token_by_another_key_is_refused(google: Google) -> None:
    await refused(google, google.token(by="two"))  # a key id that Google does not have
    await refused(google, google.token(by="two", header={"kid": "one"}))


async def test_no_other_algorithm_is_taken(google: Google) -> None:
    """`none`; and HS256 with what everybody knows, certificate or key, as the secret (RFC 8725, section 2.1)."""
    for alg in ("none", "None", "HS256", "RS384", "RS512", "PS256", "ES256", "", None, 7, ["RS256"], "RS256 "):
        await refused(google, google.token(header={"alg": alg}))
    claims = base64url(json.dumps(google.claims()).encode())
    text = base64url(b'{"alg": "none", "kid": "one"}') + f".{claims}"
    await refused(google, f"{text}.")
    await refused(google, text)
    page = google.pages.pages[CERTS]
    assert isinstance(page, bytes)
    public = rsa_key("one").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = base64url(b'{"alg": "HS256", "kid": "one"}') + f".{claims}"
    for secret in (json.loads(page)["one"].encode(), public, page):
        await refused(google, f"{text}.{base64url(hmac.digest(secret, text.encode(), hashlib.sha256))}")


@pytest.mark.parametrize("header", [{"kid": None}, {"kid": ""}, {"kid": 7}, {"kid": ["one"]}, {"crit": ["b64"]}])
async def test_a_header_that_leaves_open_which_key_or_wants_more_is_refused(
    google: Google, header: dict[str, Any]
) -> None:
    await refused(google, google.token(header=header))


async def test_a_header_without_a_key_is_refused(google: Google) -> None:
    await refused(google, signed({"alg": "RS256", "typ": "JWT"}, google.claims(), rsa_key("one")))


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": None},
        {"aud": ""},
        {"aud": AUDIENCE + "/"},
        {"aud": AUDIENCE.upper()},
        {"aud": "https://somebody-else.example/"},
        {"aud": [AUDIENCE]},
        {"aud": {AUDIENCE: 1}},
        {"iss": None},
        {"iss": "https://accounts.google.com/"},
        {"iss": "https://accounts.google.com.evil.example"},
        {"iss": "https://securetoken.google.com/acme"},
        {"iss": 7},
        {"email": None},
        {"email": "somebody@acme.iam.gserviceaccount.com"},
        {"email": PUSHER.upper()},
        {"email": f"{PUSHER} "},
        {"email": [PUSHER]},
        {"email_verified": None},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": 1},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": True},
        {"iat": None},
        {"iat": "now"},
        {"iat": float("nan")},
        {"iat": []},
        {"iat": -float("inf")},
    ],
    ids=str,
)
async def test_a_token_that_google_signed_for_somebody_or_something_else_is_refused(
    google: Google, claims: dict[str, Any]
) -> None:
    await refused(google, google.token(**claims))


async def test_a_token_lives_between_its_times_and_no_longer(google: Google) -> None:
    """Seconds of a real clock: a few of them are left for whoever is slow."""
    now = int(time.time())
    for good in ({"exp": now - SKEW_SECONDS + 10}, {"iat": now + SKEW_SECONDS - 2}):
        assert (await google.door.open(google.envelope(token=google.token(**good)))).hints
    for bad in ({"exp": now - SKEW_SECONDS - 1}, {"iat": now + SKEW_SECONDS + 10}, {"exp": 0}, {"iat": now + 86_400}):
        await refused(google, google.token(**bad))


async def test_no_part_of_one_token_goes_with_another(google: Google) -> None:
    one, other = google.token().split("."), google.token(email="somebody@acme.iam.gserviceaccount.com").split(".")
    await refused(google, f"{one[0]}.{other[1]}.{one[2]}")
    await refused(google, f"{one[0]}.{one[1]}.{other[2]}")
    await refused(google, f"{one[0]}.{one[1]}.")
    await refused(google, f"{one[0]}.{one[1]}.{one[2]}.{one[2]}")
    await refused(google, ".".join([*one[:2], base64url(b"0" * 256)]))


@pytest.mark.parametrize("token", ["x", "..", "a.b.c", ".".join(["e30"] * 3), "é.é.é", "W10.W10.W10", "A" * 100_000])
async def test_what_is_no_token_is_refused(google: Google, token: str) -> None:
    await refused(google, token)
    assert google.pages.asked == []


async def test_claims_so_deep_that_nobody_reads_them_are_refused(google: Google) -> None:
    deep = base64url(b"[" * 5_000)
    head = google.token().split(".")[0]
    await refused(google, f"{head}.{deep}.AAAA")
    await refused(google, f"{deep}.{deep}.AAAA")


# --- the certificates


async def test_while_certificates_cannot_be_had_pubsub_is_asked_to_send_again(google: Google) -> None:
    google.unavailable()
    with pytest.raises(SenderUnavailable):
        await google.door.open(google.envelope())
    await refused(google, google.token(header={"alg": "none"}))
    await refused(google, "")


async def test_a_token_by_a_key_that_google_began_to_use_is_taken(google: Google) -> None:
    assert (await google.door.open(google.envelope())).hints
    google.publish("one", "two")
    google.clock.advance(ASK_AGAIN_AFTER)
    assert (await google.door.open(google.envelope(token=google.token(by="two")))).hints
    assert len(google.pages.asked) == 2


async def test_a_storm_of_forged_keys_asks_google_once(google: Google) -> None:
    assert (await google.door.open(google.envelope())).hints
    google.clock.advance(ASK_AGAIN_AFTER)
    for number in range(30):
        await refused(google, google.token(by="two", header={"kid": f"made-up-{number}"}))
    assert len(google.pages.asked) == 2


# --- what is said


@pytest.mark.parametrize("subscription", ["", "projects/acme/subscriptions/other", SUBSCRIPTION + "x"])
async def test_only_listed_subscriptions_speak(subscription: str) -> None:
    google = Google(subscriptions=frozenset({SUBSCRIPTION}))
    assert (await google.door.open(google.envelope())).hints
    with pytest.raises(NotAuthentic):
        await google.door.open(google.envelope(pushed(told(), subscription)))


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"null", {}, {"message": 7}, records(aws(KEY)), told()], ids=str)
async def test_a_body_that_nobody_can_read_is_counted_when_its_sender_is_known(google: Google, body: object) -> None:
    google = Google(subscriptions=frozenset({SUBSCRIPTION}))
    shown = pushed(7) if body == {"message": 7} else body
    opened = await google.door.open(google.envelope(shown))
    assert (len(opened.hints), opened.ignored, opened.malformed) == (0, 0, 1)
    with pytest.raises(NotAuthentic):
        await google.door.open(google.envelope(shown, token=google.token(aud="x")))


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ({"aud": "x"}, "time or audience"),
        ({"exp": 0}, "time or audience"),
        ({"iss": "x"}, "claims"),
        ({"email": "x"}, "service account"),
        ({"by": "two"}, "key"),
        ({"by": "two", "header": {"kid": "one"}}, "signature"),
        ({"header": {"alg": "none"}}, "header"),
    ],
)
async def test_the_operator_and_nobody_else_is_told_why(
    google: Google, caplog: pytest.LogCaptureFixture, token: dict[str, Any], why: str
) -> None:
    text = google.token(**token)
    await refused(google, text)
    assert [(record.message, vars(record)["why"]) for record in caplog.records] == [("pubsub.refused", why)]
    assert text not in caplog.text
    assert PUSHER not in caplog.text


async def test_no_token_stands_in_a_log_line(google: Google, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = google.token()
    await google.door.open(google.envelope(token=token))
    google.unavailable()
    google.clock.advance(ASK_AGAIN_AFTER)
    with pytest.raises(SenderUnavailable):
        await google.door.open(google.envelope(token=google.token(by="two")))
    assert not [part for part in token.split(".") if part in caplog.text]


GOOD = Google().token()


@settings(deadline=None)
@given(at=st.integers(0, len(GOOD)), junk=st.text(st.characters(codec="latin-1"), max_size=6))
def test_no_damaged_token_opens_the_door(at: int, junk: str) -> None:
    """base64 has spellings of its own: what still means the same is still the same token."""
    google = Google()
    damaged = GOOD[:at] + junk + GOOD[at + len(junk) :]
    try:
        opened = asyncio.run(google.door.open(google.envelope(token=damaged)))
    except NotAuthentic:
        return
    assert opened.hints == (HINT,)
    assert _meaning(damaged) == _meaning(GOOD)


def _meaning(token: str) -> list[str]:
    alphabet = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    return "".join(letter for letter in token.strip() if letter in alphabet).split(".")[:2]


values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.text(), max_size=2)
)
CLAIMS = ["aud", "email", "email_verified", "exp", "iat", "iss"]


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(CLAIMS), values, min_size=1),
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit"]), values),
)
def test_no_claim_of_any_kind_breaks_the_door(claims: dict[str, Any], header: dict[str, Any]) -> None:
    google = Google()
    try:
        asyncio.run(google.door.open(google.envelope(token=google.token(header=header, **claims))))
    except (NotAuthentic, SenderUnavailable):
        return
    now = time.time()
    assert claims.get("aud", AUDIENCE) == AUDIENCE
    assert claims.get("email", PUSHER) == PUSHER
    assert claims.get("email_verified", True) is True
    assert claims.get("exp", now) + SKEW_SECONDS >= now - 60
    assert claims.get("iat", now) - SKEW_SECONDS <= now + 60
