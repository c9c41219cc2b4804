"""What a multipart upload adds to the life of a session."""

from datetime import timedelta

import pytest

from broker.contract import State
from broker.domain.errors import SessionSettled
from broker.domain.multipart import Multipart
from broker.domain.objects import UploadSpec
from broker.domain.policy import grace
from broker.domain.sessions import (
    Session,
    abort,
    completing,
    expire,
    in_flight_bytes,
    is_completing,
    opened,
    quiet_at,
    verify,
)
from tests.clock import START
from tests.unit.domain.samples import INFO, PLACE, pending

SECOND = timedelta(seconds=1)
MIB = 2**20
NOW = START + timedelta(hours=5)
SPEC = UploadSpec(filename="a", size_bytes=100 * MIB, content_type="text/csv")


def in_parts(upload_id: str = "upload-1", part_size_bytes: int = 16 * MIB) -> Session:
    plan = Multipart(part_size_bytes=part_size_bytes, part_count=7, upload_id=upload_id)
    return pending(spec=SPEC, multipart=plan)


def test_an_upload_is_recorded_without_being_a_transition() -> None:
    change = opened(in_parts(""), "upload-1", NOW)
    assert change.after.facts.multipart == Multipart(part_size_bytes=16 * MIB, part_count=7, upload_id="upload-1")
    assert (change.after.state, change.is_transition, change.look_at) == (State.PENDING, False, NOW)
    assert change.after.progress.revision == change.before.progress.revision + 1


def test_one_holder_completes_for_a_while_and_is_looked_after() -> None:
    session = in_parts()
    assert not is_completing(session, NOW)
    change = completing(session, NOW + SECOND)
    assert (change.is_transition, change.look_at) == (False, NOW + SECOND)
    assert is_completing(change.after, NOW)
    assert not is_completing(change.after, NOW + SECOND)


def test_a_settled_session_is_neither_opened_nor_completed_nor_completing() -> None:
    held = completing(in_parts(), NOW + SECOND).after
    for settled in (verify(held, INFO, PLACE, NOW).after, abort(held, PLACE, NOW).after):
        assert not is_completing(settled, NOW)
        with pytest.raises(SessionSettled):
            opened(settled, "upload-2", NOW)
        with pytest.raises(SessionSettled):
            completing(settled, NOW)


def test_a_single_put_is_not_opened() -> None:
    with pytest.raises(SessionSettled):
        opened(pending(), "upload-1", NOW)


def test_what_may_be_under_way_is_a_part() -> None:
    assert in_flight_bytes(in_parts()) == 16 * MIB
    assert in_flight_bytes(in_parts(part_size_bytes=200 * MIB)) == 100 * MIB
    assert in_flight_bytes(pending(spec=SPEC)) == 100 * MIB
    quiet = quiet_at(in_parts(), PLACE.policy, START)
    assert quiet == in_parts().facts.requests_end_at + grace(PLACE.policy, 16 * MIB)


@pytest.mark.parametrize("end", [expire, abort])
def test_what_ends_without_an_object_is_cleared_away_at_once(end: type) -> None:
    change = end(in_parts(), PLACE, START)  # while its requests live
    assert change.look_at == START
    assert change.after.facts.requests_end_at == change.before.facts.requests_end_at


@pytest.mark.parametrize("end", [expire, abort])
def test_what_may_be_begun_at_this_moment_is_looked_at_a_grace_later(end: type) -> None:
    change = end(in_parts(""), PLACE, NOW)
    assert change.look_at == NOW
    assert quiet_at(change.after, PLACE.policy, START) == NOW + grace(PLACE.policy, 16 * MIB)
