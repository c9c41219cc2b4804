"""No file name steers a path, and no key that an attacker names is taken for one of ours."""

import string
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.domain.keys import (
    MAX_FILENAME_BYTES,
    MAX_KEY_BYTES,
    SHARDS_LIMIT,
    is_session_id,
    new_session_id,
    object_key,
    safe_filename,
    session_id_in,
    shard_for,
    shard_of,
)

NASTY = st.sampled_from(
    [
        "/",
        "\\",
        "..",
        ".",
        " ",
        "_",
        "\0",
        "\r\n",
        "\x7f",
        "\x85",
        "\u202e",
        "\u2066",
        "\u200d",
        "\u2028",
        "\ufeff",
        "é",
        "é",
    ]
)
names = st.one_of(
    st.text(max_size=400),
    st.lists(NASTY | st.text(max_size=5), max_size=120).map("".join),
    st.text("a.é_ ", min_size=200, max_size=400),
)


@given(names)
@example("a" * 200 + "." + "b" * 60 + ".txt")
@example("x" * 250 + ".." + "y" * 10)
@example("a" * 250 + ".b" + "." + "c" * 30)
@example("<\u0338/..\\")
@example("\u037e\u212a")
def test_a_safe_name_is_one_bounded_path_segment(name: str) -> None:
    safe = safe_filename(name)
    assert safe not in {"", ".", ".."}
    assert ".." not in safe
    assert not set(safe) & set('/\\:*?"<>|')
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in safe)
    assert len(safe.encode()) <= MAX_FILENAME_BYTES
    assert safe[0] not in " ._"
    assert safe[-1] not in " ._"


@given(names)
@example("a" * 255 + " b")
@example("a" * 240 + "." + "b" * 20)
def test_a_safe_name_is_safe_already(name: str) -> None:
    assert safe_filename(safe_filename(name)) == safe_filename(name)


@pytest.mark.parametrize(
    "name", ["rapport été.csv", "日本語のファイル.txt", "данные.tar.gz", "🎉.png", "a-b_c (1).pdf"]
)
def test_unicode_and_ordinary_punctuation_survive(name: str) -> None:
    assert safe_filename(name) == name


def test_one_name_has_one_spelling() -> None:
    assert safe_filename("e\u0301.txt") == safe_filename("\u00e9.txt") == "\u00e9.txt"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "etc_passwd"),
        ("C:\\temp\\x.txt", "C__temp_x.txt"),
        ("invoice\u202efdp.exe", "invoice_fdp.exe"),
        ("...", "file"),
        (" ", "file"),
        ("\0", "file"),
        (".htaccess", "htaccess"),
        ("a\nb\r\nc", "a_b__c"),
    ],
)
def test_syntax_does_not_survive(name: str, safe: str) -> None:
    assert safe_filename(name) == safe


def test_a_long_name_keeps_its_extension_and_is_never_cut_within_a_character() -> None:
    safe = safe_filename("é" * 400 + ".csv")
    assert safe.endswith("é.csv")
    assert len(safe.encode()) in {MAX_FILENAME_BYTES, MAX_FILENAME_BYTES - 1}


def test_a_name_cut_next_to_a_dot_gets_no_second_one() -> None:
    assert ".." not in safe_filename("a" * 250 + "." + "b" * 10 + ".txt")


def test_the_longest_key_fits_into_every_store() -> None:
    key = object_key("p" * 256, new_session_id(0), "ü" * 1024)
    assert len(key.encode()) <= MAX_KEY_BYTES


@given(st.integers(0, SHARDS_LIMIT - 1))
def test_an_id_carries_its_shard(shard: int) -> None:
    session_id = new_session_id(shard)
    assert is_session_id(session_id)
    assert int(shard_of(session_id), 16) == shard


def test_ids_are_never_the_same() -> None:
    assert len({new_session_id(7) for _ in range(10_000)}) == 10_000


def test_every_place_of_an_id_takes_every_digit() -> None:
    ids = [new_session_id(7) for _ in range(2_000)]
    assert [len({one[place] for one in ids}) for place in range(2, 28)] == [32] * 26


@given(st.text(), st.text(max_size=255), st.integers(1, SHARDS_LIMIT))
def test_a_repeated_request_finds_its_shard_again(principal: str, key: str, shards: int) -> None:
    try:
        principal.encode(), key.encode()
    except UnicodeEncodeError:
        return
    shard = shard_for(principal, key, shards)
    assert shard == shard_for(principal, key, shards)
    assert 0 <= shard < shards


prefixes = st.from_regex(r"[A-Za-z0-9!_.*'()-]{1,20}(/[A-Za-z0-9!_.*'()-]{1,20}){0,3}", fullmatch=True) | st.just("")


@given(prefixes, names, st.integers(0, SHARDS_LIMIT - 1))
def test_the_id_is_found_again_in_its_own_key(prefix: str, name: str, shard: int) -> None:
    session_id = new_session_id(shard)
    assert session_id_in(prefix, object_key(prefix, session_id, name)) == session_id


ID = "00" + "a" * 26


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "uploads",
        "uploads/",
        "uploads//",
        f"uploads/{ID}",
        f"uploads/{ID}/",
        f"uploads//{ID}/f",
        f"/uploads/{ID}/f",
        f"{ID}/f",
        f"other/{ID}/f",
        f"uploadsx/{ID}/f",
        f"uploads/x/{ID}/f",
        f"uploads/{ID.upper()}/f",
        f"uploads/{ID}a/f",
        f"uploads/{ID[:-1]}/f",
        f"uploads/{ID[:-1]}\n/f",
        f"uploads/{ID}\n/f",
        f"uploads/0g{'a' * 26}/f",
        f"uploads/00{'1' * 26}/f",
        f"uploads/../uploads/{ID}/f",
        f"uploads/{{00}}{'a' * 24}/f",
        "uploads/٠٠" + "a" * 26 + "/f",
    ],
)
def test_a_key_that_is_not_of_our_making_names_no_session(key: str) -> None:
    assert session_id_in("uploads", key) is None


@given(prefixes, st.text(string.printable) | st.text())
def test_no_key_is_too_strange(prefix: str, key: str) -> None:
    found = session_id_in(prefix, key)
    assert found is None or is_session_id(found)
