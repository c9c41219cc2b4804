"""V4 signatures by hand, from Google's description: every mistake that a test wants to make is an argument."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key


@dataclass(frozen=True, kw_only=True)
class Signer:
    email: str
    host: str
    key: RSAPrivateKey = field(repr=False)

    @classmethod
    def of(cls, *, email: str, pem: str, host: str) -> Self:
        key = load_pem_private_key(pem.encode(), None)
        assert isinstance(key, RSAPrivateKey)
        return cls(email=email, host=host, key=key)

    def sign(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        expires: int = 600,
        age: timedelta = timedelta(0),
        location: str = "auto",
        service: str = "storage",
        terminal: str = "goog4_request",
        scope_date: str | None = None,
        algorithm: str = "GOOG4-RSA-SHA256",
        host_is_signed: bool = True,
    ) -> str:
        """The signed target: path and query."""
        stamp = (datetime.now(UTC) - age).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{scope_date or stamp[:8]}/{location}/{service}/{terminal}"
        signed = {name.lower(): " ".join(value.split()) for name, value in (headers or {}).items()}
        if host_is_signed:
            signed["host"] = self.host
        names = ";".join(sorted(signed))
        fields = {
            **(query or {}),
            "X-Goog-Algorithm": algorithm,
            "X-Goog-Credential": f"{self.email}/{scope}",
            "X-Goog-Date": stamp,
            "X-Goog-Expires": str(expires),
            "X-Goog-SignedHeaders": names,
        }
        canonical_query = "&".join(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in sorted(fields.items()))
        lines = [f"{each}:{signed[each]}" for each in sorted(signed)]
        canonical = "\n".join([method, path, canonical_query, *lines, "", names, "UNSIGNED-PAYLOAD"])
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = f"{algorithm}\n{stamp}\n{scope}\n{digest}"
        signature = self.key.sign(to_sign.encode(), PKCS1v15(), SHA256()).hex()
        return f"{path}?{canonical_query}&X-Goog-Signature={signature}"
