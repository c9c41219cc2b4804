"""A token is good for one thing, for one time; nobody else's and no other."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.keys import new_session_id
from broker.domain.tokens import Tokens, derive
from tests.clock import START
from tests.unit.domain.samples import ID

OLD, NEW = b"o" * 32, b"n" * 32
TOKENS = Tokens([NEW])
END = START.replace(hour=20)
OTHER = new_session_id(1)
SESSION_TOKEN = TOKENS.for_session(ID, END, 0)
LEASE_TOKEN = TOKENS.for_lease(ID, 3, START)

GARBAGE = [
    "",
    "_",
    "__",
    "us_",
    "us__",
    "ul_",
    "us_é_x",
    "us_\ud800_x",
    "ul_é",
    "ul_\ud800",
    "us_-1_x",
    "us_x_y",
    "\0",
    "us_1_" * 99,
]


def test_a_session_token_opens_its_session_until_it_ends() -> None:
    assert TOKENS.opens_session(SESSION_TOKEN, ID, START)
    assert TOKENS.opens_session(SESSION_TOKEN, ID, END.replace(hour=19, minute=59, second=59))
    assert not TOKENS.opens_session(SESSION_TOKEN, ID, END)


def test_it_opens_no_other_session_and_no_lease() -> None:
    assert not TOKENS.opens_session(SESSION_TOKEN, OTHER, START)
    assert not TOKENS.opens_lease(SESSION_TOKEN, ID, 0)
    assert not TOKENS.opens_session(LEASE_TOKEN, ID, START)


def test_it_cannot_be_made_to_last() -> None:
    kind, end, mac = SESSION_TOKEN.split("_", 2)
    moment, _, generation = end.partition(".")
    later = f"{int(moment, 16) + 3600:x}.{generation}"
    for forged in (
        later,
        f"{moment}.1",
        moment,
        f"0{end}",
        end.upper() + "f",
        f"+{end}",
        f" {end}",
        f"{end} ",
        "",
        f"{ID}|{end}",
    ):
        assert not TOKENS.opens_session(f"{kind}_{forged}_{mac}", ID, START)


@pytest.mark.parametrize("generation", [0, 1, 15, 16, 2**40])
def test_it_says_the_generation_of_its_key(generation: int) -> None:
    token = TOKENS.for_session(ID, END, generation)
    assert TOKENS.opens_session(token, ID, START)
    assert TOKENS.generation_in(token) == generation


def test_ids_and_ends_do_not_run_into_each_other() -> None:
    _, end, mac = SESSION_TOKEN.split("_", 2)
    assert not TOKENS.opens_session(f"us_{end}_{mac}", f"{ID}|{end}", START)
    assert not TOKENS.opens_session(f"us__{mac}", f"{ID}|{end}", START)


def test_a_lease_token_is_for_one_epoch_of_one_job() -> None:
    assert TOKENS.opens_lease(LEASE_TOKEN, ID, 3) == START
    assert TOKENS.for_lease(ID, 3, START + timedelta(milliseconds=1)) != LEASE_TOKEN
    for job, epoch in ((ID, 2), (ID, 4), (ID, 33), (ID, -3), (OTHER, 3), (f"{ID}|3", 3), (ID, 10**4000)):
        assert not TOKENS.opens_lease(LEASE_TOKEN, job, epoch)


@given(st.integers(0, len(SESSION_TOKEN) - 1), st.characters())
def test_one_changed_character_spoils_a_token(at: int, character: str) -> None:
    for token, opens in (
        (SESSION_TOKEN, lambda text: TOKENS.opens_session(text, ID, START)),
        (LEASE_TOKEN, lambda text: TOKENS.opens_lease(text, ID, 3) is not None),
    ):
        forged = token[: at % len(token)] + character + token[at % len(token) + 1 :]
        assert opens(forged) == (forged == token)


@pytest.mark.parametrize("text", GARBAGE)
def test_garbage_opens_nothing_and_breaks_nothing(text: str) -> None:
    for job in (ID, "", "é", "\ud800"):
        assert not TOKENS.opens_session(text, job, START)
        assert not TOKENS.opens_lease(text, job, 0)


@given(st.text(), st.text(), st.integers())
def test_no_text_is_a_token(text: str, job: str, epoch: int) -> None:
    assert not TOKENS.opens_session(text, job, START)
    assert not TOKENS.opens_session(f"us_{text}", job, START)
    assert not TOKENS.opens_lease(text, job, epoch)


def test_while_keys_are_rotated_old_tokens_stay_good_and_new_ones_come_from_the_first() -> None:
    rotated = Tokens([OLD, NEW])
    assert rotated.opens_session(SESSION_TOKEN, ID, START)
    assert rotated.opens_lease(LEASE_TOKEN, ID, 3)
    assert not TOKENS.opens_session(rotated.for_session(ID, END, 0), ID, START)
    assert not TOKENS.opens_lease(rotated.for_lease(ID, 3, START), ID, 3)
    assert not Tokens([OLD]).opens_session(SESSION_TOKEN, ID, START)


def test_a_key_serves_each_purpose_with_another_key() -> None:
    keys = {derive(NEW, purpose) for purpose in (b"session-token", b"lease-token", b"capsule")}
    assert len(keys) == 3


def test_keys_are_derived_as_rfc_5869_does() -> None:
    # RFC 5869 appendix A.1, the expand step.
    prk = bytes.fromhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
    okm = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    assert derive(prk, bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"), length=42).hex() == okm
