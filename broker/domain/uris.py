"""URIs that are bearer secrets, sealed for the ledger: who reads a record, a backup or a replica can send nothing.

Sealed with AES-SIV (RFC 5297), as capsules are, under keys of their own, and bound to the session and its object: what
was moved from one record into another opens nowhere.
"""

import base64
import binascii
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from broker.domain.tokens import derive


class UriSealer:
    """Seals with the first key, opens with any.

    :param keys: secrets of at least 32 bytes, newest first. None at all where no destination needs any.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = [AESSIV(derive(key, b"upload-uri", length=64)) for key in keys]

    def seal(self, uri: str, *, session_id: str, key: str) -> str:
        """:param key: of the object that comes by it."""
        sealed = self._ciphers[0].encrypt(uri.encode(), [session_id.encode(), key.encode()])
        return base64.urlsafe_b64encode(sealed).decode()

    def open(self, sealed: str, *, session_id: str, key: str) -> str | None:
        """The URI, or None when it is not of this session and object, was touched, or its key is not here any more."""
        try:
            data = base64.b64decode(sealed, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(data, [session_id.encode(), key.encode()]).decode()
            except (InvalidTag, ValueError):
                continue
        return None
