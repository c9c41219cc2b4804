"""What an attacker may do to a signed request on its way: each returns a neighbour of what was signed."""

import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from tests.contracts.storage.wire import Wire

Change = Callable[[Wire], Wire]


def with_header(name: str, value: str) -> Change:
    return lambda wire: replace(wire, headers={**wire.headers, name: value})


def without_header(name: str) -> Change:
    return lambda wire: replace(wire, headers={each: value for each, value in wire.headers.items() if each != name})


def with_body(body: bytes) -> Change:
    return lambda wire: replace(wire, body=body)


def with_method(method: str, body: bytes | None = None) -> Change:
    return lambda wire: replace(wire, method=method, body=wire.body if body is None else body)


def in_url(old: str, new: str) -> Change:
    def change(wire: Wire) -> Wire:
        assert old in wire.url
        return replace(wire, url=wire.url.replace(old, new))

    return change


def with_query_before(pair: str) -> Change:
    return lambda wire: replace(wire, url=wire.url.replace("?", f"?{pair}&", 1))


def with_query_after(pair: str) -> Change:
    return lambda wire: replace(wire, url=f"{wire.url}&{pair}")


def with_query_value(name: str, value: str | None) -> Change:
    """Another value of a parameter that was signed; None leaves it out."""

    def change(wire: Wire) -> Wire:
        pair = "" if value is None else f"{name}={value}&"
        url, count = re.subn(rf"(?<=[?&]){name}=[^&]*&", pair, wire.url)
        assert count == 1
        return replace(wire, url=url)

    return change


def with_scope_part(index: int, value: str) -> Change:
    """Another date (1), region (2), service (3) or terminal (4) in the credential that a signature names."""

    def change(wire: Wire) -> Wire:
        head, name, rest = re.split(r"(X-\w+-Credential=)", wire.url, maxsplit=1)
        credential, _, tail = rest.partition("&")
        parts = credential.split("%2F")
        parts[index] = value
        return replace(wire, url=f"{head}{name}{'%2F'.join(parts)}&{tail}")

    return change


def on_path(path: str) -> Change:
    """The same query on another resource, for instance the bucket itself."""
    return lambda wire: replace(wire, url=wire.url.replace(urlsplit(wire.url).path, path, 1))


def flipped_signature(wire: Wire) -> Wire:
    return replace(wire, url=wire.url[:-1] + ("0" if wire.url[-1] != "0" else "1"))


def unsigned(wire: Wire) -> Wire:
    return replace(wire, url=wire.url.partition("?")[0])
