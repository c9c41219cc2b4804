"""Verify AWS Signature Version 4, in the query (presigned) and in the Authorization header.

An implementation of its own, sharing nothing with the broker's signer. Sources, under
https://docs.aws.amazon.com/AmazonS3/latest/API/: sig-v4-header-based-auth.html, sigv4-query-string-auth.html,
sigv4-streaming.html. Path and query are used as they arrived: a client that sends other bytes than it signed is
refused, where the service would sometimes forgive a different spelling of the same thing.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from emulators.s3.errors import S3Error
from emulators.s3.request import S3Request, raw_pairs
from emulators.s3.settings import Account

ALGORITHM: Final = "AWS4-HMAC-SHA256"
UNSIGNED: Final = "UNSIGNED-PAYLOAD"
MAX_EXPIRES_SECONDS: Final = 604_800  # sigv4-query-string-auth: X-Amz-Expires is 1 to 604800 (seven days)
MAX_SKEW: Final = timedelta(minutes=15)  # "RequestTimeTooSkewed" in the list of error codes
QUERY_FIELDS: Final = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders")
_AUTHORIZATION: Final = re.compile(
    rf"{ALGORITHM} Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{{64}})"
)
_SPACES: Final = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What a valid signature said. The key and the seed verify the chunks that may follow."""

    account: Account
    payload_hash: str
    signed_headers: frozenset[str]
    is_presigned: bool
    amz_date: str
    scope: str
    signing_key: bytes = field(repr=False)
    signature: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """What a request says about its own signature, before anything is believed."""

    access_key: str
    scope: Sequence[str]
    amz_date: str
    moment: datetime
    expires: timedelta | None
    signed_headers: tuple[str, ...]
    signature: str = field(repr=False)
    token: str | None = field(repr=False)
    payload_hash: str
    malformed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """Knows the credentials; answers whose request this is."""

    accounts: Mapping[str, Account]
    region: str
    accepts_unsigned_headers: bool

    def verify(self, request: S3Request, now: datetime) -> Signed | None:
        """The signer of `request`, or None when it carries no signature at all.

        :raises S3Error: everything that S3 refuses about a signature.
        """
        claim = _claim(request)
        if claim is None:
            return None
        self._check_scope(claim)
        _check_time(claim, now)
        account = self._account(claim)
        signing_key = _signing_key(account.secret_key, claim.scope)
        canonical = _canonical_request(request, claim)
        to_sign = _string_to_sign(claim, canonical)
        expected = hmac.new(signing_key, to_sign.encode("latin-1"), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, claim.signature):
            raise _mismatch(claim, canonical, to_sign)
        self._check_headers(request, claim)
        return Signed(
            account=account,
            payload_hash=claim.payload_hash,
            signed_headers=frozenset(claim.signed_headers),
            is_presigned=claim.expires is not None,
            amz_date=claim.amz_date,
            scope="/".join(claim.scope),
            signing_key=signing_key,
            signature=claim.signature,
        )

    def _check_scope(self, claim: _Claim) -> None:
        date, region, service, terminal = claim.scope
        if date != claim.amz_date[:8]:
            raise S3Error(
                claim.malformed,
                f'Invalid credential date "{date}". This date is not the same as X-Amz-Date: "{claim.amz_date[:8]}".',
            )
        if region != self.region:
            raise S3Error(
                claim.malformed,
                f"The authorization is malformed; the region '{region}' is wrong; expecting '{self.region}'",
                fields={"Region": self.region},
                headers={"x-amz-bucket-region": self.region},
            )
        if service != "s3":
            raise S3Error(claim.malformed, f'Incorrect service "{service}". This endpoint belongs to "s3".')
        if terminal != "aws4_request":
            raise S3Error(claim.malformed, f'Incorrect terminal "{terminal}". This endpoint uses "aws4_request".')

    def _account(self, claim: _Claim) -> Account:
        account = self.accounts.get(claim.access_key)
        if account is None:
            raise S3Error("InvalidAccessKeyId", fields={"AWSAccessKeyId": claim.access_key})
        expected, given = account.session_token, claim.token
        if (expected is None) != (given is None) or not hmac.compare_digest(
            (expected or "").encode(), (given or "").encode()
        ):
            raise S3Error("InvalidToken")
        return account

    def _check_headers(self, request: S3Request, claim: _Claim) -> None:
        """Host must be signed, and so must every x-amz-* header: AWS says so, Ceph forgets to ask."""
        unsigned = [
            name
            for name in dict(request.headers)
            if (name == "host" or (name.startswith("x-amz-") and not self.accepts_unsigned_headers))
            and name not in claim.signed_headers
        ]
        if unsigned:
            raise S3Error(
                "AccessDenied",
                "There were headers present in the request which were not signed",
                fields={"HeadersNotSigned": ", ".join(unsigned)},
            )


def _claim(request: S3Request) -> _Claim | None:
    authorization = request.header("authorization")
    params = request.params
    if "X-Amz-Algorithm" in params or "X-Amz-Signature" in params:
        if authorization is not None:
            raise S3Error("InvalidArgument", "Only one auth mechanism allowed")
        return _query_claim(request)
    if "AWSAccessKeyId" in params or (authorization or "").startswith("AWS "):
        raise S3Error(
            "InvalidRequest",
            f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}.",
        )
    return None if authorization is None else _header_claim(request, authorization)


def _query_claim(request: S3Request) -> _Claim:
    code = "AuthorizationQueryParametersError"
    names = [name for name, _ in raw_pairs(request.raw_query)]
    params = request.params
    if any(names.count(name) != 1 for name in (*QUERY_FIELDS, "X-Amz-Signature")):
        raise S3Error(code, f"Query-string authentication requires {', '.join(QUERY_FIELDS)}, X-Amz-Signature once.")
    if params["X-Amz-Algorithm"] != ALGORITHM:
        raise S3Error(code, f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    expires = params["X-Amz-Expires"]
    if not re.fullmatch(r"[0-9]{1,9}", expires) or not 1 <= int(expires) <= MAX_EXPIRES_SECONDS:
        raise S3Error(
            code,
            "X-Amz-Expires must be between 1 and a week (in seconds); that is, the given X-Amz-Expires must be "
            f"less than or equal to {MAX_EXPIRES_SECONDS} seconds",
        )
    signed_headers = _signed_headers(params["X-Amz-SignedHeaders"], code)
    access_key, scope = _parse_credential(params["X-Amz-Credential"], code)
    declared = request.header("x-amz-content-sha256") if "x-amz-content-sha256" in signed_headers else None
    return _Claim(
        access_key=access_key,
        scope=scope,
        amz_date=params["X-Amz-Date"],
        moment=_parse_date(params["X-Amz-Date"], code),
        expires=timedelta(seconds=int(expires)),
        signed_headers=signed_headers,
        signature=params["X-Amz-Signature"],
        token=params.get("X-Amz-Security-Token"),
        payload_hash=declared or params.get("X-Amz-Content-Sha256") or UNSIGNED,
        malformed=code,
    )


def _header_claim(request: S3Request, authorization: str) -> _Claim:
    code = "AuthorizationHeaderMalformed"
    match = _AUTHORIZATION.fullmatch(authorization)
    if match is None:
        raise S3Error(code)
    amz_date = request.header("x-amz-date")
    if amz_date is None:
        raise S3Error("AccessDenied", "AWS authentication requires a valid x-amz-date header")
    payload_hash = request.header("x-amz-content-sha256")
    if payload_hash is None:
        raise S3Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
    access_key, scope = _parse_credential(match[1], code)
    return _Claim(
        access_key=access_key,
        scope=scope,
        amz_date=amz_date,
        moment=_parse_date(amz_date, code),
        expires=None,
        signed_headers=_signed_headers(match[2], code),
        signature=match[3],
        token=request.header("x-amz-security-token"),
        payload_hash=payload_hash,
        malformed=code,
    )


def _parse_credential(text: str, code: str) -> tuple[str, Sequence[str]]:
    access_key, *scope = text.rsplit("/", 4)
    if len(scope) != 4:
        raise S3Error(
            code, 'The Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
        )
    return access_key, scope


def _parse_date(text: str, code: str) -> datetime:
    try:
        if len(text) != 16:
            raise ValueError
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as exc:
        raise S3Error(code, "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"") from exc


def _signed_headers(text: str, code: str) -> tuple[str, ...]:
    names = tuple(text.split(";"))
    if not all(names) or list(names) != sorted({name.lower() for name in names}):
        raise S3Error(code, "SignedHeaders must be lower-case, sorted, and each named once.")
    return names


def _check_time(claim: _Claim, now: datetime) -> None:
    if claim.expires is None:
        if abs(now - claim.moment) > MAX_SKEW:
            raise S3Error(
                "RequestTimeTooSkewed",
                fields={
                    "RequestTime": claim.amz_date,
                    "ServerTime": f"{now:%Y-%m-%dT%H:%M:%SZ}",
                    "MaxAllowedSkewMilliseconds": str(int(MAX_SKEW.total_seconds() * 1000)),
                },
            )
        return
    if claim.moment - now > MAX_SKEW:
        raise S3Error("AccessDenied", "Request is not valid yet", fields={"ServerTime": f"{now:%Y-%m-%dT%H:%M:%SZ}"})
    if now >= claim.moment + claim.expires:
        raise S3Error(
            "AccessDenied",
            "Request has expired",
            fields={
                "X-Amz-Expires": str(int(claim.expires.total_seconds())),
                "Expires": f"{claim.moment + claim.expires:%Y-%m-%dT%H:%M:%SZ}",
                "ServerTime": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            },
        )


def _canonical_request(request: S3Request, claim: _Claim) -> str:
    pairs = (pair for pair in raw_pairs(request.raw_query) if claim.expires is None or pair[0] != "X-Amz-Signature")
    query = "&".join(f"{name}={value}" for name, value in sorted(pairs))
    headers = "".join(
        f"{name}:{_SPACES.sub(' ', (request.header(name) or '').strip())}\n" for name in claim.signed_headers
    )
    return "\n".join(
        (request.method, request.raw_path, query, headers, ";".join(claim.signed_headers), claim.payload_hash)
    )


def _string_to_sign(claim: _Claim, canonical: str) -> str:
    digest = hashlib.sha256(canonical.encode("latin-1", "surrogateescape")).hexdigest()
    return "\n".join((ALGORITHM, claim.amz_date, "/".join(claim.scope), digest))


def _signing_key(secret_key: str, scope: Sequence[str]) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in scope:
        key = hmac.new(key, part.encode("latin-1"), hashlib.sha256).digest()
    return key


def _mismatch(claim: _Claim, canonical: str, to_sign: str) -> S3Error:
    """AWS shows what it computed: that is how one finds the header that a proxy has changed."""
    return S3Error(
        "SignatureDoesNotMatch",
        fields={
            "AWSAccessKeyId": claim.access_key,
            "SignatureProvided": claim.signature,
            "StringToSign": to_sign,
            "CanonicalRequest": canonical,
        },
    )
