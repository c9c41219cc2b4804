"""What goes over the wire before a body: where it goes, the request line and exactly the headers that were signed.

RFC 9112, sections 3 (request line, Host) and 6.2 (Content-Length). A changed escape breaks the signature, so that a
target is never parsed, only cut off; and nothing that the broker says can begin a second request.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from broker.contract import SignedRequest
from uploader.errors import Unreachable

METHODS = frozenset({"PUT", "POST"})  # their answers have a body of their own, and never that of another request
FRAMING = frozenset(  # ours to say: contract.SignedRequest promises that it names none of them
    {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where connections lead.

    :ivar preamble: what all requests to it have between their first line and their own headers.
    """

    host: str
    port: int
    is_tls: bool
    preamble: str


def cut(url: str) -> tuple[str, str]:
    """The text of the origin, and the target as it goes over the wire.

    :raises Unreachable: that is no URL.
    """
    end = url.find("/", len("https://"))
    if end < 0 or not (url.isascii() and url.isprintable()) or " " in url or "#" in url:
        raise _unusable()
    return url[:end], url[end:]


def origin_of(text: str, user_agent: str) -> Origin:
    """:raises Unreachable: that is no origin, or one with credentials in it."""
    try:
        parsed = urlsplit(text)
        port = parsed.port
    except ValueError:
        raise _unusable() from None
    scheme, host = parsed.scheme, parsed.hostname
    if scheme not in PORTS or not host or "@" in parsed.netloc or text.lower() != f"{scheme}://{parsed.netloc}".lower():
        raise _unusable()
    name = f"[{host}]" if ":" in host else host
    authority = name if port in {None, PORTS[scheme]} else f"{name}:{port}"
    return Origin(
        host=host,
        port=port or PORTS[scheme],
        is_tls=scheme == "https",
        preamble=f" HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {user_agent}\r\nContent-Length: ",
    )


def head(request: SignedRequest, target: str, origin: Origin, size_bytes: int) -> bytes:
    """:raises Unreachable: a method or a header that no signed request with a body has."""
    headers = request.headers
    if request.method not in METHODS or not FRAMING.isdisjoint(map(str.lower, headers)):
        raise Unreachable("the signed request is none for a body in memory")
    lines = "".join([f"\r\n{name}: {value}" for name, value in headers.items()])
    if lines.count("\r") != len(headers) or lines.count("\n") != len(headers) or "\0" in lines:
        raise Unreachable("the signed request holds no usable headers")
    return f"{request.method} {target}{origin.preamble}{size_bytes}{lines}\r\n\r\n".encode()


def _unusable() -> Unreachable:
    return Unreachable("the signed request holds no usable URL")
