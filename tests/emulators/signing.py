"""A signer for tests that can also lie: every field of a signature can be set apart from the request it goes with.

botocore signs in the tests of real clients; this one exists to make what botocore would never make.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

UNSIGNED = "UNSIGNED-PAYLOAD"


def encode(text: str, safe: str = "-_.~") -> str:
    return quote(text, safe=safe)


@dataclass(frozen=True, kw_only=True)
class Signer:
    access_key: str
    secret_key: str = field(repr=False)
    host: str
    region: str = "us-east-1"
    service: str = "s3"
    token: str | None = None
    at: datetime | None = None

    @property
    def now(self) -> str:
        return (self.at or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")

    def scope(self, amz_date: str) -> str:
        return f"{amz_date[:8]}/{self.region}/{self.service}/aws4_request"

    def signing_key(self, amz_date: str) -> bytes:
        key = f"AWS4{self.secret_key}".encode()
        for part in self.scope(amz_date).split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return key

    def _sign(self, method: str, path: str, query: str, headers: Mapping[str, str], payload: str, date: str) -> str:
        lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in sorted(headers))
        canonical = "\n".join((method, path, query, lines, ";".join(sorted(headers)), payload))
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{date}\n{self.scope(date)}\n{digest}"
        return hmac.new(self.signing_key(date), to_sign.encode(), hashlib.sha256).hexdigest()

    def presign(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        expires: object = 300,
        payload: str = UNSIGNED,
    ) -> str:
        """The target of a presigned request; `path` is encoded already."""
        signed = {"host": self.host, **(headers or {})}
        date = self.now
        pairs = {
            **(params or {}),
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.access_key}/{self.scope(date)}",
            "X-Amz-Date": date,
            "X-Amz-Expires": str(expires),
            "X-Amz-SignedHeaders": ";".join(sorted(signed)),
            **({"X-Amz-Security-Token": self.token} if self.token else {}),
        }
        query = "&".join(sorted(f"{encode(name)}={encode(value)}" for name, value in pairs.items()))
        return f"{path}?{query}&X-Amz-Signature={self._sign(method, path, query, signed, payload, date)}"

    def headers(
        self,
        method: str,
        path: str,
        *,
        payload: str = UNSIGNED,
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> dict[str, str]:
        """All headers of a request signed in its Authorization header."""
        date = self.now
        signed = {"host": self.host, "x-amz-date": date, "x-amz-content-sha256": payload, **(headers or {})}
        if self.token:
            signed["x-amz-security-token"] = self.token
        signature = self._sign(method, path, query, signed, payload, date)
        credential, names = f"{self.access_key}/{self.scope(date)}", ";".join(sorted(signed))
        authorization = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return {**signed, "authorization": authorization}

    def chunks(self, head: Mapping[str, str], pieces: list[bytes], *, trailer: tuple[str, str] | None = None) -> bytes:
        """The pieces in aws-chunked coding, each signed, after the head that `headers` made."""
        date = head["x-amz-date"]
        key, previous = self.signing_key(date), head["authorization"].rpartition("=")[2]

        def chain(kind: str, digests: str) -> str:
            to_sign = f"{kind}\n{date}\n{self.scope(date)}\n{previous}\n{digests}"
            return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()

        body, empty = b"", hashlib.sha256().hexdigest()
        for piece in (*pieces, b""):
            previous = chain("AWS4-HMAC-SHA256-PAYLOAD", f"{empty}\n{hashlib.sha256(piece).hexdigest()}")
            body += f"{len(piece):x};chunk-signature={previous}\r\n".encode() + piece + (b"\r\n" if piece else b"")
        if trailer is not None:
            line = f"{trailer[0]}:{trailer[1]}\n"
            signature = chain("AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(line.encode()).hexdigest())
            body += f"{trailer[0]}:{trailer[1]}\r\nx-amz-trailer-signature:{signature}\r\n".encode()
        return body + b"\r\n"
