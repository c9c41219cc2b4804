"""Secrets that a sender presents, where it cannot sign."""

import base64
import binascii
import hmac
from collections.abc import Iterable

from broker.domain.errors import NotAuthentic
from broker.ports import Envelope


def in_authorization(envelope: Envelope) -> str:
    """A Bearer token, or a Basic password (RFC 7617; the user name is the sender's own business). Empty: neither."""
    scheme, rest = _authorization(envelope)
    return _password(rest) if scheme == "basic" else bearer_in(envelope)


def bearer_in(envelope: Envelope) -> str:
    """A Bearer token (RFC 6750 section 2.1). Empty: none."""
    scheme, rest = _authorization(envelope)
    return rest.strip() if scheme == "bearer" else ""


def require_one(presented: Iterable[str], known: Iterable[str]) -> None:
    """:raises NotAuthentic: none of what was presented is known."""
    given = [text.encode(errors="replace") for text in presented if text]
    secrets = [secret.encode() for secret in known]
    if not any([hmac.compare_digest(a, b) for a in given for b in secrets]):  # noqa: C419 - every pair, always
        raise NotAuthentic


def _authorization(envelope: Envelope) -> tuple[str, str]:
    scheme, _, rest = envelope.headers.get("authorization", "").partition(" ")
    return scheme.lower(), rest


def _password(text: str) -> str:
    try:
        return base64.b64decode(text.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
