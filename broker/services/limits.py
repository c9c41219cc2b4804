"""Limits: what a key may have, of mints a second and of what is pending at once."""

from dataclasses import dataclass

from broker.domain.errors import RateLimited
from broker.domain.principals import ApiKey
from broker.ports import Quota, Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Whoever asks is counted, before anything else is done for him: also a request that turns out to be invalid, or
    to have been made before."""

    rates: Rates

    async def admit(self, api_key: ApiKey) -> None:
        """:raises RateLimited: with the moment from which there is a turn."""
        _, refusal = await self.admit_some(api_key, 1)
        if refusal is not None:
            raise refusal

    async def admit_some(self, api_key: ApiKey, wanted: int) -> tuple[int, RateLimited | None]:
        """How many of `wanted` mints the key may have now, and what the others are told."""
        if api_key.rate is None:
            return wanted, None
        taken = await self.rates.take(api_key.id, api_key.rate, wanted)
        if taken.count == wanted:
            return wanted, None
        return taken.count, RateLimited(
            f"this key may mint {api_key.rate.per_second:g} sessions a second, {api_key.rate.burst} at once; "
            f"the next in {taken.next_after.total_seconds():.3f} s",
            retry_after=taken.next_after,
        )


def quota_of(api_key: ApiKey) -> Quota | None:
    """What it may have pending; None costs the ledger nothing."""
    sessions, size_bytes = api_key.max_pending_sessions, api_key.max_pending_bytes
    return None if sessions is None and size_bytes is None else Quota(sessions=sessions, size_bytes=size_bytes)
