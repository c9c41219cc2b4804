"""A credential that is renewed before it ends, and used to its end when it cannot be renewed.

Four moments, in their order:

- `ask_at`: when whoever keeps time asks the source again. Early enough that what is signed at that moment lives as long
  as it should; never before half of its life, so that sessions of 15 minutes (the least that STS gives) under URLs of
  15 minutes are asked for twice in their life and not by every call. Earlier than that by a jitter, so that those that
  began together do not renew together. After a failure later and later, up to a minute.
- `fresh_until`: until then it is given without a thought; later a mint asks by itself, if nobody did in time.
- `near_end`: from then on a mint rather waits for a request under way than signs something that dies at once – unless
  the source has just failed or keeps somebody waiting, or had nothing newer.
- its own end.

One asks for all who hold it, in a task of its own; whoever waits for that may be cancelled without ending it.

What a credential is – a key pair of a role, an access token of a service account – only its store knows; here it is
something that ends.
"""

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, Protocol, TypeVar

from broker.domain.errors import CredentialsUnavailable
from broker.ports import Clock

_log = logging.getLogger(__name__)

# Ours, all of them.
_SLACK: Final = timedelta(minutes=1)  # beyond what the longest URL wants: the time that renewing may take
# Of the time that a credential is kept. Much, since each request costs a millisecond of Python that mints wait for:
# two hundred that began together are spread over a third of their life at once, and all over it soon.
_JITTER: Final = 0.3
_RETRY_JITTER: Final = 0.1
_PATIENCE: Final = timedelta(seconds=10)  # of a mint that has nothing to sign with
_FIRST_RETRY, _LAST_RETRY = timedelta(seconds=2), timedelta(minutes=1)
_SAME_AGAIN: Final = (timedelta(seconds=10), timedelta(minutes=5))  # a source that has nothing newer yet
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_DOUBT: Final = timedelta(seconds=10)  # how often a store may say that it does not know a credential

Jitter = Callable[[], float]  # from 0 to 1, as `random.random`
Told = Callable[["Renewal"], None]


class Mortal(Protocol):
    """A credential, as far as it matters here."""

    @property
    def expires_at(self) -> datetime | None:
        """None where it lives until somebody revokes it."""


Held = TypeVar("Held", bound=Mortal)
Fetched_co = TypeVar("Fetched_co", bound=Mortal, covariant=True)


class CredentialSource(Protocol[Fetched_co]):
    """Whoever gives a fresh credential for the asking."""

    async def fetch(self) -> Fetched_co:
        """The freshest that can be had. The event loop is not held up.

        :raises CredentialsUnavailable: the text says what to mend, and holds no secret.
        """


def is_alive(credential: Mortal | None, at: datetime) -> bool:
    return credential is not None and (credential.expires_at is None or at < credential.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What came of asking a source, told to whoever counts. `expires_at`: of what is held now, None for never."""

    users: tuple[str, ...]
    is_ok: bool
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    ask_at: datetime
    fresh_until: datetime
    near_end: datetime


def _plan(ask_at: datetime, *, near_end: datetime) -> _Plan:
    return _Plan(ask_at=ask_at, fresh_until=ask_at + max(near_end - ask_at, timedelta()) / 2, near_end=near_end)


_AT_ONCE: Final = datetime.min.replace(tzinfo=UTC)
_NOTHING_HELD: Final = _Plan(fresh_until=_AT_ONCE, ask_at=_AT_ONCE, near_end=_AT_ONCE)


class HeldCredentials(Generic[Held]):
    """The credential of a source, shared by all who are configured alike.

    :param told: hears what came of each request.
    """

    def __init__(
        self,
        source: CredentialSource[Held],
        *,
        clock: Clock,
        jitter: Jitter,
        told: Told,
        patience: timedelta = _PATIENCE,
    ) -> None:
        self._source = source
        self._clock = clock
        self._jitter = jitter
        self._told = told
        self._patience = patience
        self._users: list[str] = []
        self._wanted = timedelta()
        self._held: Held | None = None
        self._fetched_at = _AT_ONCE
        self._plan = _NOTHING_HELD
        self._failure: CredentialsUnavailable | None = None
        self._failed_times = 0
        self._flight: asyncio.Task[None] | None = None
        self._is_slow = False  # somebody has waited in vain for the request under way

    def serve(self, place: str, wanted: timedelta) -> None:
        """From now on `place` of the configuration uses it, for requests that should live for `wanted`."""
        self._users.append(place)
        self._wanted = max(self._wanted, wanted)

    @property
    def places(self) -> tuple[str, ...]:
        """Where in the configuration it is used."""
        return tuple(self._users)

    @property
    def ask_at(self) -> datetime:
        """When `renew` has something to do next, as far as it is known: not while a request is under way."""
        return self._plan.ask_at if self._flight is None else _NEVER

    def is_usable(self, now: datetime) -> bool:
        return is_alive(self._held, now)

    def distrust(self, credential: Held) -> None:
        """Whoever should have honoured it did not: it is not given again where another can be had."""
        if credential is self._held and self._clock.now() - self._fetched_at >= _DOUBT:
            self._plan = _NOTHING_HELD

    async def current(self, now: datetime) -> Held:
        """One that is valid at `now`.

        :raises CredentialsUnavailable:
        """
        held = self._held
        if held is not None and now < self._plan.fresh_until:
            return held
        flight = self.renew(now)
        if flight is not None and self._is_worth_waiting(now):
            done, _ = await asyncio.wait({flight}, timeout=self._patience.total_seconds())
            if not done:
                self._waited_in_vain()
        held = self._held
        if held is None or not is_alive(held, now):
            raise self._trouble()
        return held

    def renew(self, now: datetime) -> "asyncio.Task[None] | None":
        """Asks the source, if it is time. Returns the request that is under way."""
        if self._flight is None and self._is_due(now):
            # A context of its own: this is nobody's request, whoever happened to notice that it is time.
            self._flight = asyncio.create_task(self._ask(), context=Context())
        return self._flight

    def close(self) -> None:
        if self._flight is not None:
            self._flight.cancel()

    def _is_due(self, now: datetime) -> bool:
        """After a failure also when the next try is further away than any can be: the clock was set back meanwhile,
        which may have been all that was wrong."""
        left = self._plan.ask_at - now
        return left <= timedelta() or (self._failed_times > 0 and left > 2 * _LAST_RETRY)

    def _is_worth_waiting(self, now: datetime) -> bool:
        """For the request under way. One that kept somebody waiting for nothing keeps nobody else: who needs many
        signatures, one after the other, would wait for each."""
        if self._is_slow:
            return False
        return not is_alive(self._held, now) or (now >= self._plan.near_end and self._failed_times == 0)

    def _waited_in_vain(self) -> None:
        if not self._is_slow:
            _log.warning("credentials.slow", extra={"credentials": self._name})
        self._is_slow = True

    async def _ask(self) -> None:
        try:
            fresh = await self._source.fetch()
            if not is_alive(fresh, self._clock.now()):
                raise CredentialsUnavailable("what it is given has expired already; is this machine's clock right?")
        except CredentialsUnavailable as exc:
            self._failed(exc)
        except Exception as exc:
            # The class alone: what a credential process or a secret file said may stand in the message.
            self._failed(CredentialsUnavailable(f"resolving it failed ({type(exc).__name__})"))
        else:
            self._fetched_at = self._clock.now()
            self._plan = self._planned(self._held, fresh, self._fetched_at)
            self._held, self._failed_times = fresh, 0
        finally:
            self._flight, self._is_slow = None, False
        ends = None if self._held is None else self._held.expires_at
        self._told(Renewal(users=tuple(self._users), is_ok=not self._failed_times, expires_at=ends))

    def _planned(self, before: Held | None, fresh: Held, now: datetime) -> _Plan:
        ends = fresh.expires_at
        if ends is None:
            return _plan(_NEVER, near_end=_NEVER)
        life = ends - now
        if before is not None and before.expires_at is not None and ends <= before.expires_at:
            at_least, at_most = _SAME_AGAIN
            return _plan(now + min(max(life / 8, at_least), at_most), near_end=ends)
        kept = max(life / 2, life - self._wanted - _SLACK) * (1 - _JITTER * self._jitter())
        return _plan(now + kept, near_end=ends - min(self._wanted, life) / 4)

    def _failed(self, exc: CredentialsUnavailable) -> None:
        now = self._clock.now()
        delay = min(_FIRST_RETRY * 2 ** min(self._failed_times, 10), _LAST_RETRY) * (1 + _RETRY_JITTER * self._jitter())
        self._failure = exc
        self._failed_times += 1
        self._plan = _Plan(fresh_until=self._plan.fresh_until, ask_at=now + delay, near_end=self._plan.near_end)
        ends = self._held.expires_at if self._held is not None else None
        is_usable = is_alive(self._held, now)
        _log.log(
            logging.WARNING if is_usable else logging.ERROR,
            "credentials.refresh-failed",
            extra={
                "credentials": self._name,
                "reason": exc.detail,
                "times": self._failed_times,
                "usable_until": ends.isoformat() if is_usable and ends else None,
            },
        )

    @property
    def _name(self) -> str:
        first, *more = self._users or ["credentials"]
        return f"{first} and {len(more)} more" if more else first

    def _trouble(self) -> CredentialsUnavailable:
        why = self._failure.detail if self._failure else "whoever gives it does not answer"
        return CredentialsUnavailable(f"{self._name}: {why}")
