"""API keys: those of the configuration before those of the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass

from broker.domain.errors import LedgerUnavailable
from broker.domain.principals import ApiKey, Role
from broker.ledger.api_keys import RedisApiKeys
from broker.settings import KeySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredKeys:
    """The keys of the configuration first, then those of the ledger, which can revoke both.

    While the ledger is away nobody knows what was revoked, and nobody is let in – but who may do nothing except
    observe, because just then somebody must.
    """

    configured: Mapping[str, ApiKey]
    ledger: RedisApiKeys

    async def find(self, key_id: str) -> ApiKey | None:
        api_key = self.configured.get(key_id)
        if api_key is None:
            return await self.ledger.find(key_id)
        try:
            return (await self.ledger.standing(key_id)).of(api_key)
        except LedgerUnavailable:
            if api_key.roles == {Role.OBSERVE}:
                return api_key
            raise


def api_keys_of(settings: Mapping[str, KeySettings]) -> dict[str, ApiKey]:
    return {
        key_id: ApiKey(
            id=key_id,
            hashes=(*([key.hash] if key.hash else []), *key.hashes),
            roles=key.roles,
            destinations=key.destinations,
            max_size_bytes=key.max_size_bytes,
            sessions_per_second=key.sessions_per_second,
            burst=key.burst,
            max_pending_sessions=key.max_pending_sessions,
            max_pending_bytes=key.max_pending_bytes,
        )
        for key_id, key in sorted(settings.items())
    }
