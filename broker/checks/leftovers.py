"""What a check may have made, noted before it is sent, and removed again however the check ends."""

from dataclasses import dataclass, field

from broker.checks.site import Site
from broker.domain.errors import BrokerError
from broker.domain.objects import pin_of

_MOST_STATES = 8  # ours: a key of a check has one or two stored states, even in a store that overwrites


@dataclass(frozen=True, slots=True)
class Leftovers:
    keys: set[str] = field(default_factory=set)
    uploads: set[str] = field(default_factory=set)  # keys under which a multipart upload may be open

    def note(self, key: str) -> str:
        """Call it before anything is sent to `key`."""
        self.keys.add(key)
        return key

    def note_upload(self, key: str) -> str:
        self.uploads.add(key)
        return self.note(key)

    async def clear(self, site: Site) -> list[str]:
        """Removes all of it. What is left, in words."""
        left = [f"unfinished upload of {key}" for key in sorted(self.uploads) if not await _is_aborted(site, key)]
        return left + [key for key in sorted(self.keys) if not await _is_removed(site, key)]


async def _is_aborted(site: Site, key: str) -> bool:
    multipart = site.bucket.multipart
    if multipart is None:
        return True
    try:
        ended = [await multipart.remover.abort(key, each) for each in await multipart.remover.open_uploads(key)]
    except BrokerError:
        return False
    return all(ended)


async def _is_removed(site: Site, key: str) -> bool:
    """By version where there are any, so that no trace is left; without a HEAD, by the bare key."""
    try:
        for _ in range(_MOST_STATES):
            info = await site.bucket.objects.head(key)
            if info is None:
                return True
            if not await site.bucket.remover.remove(key, pin_of(info)):
                return await site.bucket.objects.head(key) is None
    except BrokerError:
        return await site.delete_blindly(key)
    return False
