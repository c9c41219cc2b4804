"""Which addresses may be dialled: those of the public internet, unless an operator said otherwise.

A receiver's name may lead anywhere, and elsewhere the next moment (server-side request forgery, DNS rebinding). So the
guard stands at the last place there is: where the socket is made, for the very address that is dialled next, whether it
came from a name or stood in the URL.
"""

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

_UNICAST = IPv6Network("2000::/3")  # IANA IPv6 Address Space: all that is assigned as global unicast
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 section 2.1: the last four bytes are where it leads


class AddressRefused(OSError):
    """The address is not public."""


def is_public(address: str) -> bool:
    """Whether an address, as `getaddrinfo` spells it, belongs to the public internet; in doubt it does not."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _is_public_v4(parsed)
    inner = _inner(parsed)
    if inner is not None:
        return _is_public_v4(inner)
    return parsed in _UNICAST and parsed.is_global and parsed.scope_id is None and parsed.teredo is None


def _is_public_v4(address: IPv4Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inner(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one leads to: mapped, translated (NAT64) or tunnelled (6to4)."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def guarded_socket(info: tuple[Any, ...]) -> socket.socket:
    """A socket for one result of `getaddrinfo`.

    :raises AddressRefused: it is not to be dialled.
    """
    family, kind, protocol, _, address = info
    if not is_public(address[0]):
        raise AddressRefused("the address is not public")  # without the address: all refusals read alike
    return socket.socket(family=family, type=kind, proto=protocol)
