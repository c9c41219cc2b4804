"""Keyed hashes, against the standard library's."""

import hmac

from hypothesis import given
from hypothesis import strategies as st

from broker.domain.macs import Mac

KEYS = st.binary(max_size=200)


@given(KEYS, st.binary(max_size=300))
def test_a_mac_is_that_of_the_standard_library(key: bytes, message: bytes) -> None:
    expected = hmac.new(key, message, "sha256")
    assert Mac(key).digest(message) == expected.digest()
    assert Mac(key).hexdigest(message) == expected.hexdigest()


@given(KEYS, st.binary(max_size=200), st.lists(st.binary(max_size=100), max_size=3))
def test_messages_that_begin_alike_share_their_beginning(key: bytes, head: bytes, rests: list[bytes]) -> None:
    mac = Mac(key)
    begun = mac.after(head)
    assert [begun.digest(rest) for rest in rests] == [hmac.digest(key, head + rest, "sha256") for rest in rests]
    assert mac.digest(head) == hmac.digest(key, head, "sha256")


def test_a_key_is_not_shown() -> None:
    assert "secret" not in repr(Mac(b"secret"))
