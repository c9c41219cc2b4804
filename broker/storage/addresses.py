"""The address of a service: what an operator wrote, taken apart and spelled as it must be signed."""

from typing import Final
from urllib.parse import SplitResult, urlsplit

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def split_endpoint(url: str) -> SplitResult:
    """:raises ValueError: it is not http://host or https://host, or carries more than an address."""
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"endpoint {url!r} must be http://host or https://host, with a port where needed")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("an endpoint carries no user, query or fragment")
    return parts


def host_header(hostname: str, parts: SplitResult) -> str:
    """Return what clients send as Host when they call `hostname` as `parts` say: a default port is left out."""
    bracketed = f"[{hostname}]" if ":" in hostname else hostname
    if parts.port in {None, _DEFAULT_PORTS[parts.scheme]}:
        return bracketed
    return f"{bracketed}:{parts.port}"
