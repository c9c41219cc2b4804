"""Request bodies: counted while they come in, decoded strictly, refused with a pointer to the field at fault."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
from litestar import Request
from litestar.types import Receive

from broker.api.answers import JSON, request_headers
from broker.api.pointers import field_problem, lone_surrogate, repeated_name
from broker.contract import MAX_BODY_BYTES, FieldProblem
from broker.domain.errors import BodyTooLarge, BodyTypeUnsupported, InvalidInput, MalformedRequest, NotJson

T = TypeVar("T")


class JsonBody(Generic[T]):
    """Reads a body of one type. `default` stands for an absent body, where one may be absent."""

    def __init__(self, kind: type[T], *, default: T | None = None) -> None:
        self._decode = msgspec.json.Decoder(kind).decode
        self._default = default

    async def read(self, request: Request[Any, Any, Any]) -> T:
        """:raises BodyTooLarge, BodyTypeUnsupported, NotJson, InvalidInput:"""
        body = await read_json(request)
        if not body and self._default is not None:
            return self._default
        return parsed(self._decode, body)


def parsed(decode: Callable[[bytes], T], body: bytes, *, at: str = "") -> T:
    """:param at: pointer to what `body` is a part of.
    :raises NotJson, InvalidInput: naming the field.
    """
    wanted = decoded(decode, body, at=at)
    need_distinct_names(body, at=at)
    return wanted


def decoded(decode: Callable[[bytes], T], body: bytes, *, at: str = "") -> T:
    """The same, but that of two equal names the last one wins."""
    try:
        if not body.isascii():
            body.decode()  # RFC 8259 section 8.1; a Raw member is not looked at by the decoder
        return decode(body)
    except msgspec.ValidationError as broken:
        fault = field_problem(str(broken))
    except (ValueError, RecursionError) as broken:
        fault = _explained(body, broken)
    raise _refusal(fault, at)


def need_distinct_names(body: bytes, *, at: str = "") -> None:
    """:raises InvalidInput: an object of `body`, which was decoded, gives a name twice."""
    try:
        fault = repeated_name(body)
    except (ValueError, RecursionError) as broken:
        fault = _explained(body, broken)
    if fault is not None:
        raise _refusal(fault, at)


def _refusal(fault: FieldProblem, at: str) -> InvalidInput:
    fault = msgspec.structs.replace(fault, pointer=at + fault.pointer)
    return InvalidInput(_detail(fault), errors=(fault,))


def origin_of(request: Request[Any, Any, Any]) -> str | None:
    """Of the page that asks, as its browser says (RFC 6454 section 7); None where none does."""
    origin = request_headers(request.scope).get(b"origin")
    return None if origin is None else origin.decode("latin-1")


async def read_json(request: Request[Any, Any, Any]) -> bytes:
    """What says that it is JSON, not parsed; perhaps nothing.

    :raises BodyTooLarge, BodyTypeUnsupported:
    """
    body = await read_body(request)
    if body and not _is_json(request_headers(request.scope).get(b"content-type", b"")):
        raise BodyTypeUnsupported
    return body


async def read_body(request: Request[Any, Any, Any]) -> bytes:
    """At most `MAX_BODY_BYTES`, whatever Content-Length says.

    :raises BodyTooLarge:
    """
    announced = request_headers(request.scope).get(b"content-length", b"")
    if len(announced) > len(str(MAX_BODY_BYTES)) or (announced.isdigit() and int(announced) > MAX_BODY_BYTES):
        raise BodyTooLarge
    body, has_more = await _next_chunk(request.receive)
    if has_more:
        body = await _joined(body, request.receive)
    if len(body) > MAX_BODY_BYTES:
        raise BodyTooLarge
    return body


async def _joined(first: bytes, receive: Receive) -> bytes:
    chunks, count, has_more = [first], len(first), True
    while has_more:
        chunk, has_more = await _next_chunk(receive)
        chunks.append(chunk)
        count += len(chunk)
        if count > MAX_BODY_BYTES:
            raise BodyTooLarge
    return b"".join(chunks)


async def _next_chunk(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] != "http.request":
        raise MalformedRequest("the client went away before the body had ended")
    return message.get("body", b""), message.get("more_body", False)


def _is_json(content_type: bytes) -> bool:
    """JSON has one encoding (RFC 8259 section 8.1), so a charset parameter is of no consequence."""
    return content_type == JSON or content_type.partition(b";")[0].strip().lower() == JSON


def _explained(body: bytes, broken: Exception) -> FieldProblem:
    """A string that is no text is a fault of one field; everything else is not JSON at all.

    :raises NotJson:
    """
    try:
        fault = lone_surrogate(body)
    except (ValueError, RecursionError):
        fault = None
    if fault is None:
        raise NotJson(_reason(broken)) from broken
    return fault


def _reason(broken: Exception) -> str:
    if isinstance(broken, RecursionError):
        return "the JSON is nested too deeply"
    if isinstance(broken, UnicodeDecodeError):
        return "the body is not UTF-8"
    return str(broken)


def _detail(fault: FieldProblem) -> str:
    return f"{fault.pointer}: {fault.message}" if fault.pointer else fault.message
