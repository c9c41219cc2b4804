"""Settle: a change that decides a session's fate; with that of a copy, in the same step, what it makes of its fan-out.

So there is no moment at which a copy is verified and its fan-out does not know, whoever dies where.
"""

import logging
from dataclasses import dataclass

from broker.domain.fan_out import derived
from broker.domain.policy import Destination
from broker.domain.sessions import Change
from broker.ports import Bell, Clock, Sessions

_log = logging.getLogger("broker.look")
_TRIES = 32  # a lost race means that another copy was written; there are sixteen at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    sessions: Sessions
    clock: Clock
    work: Bell

    async def __call__(self, change: Change, place: Destination) -> bool:
        """False: the session has moved on; read again and decide again.

        :param place: where the session's bytes are.
        """
        for _ in range(_TRIES):
            made = await self._made_of_fan_out(change, place)
            changes = (change, made) if made else (change,)
            if await self.sessions.apply(*changes):
                for each in changes:
                    self._tell(each)
                return True
            if not change.after.facts.copy_of:
                return False
            current = await self.sessions.get(change.after.id)
            if current is None or current.progress.revision != change.before.progress.revision:
                return False
        return False

    async def _made_of_fan_out(self, change: Change, place: Destination) -> Change | None:
        facts = change.after.facts
        fan_out = await self.sessions.get(facts.copy_of) if facts.copy_of else None
        return derived(fan_out, change.after, place, self.clock.now()) if fan_out else None

    def _tell(self, change: Change) -> None:
        after, facts = change.after, change.after.facts
        if not change.is_transition:
            return
        extra = {"session_id": after.id, "reason": facts.reason.code if facts.reason else None}
        if facts.copy_of:
            _log.info(f"copy.{after.state.value}", extra={**extra, "copy_of": facts.copy_of})
        else:
            _log.info(f"upload.{after.state.value}", extra=extra)
        if change.job_at is not None:
            self.work.ring()
