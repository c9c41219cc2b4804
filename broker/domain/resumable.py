"""An upload that the store holds open for us: one URI, by which its bytes come piece by piece until it is whole.

The URI is a bearer secret that outlives every deadline of ours, so two things are kept about it: the URI itself, sealed
(`uris.py`), that it can be given again and cancelled; and when it is dead even if nobody could cancel it.
"""

from datetime import timedelta

from msgspec import Struct

LIVES_AT_MOST = timedelta(days=7)  # Cloud Storage, "Resumable uploads": "A session URI expires after one week"


class Resumable(Struct, frozen=True, kw_only=True, array_like=True):
    """`sealed_uri` is empty while the session only reserves an upload, and again once nothing can come by it.

    `origin` is that of the pages to which the store shows its answers; None: to none.
    """

    sealed_uri: str = ""
    origin: str | None = None

    def __repr__(self) -> str:
        return f"Resumable(sealed_uri=***, origin={self.origin!r})"
