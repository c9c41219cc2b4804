"""Which addresses are dialled: everything that is not the public internet is refused, however it is spelled."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.outbound.addresses import AddressRefused, guarded_socket, is_public

PRIVATE_V4 = [
    "0.0.0.0",  # noqa: S104
    "10.0.0.1",
    "100.64.0.1",  # carrier-grade NAT, and some clouds' metadata
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",  # the metadata service of every cloud
    "172.16.0.1",
    "172.31.255.255",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
]
PRIVATE_V6 = [
    "::",
    "::1",
    "::7f00:1",  # IPv4-compatible, deprecated
    "100::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
    "2001:db8::1",
    "64:ff9b:1::1",  # local-use NAT64, RFC 8215
    "fc00::1",
    "fd00:ec2::254",  # a metadata service, too
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"]


@pytest.mark.parametrize("address", [*PRIVATE_V4, *PRIVATE_V6])
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_dialled(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE_V4)
def test_a_private_address_inside_another_is_refused(address: str) -> None:
    number = int.from_bytes(socket.inet_aton(address))
    high, low = f"{number >> 16:x}", f"{number & 0xFFFF:x}"
    for disguise in (f"::ffff:{address}", f"64:ff9b::{high}:{low}", f"2002:{high}:{low}::1"):
        assert not is_public(disguise), disguise


def test_a_public_address_behind_nat64_is_dialled() -> None:
    assert is_public("64:ff9b::101:101")
    assert is_public("::ffff:1.1.1.1")


@pytest.mark.parametrize("text", ["", "localhost", "2130706433", "0x7f.1", "127.1", "1.1.1.1 ", "[::1]"])
def test_what_is_no_address_is_refused(text: str) -> None:
    assert not is_public(text)


@given(st.ip_addresses())
def test_every_address_has_an_answer(address: object) -> None:
    assert is_public(str(address)) in {True, False}


def test_no_socket_is_made_for_a_refused_address() -> None:
    with pytest.raises(AddressRefused) as refused:
        guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 443)))
    assert "10.0.0.1" not in str(refused.value)
    guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", 443))).close()
