"""The note at `{prefix}/.broker` that says whose ledger knows the objects beside it.

Obeys PutObject and GetObject of the Amazon S3 API Reference. Headers signed beside those of every call: by the PUT
content-type and if-none-match, so that of two brokers that begin at once only one leaves its note where the store knows
conditional writes (elsewhere the later one wins, and both read it afterwards), and what the bucket's policy may ask of
every object (`keeping.py`). Permissions: s3:PutObject under the prefix for `write`; s3:GetObject under the prefix and
s3:ListBucket (404 instead of 403) for `read`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from broker.domain.keys import mark_key
from broker.storage.notes import note_of, read_note
from broker.storage.s3 import xml
from broker.storage.s3.caller import S3Caller, trouble
from broker.storage.s3.credentials import Credentials
from broker.storage.s3.keeping import AS_THE_BUCKET_SAYS, Keeping

# PutObject: 412 when the key exists, 409 when somebody writes it at this moment.
_TAKEN: Final = frozenset({409, 412})


@dataclass(frozen=True, slots=True, kw_only=True)
class S3StoreMark:
    """`prefix` is the destination's, without the slash behind it."""

    caller: S3Caller
    reading: Credentials
    writing: Credentials
    prefix: str
    keeping: Keeping = AS_THE_BUCKET_SAYS

    async def read(self) -> str | None:
        answer = await self.caller.call("GET", self._key, self.reading)
        code = xml.error_code(answer.body)
        if answer.status == 404 and code != "NoSuchBucket":
            return None
        if answer.status != 200:
            raise trouble(answer.status, code)
        return read_note(answer.body, self._key)

    async def write(self, store_id: str, *, now: datetime) -> None:
        answer = await self.caller.call(
            "PUT",
            self._key,
            self.writing,
            headers={"content-type": "application/json", "if-none-match": "*", **self.keeping.note_headers},
            body=note_of(store_id, now=now),
        )
        if answer.status != 200 and answer.status not in _TAKEN:
            raise trouble(answer.status, xml.error_code(answer.body))

    @property
    def _key(self) -> str:
        return mark_key(self.prefix)
