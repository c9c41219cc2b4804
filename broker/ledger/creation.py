"""How new sessions travel to their script: in chunks of one shard each, so that Redis serves others in between."""

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache

from broker.domain.errors import BrokerError, IdempotencyKeyReused, QuotaExceeded
from broker.domain.keys import shard_of
from broker.ledger.records import decode, duration, encode, milliseconds
from broker.ledger.wire import Reply, Word
from broker.ports import Created, NewSession, Quota, Usage

MOST_AT_ONCE = 32  # ours: a script of some 0.3 ms
INDEX_KEPT_MS = 400 * 86_400_000  # ours: after the last session was added, longer than anybody keeps records


def chunks(items: Sequence[NewSession]) -> list[list[int]]:
    """The places of items that may share a script: of one shard, in their order. A session is never parted from its
    copies."""
    chunks: list[list[int]] = []
    under_way: dict[str, tuple[list[int], int]] = {}  # by shard: the chunk, and how many records it has
    for place, item in enumerate(items):
        shard, records = shard_of(item.session.id), 1 + len(item.copies)
        chunk, count = under_way.get(shard, ([], MOST_AT_ONCE))
        if count + records > MOST_AT_ONCE:
            chunk, count = [], 0
            chunks.append(chunk)
        chunk.append(place)
        under_way[shard] = chunk, count + records
    return chunks


def words(items: Iterable[NewSession], *, batch: str, owner: str) -> list[Word]:
    """What the script takes of each session.

    :param batch: how the names of the indexes by batch begin; `owner`: of those by owner.
    """
    said: list[Word] = []
    for item in items:
        session, facts, idempotency = item.session, item.session.facts, item.idempotency
        said += (
            session.id,
            encode(session),
            milliseconds(item.look_at),
            milliseconds(session.progress.changed_at),  # which for a new one is when it was created
            facts.spec.size_bytes,
            "" if facts.batch is None else batch + label_hash(facts.principal, facts.batch),
            "" if facts.owner is None else owner + label_hash(facts.principal, facts.owner),
        )
        if idempotency is None:
            said += ("", "", "")
        else:
            said += (idempotency.key, idempotency.body, duration(idempotency.keep_for))
    return said


def copy_words(items: Iterable[NewSession]) -> list[Word]:
    """What the script takes of each copy: whose it is, by the place of that session, and the record itself."""
    said: list[Word] = []
    for place, item in enumerate(items, start=1):
        for copy in item.copies:
            said += (place, copy.session.id, encode(copy.session), milliseconds(copy.look_at))
    return said


def answer(said: Reply, item: NewSession, quota: Quota | None) -> Created | BrokerError:
    """What the script's answer means for one item."""
    if said == 1:
        return Created(session=item.session, is_replay=False)
    if isinstance(said, int):
        return IdempotencyKeyReused() if said == 0 else refusal(quota or Quota(), is_of_bytes=said == 3)
    try:
        return Created(session=decode(said[0].decode(), said[1]), is_replay=True)
    except BrokerError as exc:
        return exc


def refusal(quota: Quota, *, is_of_bytes: bool) -> QuotaExceeded:
    if is_of_bytes:
        return QuotaExceeded(f"this key may have at most {quota.size_bytes} bytes pending at once")
    return QuotaExceeded(f"this key may have at most {quota.sessions} sessions pending at once")


def left_of(quota: Quota | None, elsewhere: Usage) -> tuple[Word, Word]:
    """What the quota leaves to one shard, as the script takes it."""
    if quota is None:
        return "", ""
    return (
        "" if quota.sessions is None else quota.sessions - elsewhere.sessions,
        "" if quota.size_bytes is None else quota.size_bytes - elsewhere.size_bytes,
    )


@lru_cache(maxsize=4_096)
def label_hash(principal: str, label: str) -> str:
    """A label may be long and is somebody's words; in the name of a key it is neither."""
    return hashlib.sha256(f"{principal}\0{label}".encode()).hexdigest()[:32]
