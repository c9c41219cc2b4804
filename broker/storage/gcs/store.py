"""What is stored under a key, and its removal: the broker's own objects.get and objects.delete.

Obeys "Objects: get" and "Objects: delete" of the Cloud Storage JSON API. A generation is what `version` means here:
every write makes another, in buckets that keep older ones and in those that do not. Permissions: the reader needs
storage.objects.get, the janitor storage.objects.delete.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from broker.domain.objects import ObjectInfo, Pin
from broker.storage.gcs.caller import GcsAnswer, GcsCaller, GcsError, error_of, trouble
from broker.storage.gcs.endpoint import object_path
from broker.storage.gcs.resource import is_number, object_info, read_resource
from broker.storage.gcs.tokens import AccessTokens

_LISTING: Final = "storage.objects.list"


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsObjectHead:
    caller: GcsCaller
    tokens: AccessTokens
    bucket: str

    async def head(self, key: str) -> ObjectInfo | None:
        return await self._state(key, query=())

    async def head_version(self, key: str, version: str) -> ObjectInfo | None:
        return await self._state(key, query=[("generation", version)]) if is_number(version) else None

    async def _state(self, key: str, *, query: Sequence[tuple[str, str]]) -> ObjectInfo | None:
        answer = await self.caller.call("GET", object_path(self.bucket, key), self.tokens, query=query)
        if answer.status == 200:
            return object_info(read_resource(answer.body))
        if is_absent(answer):
            return None
        raise trouble(answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsObjectRemover:
    caller: GcsCaller
    tokens: AccessTokens
    bucket: str

    async def remove(self, key: str, pin: Pin) -> bool:
        """Of a generation that is named nothing else is deleted, whatever became the live one meanwhile."""
        if pin.version is None or not is_number(pin.version):
            return False  # none that this store ever gave
        path = object_path(self.bucket, key)
        answer = await self.caller.call("DELETE", path, self.tokens, query=[("generation", pin.version)])
        if answer.status in {200, 204}:
            return True
        if is_absent(answer):
            return False
        raise trouble(answer)


def is_absent(answer: GcsAnswer) -> bool:
    """Whether whoever asks is told that there is no such object.

    Who may get or delete objects and may not list them – or not without a prefix – is told 403 of one that is not
    there, since else he would learn names ("Permission 'storage.objects.list' denied on resource"). Of an object that
    is there, nobody asks for that; and who may not even get it is told so, whether it is there or not: that is a
    refusal, and decides nothing.
    """
    if answer.status not in {403, 404}:
        return False
    error: GcsError = error_of(answer)
    return error.permission == _LISTING if answer.status == 403 else not error.is_of_bucket
