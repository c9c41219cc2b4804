"""Cross-origin rules of a bucket: the preflight answer and the headers that let a page read a response.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ManageCorsUsing.html – rules in order, the first that
fits origin, method and every requested header answers; one `*` wildcard in an origin or a header name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from emulators.s3.catalogue import Bucket
from emulators.s3.errors import S3Error
from emulators.s3.request import S3Request
from emulators.s3.xml import Element, parse

METHODS: Final = frozenset({"GET", "PUT", "HEAD", "POST", "DELETE"})
EXPOSED: Final = (
    "ETag",
    "Content-Range",
    "Accept-Ranges",
    "x-amz-version-id",
    "x-amz-request-id",
    "x-amz-id-2",
    "x-amz-delete-marker",
    "x-amz-checksum-type",
    "x-amz-checksum-sha256",
    "x-amz-checksum-sha1",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    origins: tuple[str, ...]
    methods: frozenset[str]
    headers: tuple[str, ...]
    exposed: tuple[str, ...]
    max_age: str | None

    @classmethod
    def parse(cls, element: Element) -> Self:
        """:raises S3Error: MalformedXML, InvalidRequest."""
        origins = tuple(each.content for each in element.all("AllowedOrigin"))
        methods = frozenset(each.content for each in element.all("AllowedMethod"))
        if not origins or not methods:
            raise S3Error("MalformedXML")
        if unknown := methods - METHODS:
            raise S3Error(
                "InvalidRequest", f"Found unsupported HTTP method in CORS config. Unsupported method is {min(unknown)}"
            )
        return cls(
            origins=origins,
            methods=methods,
            headers=tuple(each.content for each in element.all("AllowedHeader")),
            exposed=tuple(each.content for each in element.all("ExposeHeader")),
            max_age=element.one("MaxAgeSeconds"),
        )

    def fits(self, origin: str, method: str, headers: list[str]) -> bool:
        return (
            any(_is_like(each, origin) for each in self.origins)
            and method in self.methods
            and all(any(_is_like(each.lower(), name) for each in self.headers) for name in headers)
        )

    def answer(self, origin: str) -> dict[str, str]:
        is_open = "*" in self.origins
        return {
            "Access-Control-Allow-Origin": "*" if is_open else origin,
            "Access-Control-Allow-Methods": ", ".join(sorted(self.methods)),
            "Vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
            **({} if is_open else {"Access-Control-Allow-Credentials": "true"}),
            **({"Access-Control-Expose-Headers": ", ".join(self.exposed)} if self.exposed else {}),
            **({"Access-Control-Max-Age": self.max_age} if self.max_age else {}),
        }


def parse_rules(body: bytes) -> list[Rule]:
    """:raises S3Error: MalformedXML, InvalidRequest."""
    rules = [Rule.parse(each) for each in parse(body, "CORSConfiguration").all("CORSRule")]
    if not rules:
        raise S3Error("MalformedXML")
    return rules


def rules_of(bucket: Bucket | None, default_origins: tuple[str, ...]) -> list[Rule]:
    """The bucket's own rules, else the ones of the command line, which let a browser do everything."""
    if bucket is not None and bucket.cors:
        return parse_rules(bucket.cors)
    if not default_origins:
        return []
    return [Rule(origins=default_origins, methods=METHODS, headers=("*",), exposed=EXPOSED, max_age="600")]


def response_headers(rules: list[Rule], request: S3Request) -> Mapping[str, str]:
    """Headers for an actual request from a page; none when no rule fits, and then the browser hides the answer."""
    origin = request.header("origin")
    fitting = [rule for rule in rules if origin is not None and rule.fits(origin, request.method, [])]
    return fitting[0].answer(origin or "") if fitting else {}


def preflight(rules: list[Rule], request: S3Request) -> Mapping[str, str]:
    """:raises S3Error: BadRequest, AccessForbidden."""
    origin, method = request.header("origin"), request.header("access-control-request-method")
    if origin is None or method is None:
        raise S3Error("BadRequest", "Insufficient information. Origin and Access-Control-Request-Method are needed.")
    if not rules:
        raise S3Error("AccessForbidden", "CORSResponse: CORS is not enabled for this bucket.")
    asked = request.header("access-control-request-headers") or ""
    names = [name.strip().lower() for name in asked.split(",") if name.strip()]
    for rule in rules:
        if rule.fits(origin, method, names):
            allowed = {"Access-Control-Allow-Headers": ", ".join(names)} if names else {}
            return {**rule.answer(origin), **allowed}
    raise S3Error(
        "AccessForbidden",
        "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request "
        "method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the "
        "resource's CORS spec.",
        fields={"Method": method, "ResourceType": "OBJECT"},
    )


def _is_like(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text) is not None
