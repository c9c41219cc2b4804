"""The note at `{prefix}/.broker` that says whose ledger knows the objects beside it.

Obeys "Objects: get" with `alt=media` and "Objects: insert" with `uploadType=media` of the Cloud Storage JSON API.
`ifGenerationMatch=0`, so that of two brokers that begin at once only one leaves its note. Permissions: the writer needs
storage.objects.create, the reader storage.objects.get.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from broker.domain.keys import mark_key
from broker.storage.gcs.caller import GcsCaller, trouble
from broker.storage.gcs.endpoint import object_path, upload_path
from broker.storage.gcs.store import is_absent
from broker.storage.gcs.tokens import AccessTokens
from broker.storage.notes import note_of, read_note

_TAKEN: Final = 412  # Objects: insert, ifGenerationMatch


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsStoreMark:
    """`prefix` is the destination's, without the slash behind it."""

    caller: GcsCaller
    reading: AccessTokens
    writing: AccessTokens
    bucket: str
    prefix: str

    async def read(self) -> str | None:
        path = object_path(self.bucket, self._key)
        answer = await self.caller.call("GET", path, self.reading, query=[("alt", "media")])
        if is_absent(answer):
            return None
        if answer.status != 200:
            raise trouble(answer)
        return read_note(answer.body, self._key)

    async def write(self, store_id: str, *, now: datetime) -> None:
        answer = await self.caller.call(
            "POST",
            upload_path(self.bucket),
            self.writing,
            query=[("uploadType", "media"), ("name", self._key), ("ifGenerationMatch", "0")],
            headers={"content-type": "application/json"},
            body=note_of(store_id, now=now),
        )
        if answer.status not in {200, _TAKEN}:
            raise trouble(answer)

    @property
    def _key(self) -> str:
        return mark_key(self.prefix)
