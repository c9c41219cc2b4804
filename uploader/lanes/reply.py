"""An answer while it arrives: what httptools' parser calls back, and the `Answer` made of it.

RFC 9110, section 15.2 (any number of 1xx come before the answer); RFC 9112, sections 6.3 and 9.3 (where a body ends,
and whether the connection may be used again).
"""

from httptools import HttpResponseParser
from yarl import URL

from uploader.refusals import read_refusal
from uploader.retry import parse_retry_after
from uploader.sender import Answer
from uploader.witness import md5_of

HEARD = frozenset({b"etag", b"range", b"retry-after"})
ON_DIGESTS = (b"x-amz-server-side-encryption", b"x-goog-")  # whether an ETag is one, and where they stand instead


class Reply:
    """One answer after the other, of one connection.

    :ivar status: 0 until the head of the answer is complete.
    :ivar is_complete: its body is, too.
        What comes after that is nobody's answer, and changes nothing.
    :ivar is_last: the server ends the connection after it, or sent more than it was asked for.
    """

    __slots__ = ("_headers", "_text", "is_complete", "is_last", "parser", "reason", "status")

    def __init__(self) -> None:
        self.parser = HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        self.status = 0
        self.reason = b""
        self.is_complete = self.is_last = False
        self._headers: dict[bytes, bytes] = {}
        self._text = b""

    def on_message_begin(self) -> None:
        if self.is_complete:
            self.is_last = True

    def on_status(self, reason: bytes) -> None:
        if not self.status:
            self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status:  # it is a trailer
            return
        name = name.lower()
        if name in HEARD or name.startswith(ON_DIGESTS):
            known = self._headers.get(name)
            self._headers[name] = value if known is None else known + b"," + value  # RFC 9110, section 5.2

    def on_headers_complete(self) -> None:
        if not self.status and (status := self.parser.get_status_code()) >= 200:
            self.status = status

    def on_body(self, piece: bytes) -> None:
        if self.status >= 300 and not self.is_complete:
            self._text += piece

    def on_message_complete(self) -> None:
        if self.is_complete:
            return
        if not self.status:
            self.begin()
            return
        self.is_complete = True
        self.is_last = not self.parser.should_keep_alive()

    def answer(self, url: str) -> Answer:
        """What arrived of it. The text of an error that is cut off counts as far as it goes."""
        code, message = self._reason(), ""
        if self.status >= 300:
            code, message = read_refusal(self._text, URL(url, encoded=True), code)
        heard = {name.decode("latin-1"): value.decode("latin-1") for name, value in self._headers.items()}
        return Answer(
            status=self.status,
            code=code,
            message=message,
            retry_after=parse_retry_after(heard.get("retry-after")),
            range=heard.get("range"),
            etag=heard.get("etag"),
            md5=md5_of(heard.items()) if heard else None,
        )

    def _reason(self) -> str:
        text = self.reason.decode("latin-1")
        return text if text.isprintable() else ""
