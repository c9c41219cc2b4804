"""Where a bucket is: host and path of its objects, in virtual-hosted or path style.

Obeys "Virtual hosting of buckets" and "Bucket naming rules" of the Amazon S3 User Guide. A destination has three
addresses that may differ: the public one, which clients can reach and which is therefore signed for them, the one that
consumers read from – often a private endpoint of their network – and the internal one, which the broker calls itself.
The Host header is part of every signature, so a URL cannot be rewritten from one to the other afterwards.
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal, Self

from broker.storage.addresses import host_header, split_endpoint
from broker.storage.signing import encode_path

Addressing = Literal["virtual", "path"]

# S3 User Guide, bucket naming rules, without the dot: a dotted name breaks the endpoint's wildcard certificate.
_BUCKET_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_AWS_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One address of one bucket.

    `origin` begins the URL, `host` is what clients send as Host (no default port), `base_path` precedes the slash
    before the key.
    """

    origin: str
    host: str
    base_path: str

    @classmethod
    def of(
        cls, *, bucket: str, region: str, url: str | None, addressing: Addressing, is_dual_stack: bool = False
    ) -> Self:
        """Address `bucket` below the service `url`, by default that of AWS in `region`.

        :param is_dual_stack: of AWS, the host that answers over IPv6, too.
        :raises ValueError: no such address is possible; the text says what to configure instead.
        """
        parts = split_endpoint(url if url is not None else _aws_url(region, is_dual_stack=is_dual_stack))
        hostname = parts.hostname or ""
        base_path = parts.path.rstrip("/")
        if addressing == "path":
            _check_path_bucket(bucket)
            base_path = f"{base_path}/{encode_path(bucket)}"
        else:
            _check_virtual(bucket, hostname)
            hostname = f"{bucket}.{hostname}"
        host = host_header(hostname, parts)
        return cls(origin=f"{parts.scheme}://{host}", host=host, base_path=base_path)

    def path(self, key: str) -> str:
        """Return the encoded path of an object."""
        return f"{self.base_path}/{encode_path(key)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """A destination's bucket: `public` is signed for clients, `consumer` in what jobs read, `internal` called by us."""

    public: Endpoint
    consumer: Endpoint
    internal: Endpoint

    @classmethod
    def of(
        cls,
        *,
        bucket: str,
        region: str,
        addressing: Addressing,
        endpoint: str | None = None,
        public_endpoint: str | None = None,
        consumer_endpoint: str | None = None,
        is_dual_stack: bool = False,
    ) -> Self:
        """Address `bucket` on `endpoint` (default: AWS), for clients on `public_endpoint` (default: the same) and for
        consumers on `consumer_endpoint` (default: as for clients).

        :raises ValueError: as `Endpoint.of`.
        """

        def at(url: str | None) -> Endpoint:
            return Endpoint.of(
                bucket=bucket, region=region, url=url, addressing=addressing, is_dual_stack=is_dual_stack
            )

        internal = at(endpoint)
        public = internal if public_endpoint is None else at(public_endpoint)
        consumer = public if consumer_endpoint is None else at(consumer_endpoint)
        return cls(public=public, consumer=consumer, internal=internal)


def usual_addressing(*, bucket: str, url: str | None) -> Addressing:
    """Return the style that works when nobody chose one: virtual on AWS, path elsewhere and for dotted names."""
    return "virtual" if url is None and _BUCKET_LABEL.fullmatch(bucket) else "path"


def _aws_url(region: str, *, is_dual_stack: bool) -> str:
    if not _AWS_REGION.fullmatch(region):
        raise ValueError(f"{region!r} is not an AWS region; another store needs its endpoint configured")
    # AWS General Reference, "Amazon S3 endpoints and quotas": the China partition has its own suffix.
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    # S3 User Guide, "Using Amazon S3 dual-stack endpoints".
    return f"https://s3.{'dualstack.' if is_dual_stack else ''}{region}.{suffix}"


def _check_virtual(bucket: str, hostname: str) -> None:
    if _is_ip(hostname):
        raise ValueError(f"endpoint {hostname} is an IP address, no host name can hold the bucket: use path addressing")
    if not _BUCKET_LABEL.fullmatch(bucket):
        raise ValueError(f"bucket {bucket!r} cannot be one label of a host name: use path addressing")


def _check_path_bucket(bucket: str) -> None:
    if not bucket or "/" in bucket:
        raise ValueError(f"{bucket!r} is not a bucket name")


def _is_ip(hostname: str) -> bool:
    try:
        ip_address(hostname)
    except ValueError:
        return False
    return True
