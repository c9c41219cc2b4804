"""Who calls, and what his key is for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.errors import ConfigurationInvalid, Forbidden, Unauthenticated
from broker.domain.principals import ApiKey, Role, check_key_id, hash_of, is_key, key_id_in, new_key_text

TEXT = new_key_text("app")
KEY = ApiKey(id="app", hashes=(hash_of(TEXT),), roles=frozenset({Role.MINT}))


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True))
def test_the_id_is_found_again_in_its_text(key_id: str) -> None:
    text = new_key_text(key_id)
    assert key_id_in(text) == key_id
    assert text.isascii()


def test_no_two_texts_are_the_same() -> None:
    assert new_key_text("app") != new_key_text("app")


BROKEN = ["", "ub", "ub_", "ub__", "ub_app", "ub_app_", "ub__secret", "xx_app_secret", "UB_app_secret"]
UNFIT = ["a b", "a:b", "{00}", "a\n", "é", "\ud800", "a" * 65, "-a"]


@pytest.mark.parametrize("text", [*BROKEN, *(f"ub_{key_id}_secret" for key_id in UNFIT)])
def test_what_is_not_the_text_of_a_key_names_nobody(text: str) -> None:
    with pytest.raises(Unauthenticated):
        key_id_in(text)


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    for candidate in (text, f"ub_{text}", f"ub_{text}_x"):
        try:
            check_key_id(key_id_in(candidate))
        except Unauthenticated:
            continue


@pytest.mark.parametrize("key_id", ["", "a b", "é", "a/b", "_a", ".a", "a\n", "a" * 65, "a:b", "{00}"])
def test_an_id_that_would_not_survive_in_a_header_is_refused(key_id: str) -> None:
    with pytest.raises(ConfigurationInvalid):
        new_key_text(key_id)


def test_only_the_text_whose_hash_rests_here_is_the_key() -> None:
    assert is_key(KEY, TEXT)
    for other in ("", TEXT[:-1], TEXT + "a", TEXT.upper(), new_key_text("app"), "é", "\ud800", KEY.hashes[0]):
        assert not is_key(KEY, other)


@pytest.mark.parametrize("text", ["", TEXT, "x"])
def test_a_key_that_does_not_exist_has_no_text(text: str) -> None:
    assert not is_key(None, text)
    assert not is_key(ApiKey(id="app", hashes=(), roles=frozenset()), text)


def test_two_texts_are_good_while_a_key_is_rotated() -> None:
    other = new_key_text("app")
    both = ApiKey(id="app", hashes=(hash_of(other), hash_of(TEXT)), roles=frozenset())
    assert is_key(both, TEXT)
    assert is_key(both, other)


@pytest.mark.parametrize("held", Role)
@pytest.mark.parametrize("wanted", Role)
def test_a_key_of_one_role_is_refused_where_another_is_wanted(held: Role, wanted: Role) -> None:
    key = ApiKey(id="app", hashes=(), roles=frozenset({held}))
    if held in {wanted, Role.ADMIN}:
        key.require(wanted)
    else:
        with pytest.raises(Forbidden):
            key.require(wanted)


def test_a_key_uses_its_own_destinations() -> None:
    assert KEY.may_use("anything")
    limited = ApiKey(id="app", hashes=(), roles=frozenset(), destinations=("eu",))
    assert limited.may_use("eu")
    assert not limited.may_use("us")
    assert not limited.may_use("*")
    assert not ApiKey(id="app", hashes=(), roles=frozenset(), destinations=()).may_use("eu")
