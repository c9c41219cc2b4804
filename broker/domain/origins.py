"""Whose pages may send the bytes of an upload that the store opens: it shows its answers to one origin, named then.

The same list as for reading what the broker answers: a page that may not do that has no upload to send.
"""

import re
from collections.abc import Sequence

from broker.domain.errors import OriginNotAllowed

ANY_ORIGIN = "*"
# RFC 6454 section 6.2, the ASCII serialization: what a browser sends, and no header could be made of.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


class Origins:
    """:param allowed: as browsers send them; `*` is every origin."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = frozenset(allowed)

    def of(self, named: str | None, sent: str | None) -> str | None:
        """The one that an upload is for, or None.

        :param named: by the request; `sent`: with it, by the browser: what is not allowed there is no page of ours.
        :raises OriginNotAllowed: what is named is not allowed.
        """
        if named is None:
            return sent if sent is not None and self._permits(sent) else None
        if not self._permits(named):
            raise OriginNotAllowed.at("/origin")
        return named

    def _permits(self, origin: str) -> bool:
        is_known = origin in self._allowed or ANY_ORIGIN in self._allowed
        return is_known and _ORIGIN.fullmatch(origin) is not None
