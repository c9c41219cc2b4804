"""Sends the broker's own calls to the bucket, signed by our signer, over one pooled aiohttp session.

Headers signed: host, x-amz-content-sha256 (of the body that goes along), x-amz-date, the session token, and whatever
the call itself sets. What a status or an error code means is told here once ("Error responses" of the Amazon S3 API
Reference); what a call expects of its own, it looks at before.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from io import BytesIO
from types import MappingProxyType
from typing import Final

import aiohttp
import yarl
from multidict import CIMultiDictProxy

from broker.domain.errors import StoreRefused, StoreUnavailable, Unavailable
from broker.ports import Clock
from broker.storage.answers import whole
from broker.storage.s3.credentials import Credentials
from broker.storage.s3.endpoint import Endpoint
from broker.storage.s3.sigv4 import EMPTY_SHA256, SigV4
from broker.storage.signing import UnsignedRequest

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
# Ours. The longest answer we ask for is a page of 1,000 uploads, whose keys have up to 1,024 bytes, percent-encoded.
MAX_ANSWER_BYTES: Final = 8 * 2**20

# Status codes by which a store says that waiting will not help but its operator may. Everything else that was not
# expected – 429, 5xx, or what is not in the S3 API Reference – is worth another try soon.
_REFUSALS: Final[Mapping[int, str]] = MappingProxyType(
    {
        301: "the bucket is in another region, or behind another endpoint",
        400: "it does not take our requests (token expired, or region or clock wrong)",
        401: "it does not know our credential",
        403: "the credential lacks a permission, or our clock is wrong",
        404: "the bucket is not there",
        405: "it does not take this method here",
        501: "it lacks what this dialect assumes",
    }
)
_NO_ANSWER: Final = (aiohttp.ClientError, TimeoutError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Answer:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Caller:
    """Sends one signed request and gives back the whole answer.

    `http` is shared and stays open; `endpoint` is the internal one.
    """

    http: aiohttp.ClientSession
    sigv4: SigV4
    endpoint: Endpoint
    clock: Clock
    timeout: timedelta
    headers: Mapping[str, str] = field(default_factory=dict)  # of every call

    async def call(
        self,
        method: str,
        key: str,
        credentials: Credentials,
        *,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] = NO_HEADERS,
        body: bytes = b"",
        timeout: timedelta | None = None,
    ) -> S3Answer:
        """An empty `key` is the bucket itself.

        :raises StoreUnavailable: nothing came back in time, or more than we read.
        :raises CredentialsUnavailable:
        """
        now = self.clock.now()
        request = UnsignedRequest(
            method=method,
            origin=self.endpoint.origin,
            host=self.endpoint.host,
            path=self.endpoint.path(key),
            query=query,
            headers={**self.headers, **headers},
        )
        credential = await credentials.current(now)
        payload_sha256 = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        signed = self.sigv4.authorize(request, credential=credential, now=now, payload_sha256=payload_sha256)
        try:
            return await self._send(request, signed, body, timeout or self.timeout)
        except _NO_ANSWER as exc:
            # The class alone: the message may hold the URL.
            raise StoreUnavailable(f"the store does not answer ({type(exc).__name__})") from exc

    async def _send(
        self, request: UnsignedRequest, headers: Mapping[str, str], body: bytes, timeout: timedelta
    ) -> S3Answer:
        async with self.http.request(
            request.method,
            yarl.URL(request.url, encoded=True),  # encoded: yarl must not normalise what was signed
            # A compressed answer would have another length than the object.
            headers={**headers, "accept-encoding": "identity"},
            data=BytesIO(body) if body else None,  # raw bytes of more than 1 MiB make aiohttp warn
            allow_redirects=False,  # a redirected signature is void, and must not travel
            timeout=aiohttp.ClientTimeout(total=timeout.total_seconds()),
        ) as response:
            body = await whole(response, at_most_bytes=MAX_ANSWER_BYTES)
            return S3Answer(status=response.status, headers=response.headers, body=body)


def trouble(status: int, code: str = "") -> Unavailable:
    """Return the error that an answer means which the call did not expect.

    :param code: the store's own word, where the answer has one; it holds letters and digits only.
    """
    said = f"{status} {code}".strip()
    if status in _REFUSALS:
        return StoreRefused(f"the store answers {said}: {_REFUSALS[status]}")
    return StoreUnavailable(f"the store answers {said}")
