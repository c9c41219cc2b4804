"""What Pub/Sub answers when it does not do what it was asked, in our words: which subscription, which permission.

`google.rpc.Code` names by HTTP status ("Pub/Sub API error codes"); of a subscription with exactly-once delivery, an
`ErrorInfo` says of each ack id what became of it ("Exactly-once delivery", "Handle acknowledgment failures"). What
Google says beyond that is not repeated: it names projects and principals.
"""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from msgspec import Raw, Struct

from broker.domain.errors import BrokerError, CredentialsUnavailable, SourceRefused, SourceUnavailable

_MEANINGS: Mapping[int, tuple[type[BrokerError], str]] = {
    400: (SourceRefused, "{subscription} does not take the call; is it one that is pulled?"),
    401: (CredentialsUnavailable, "the credential is not accepted for {subscription}"),
    403: (SourceRefused, "{permission} on {subscription} is not permitted"),
    404: (SourceRefused, "there is no subscription {subscription}"),
    429: (SourceUnavailable, "{subscription} asks for patience"),
}
_OTHERWISE = (SourceUnavailable, "{subscription} fails")


class _Detail(Struct, frozen=True):
    metadata: Raw = Raw(b"null")


class _Error(Struct, frozen=True):
    details: tuple[_Detail, ...] = ()


class _Refusal(Struct, frozen=True):
    error: _Error


_decode_refusal = msgspec.json.Decoder(_Refusal).decode
_decode_metadata = msgspec.json.Decoder(dict[str, str]).decode
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeError)


def understood(status: int, *, source: str, subscription: str, permission: str) -> BrokerError:
    """:param permission: the one that the call needs, as IAM spells it."""
    kind, sentence = _MEANINGS.get(status, _OTHERWISE)
    return kind(
        f"sources.{source}: {sentence.format(subscription=subscription, permission=permission)} ({_name(status)})"
    )


def fates_in(body: bytes) -> dict[str, bool]:
    """Ack ids that were not taken, and whether another try may help. Empty: nothing is said of any."""
    try:
        details = _decode_refusal(body).error.details
    except _UNREADABLE:
        return {}
    return {ack_id: fate.startswith("TRANSIENT_") for detail in details for ack_id, fate in _fates(detail)}


def _fates(detail: _Detail) -> list[tuple[str, str]]:
    """Other details have metadata of their own, with other words."""
    try:
        metadata = _decode_metadata(detail.metadata)
    except _UNREADABLE:
        return []
    return [
        (name, word) for name, word in metadata.items() if word.startswith(("TRANSIENT_FAILURE", "PERMANENT_FAILURE"))
    ]


def _name(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
