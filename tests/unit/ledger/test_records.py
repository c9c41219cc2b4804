"""The bytes of a record: what was written once is read for ever."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract import Checksum, Guarantees, Level, Reason, State, Step, StoredObject
from broker.domain.errors import LedgerUnavailable
from broker.domain.objects import UploadSpec
from broker.domain.sessions import LEASABLE, LOOKED_AT, Facts, Progress, Session
from broker.ledger import records
from broker.ports import Stray

AT = datetime(2026, 11, 20, 12, 0, 0, 123_000, tzinfo=UTC)
ID = "00" + "a" * 26

# Written by schema 2 on 2026-11-20; must be read by every later version. (Schema 1 never left the house.)
GOLDEN = bytes.fromhex(
    "02020000000700000003000100020004000001a1f8d3ea7b01dc0011a76b65793a617070a764656661756c74ac61636d652d75706c6f"
    "616473d92f75706c6f6164732f303061616161616161616161616161616161616161616161616161612f7265706f72742e63737695aa"
    "7265706f72742e637376ce00a00000a8746578742f63737681a6736861323536d92c3437444551706a38484253612b2f54496d572b35"
    "4a4365755165526b6d354e4d704a575a473368537546553d8084a473697a65a8656e666f72636564ac636f6e74656e745f74797065a8"
    "656e666f72636564ab6372656174655f6f6e6c79a8656e666f72636564a8636865636b73756da8656e666f72636564d6ff6b003640d6"
    "ff6b0187c0d6ff6b0039c481a463617365a23137c0c0c0c0c40090c2"
)

moments = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
whole = moments.map(lambda at: at.replace(microsecond=at.microsecond // 1_000 * 1_000))
short = st.text(max_size=40)
pairs = st.dictionaries(short, short, max_size=3)
specs = st.builds(
    UploadSpec,
    filename=short,
    size_bytes=st.integers(0, 5 * 1024**4),
    content_type=short,
    checksum=st.builds(Checksum, sha256=st.none() | short, md5=st.none() | short),
    object_metadata=pairs,
)
reasons = st.none() | st.builds(Reason, code=short, message=short)
stored = st.none() | st.builds(
    StoredObject, size_bytes=st.integers(0, 2**50), content_type=short, etag=short, last_modified=st.none() | whole
)
steps = st.lists(st.builds(Step, state=st.sampled_from(State), at=whole, epoch=st.integers(0, 9)), max_size=4)
levels = st.sampled_from(Level)
facts = st.builds(
    Facts,
    principal=short,
    destination=short,
    bucket=short,
    key=short,
    spec=specs,
    guarantees=st.builds(Guarantees, size=levels, content_type=levels, create_only=levels, checksum=levels),
    created_at=whole,
    expires_at=whole,
    requests_end_at=whole,
    metadata=pairs,
    owner=st.none() | short,
    stored=stored,
    reason=reasons,
    result=st.binary(max_size=50),
    steps=steps.map(tuple),
    is_removed=st.booleans(),
)
small, large = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
progresses = st.builds(
    Progress,
    state=st.sampled_from(State),
    revision=large,
    epoch=large,
    failures=small,
    lost_leases=small,
    infrastructure=small,
    changed_at=whole,
)
sessions = st.builds(Session, id=st.just(ID), progress=progresses, facts=facts)


@given(sessions)
def test_a_session_is_read_back_as_it_was_written(session: Session) -> None:
    assert records.decode(ID, records.encode(session)) == session


@given(sessions)
def test_the_mark_is_how_a_record_begins(session: Session) -> None:
    assert records.encode(session).startswith(records.mark(session.progress))


@given(moments)
def test_milliseconds_are_cut_not_rounded_and_come_back(at: datetime) -> None:
    back = records.moment(records.milliseconds(at))
    assert timedelta(0) <= at - back < timedelta(milliseconds=1)
    assert records.milliseconds(back) == records.milliseconds(at)


def test_every_state_has_its_byte_and_keeps_it() -> None:
    assert set(records.STATES) == set(State)
    assert [state.value for state in records.STATES] == [
        "pending",
        "verified",
        "processing",
        "processed",
        "failed",
        "rejected",
        "expired",
        "aborted",
    ]


def test_tables_are_the_bytes_of_their_states() -> None:
    assert records.table(LOOKED_AT) == bytes([0, 5, 6, 7])
    assert records.table(LEASABLE) == bytes([1, 2])


def test_a_record_of_the_first_version_is_still_read() -> None:
    session = records.decode(ID, GOLDEN)
    assert session.progress == Progress(
        state=State.PROCESSING,
        revision=7,
        epoch=3,
        failures=1,
        lost_leases=2,
        infrastructure=4,
        changed_at=AT,
        is_heard=True,
    )
    assert session.facts.spec.filename == "report.csv"
    assert session.facts.metadata == {"case": "17"}


@given(sessions, st.integers(1, 20))
def test_a_record_with_fields_of_tomorrow_is_read_without_them(session: Session, tomorrow: int) -> None:
    record = records.encode(session)
    parts = msgspec.msgpack.decode(record[records.HEADER_BYTES :])
    longer = record[: records.HEADER_BYTES] + msgspec.msgpack.encode([*parts, *range(tomorrow)])
    assert records.decode(ID, longer) == session


def test_a_record_without_todays_fields_is_read_with_their_defaults() -> None:
    parts = msgspec.msgpack.decode(GOLDEN[records.HEADER_BYTES :])
    shorter = GOLDEN[: records.HEADER_BYTES] + msgspec.msgpack.encode(parts[:9])
    assert records.decode(ID, shorter).facts.metadata == {}


@given(st.binary(max_size=80))
def test_rubbish_is_refused_and_never_guessed(rubbish: bytes) -> None:
    with pytest.raises(LedgerUnavailable, match="record of session"):
        records.decode(ID, bytes([records.SCHEMA]) + rubbish)


@pytest.mark.parametrize("schema", [0, records.SCHEMA + 1, 255])
def test_another_schema_is_named(schema: int) -> None:
    with pytest.raises(LedgerUnavailable, match=f"schema {schema}"):
        records.decode(ID, bytes([schema]) + GOLDEN[1:])


def test_counts_beyond_two_bytes_stay_at_the_most() -> None:
    session = records.decode(ID, GOLDEN)
    progress = msgspec.structs.replace(session.progress, failures=70_000, infrastructure=1 << 20)
    again = records.decode(ID, records.encode(msgspec.structs.replace(session, progress=progress)))
    assert (again.progress.failures, again.progress.infrastructure) == (65_535, 65_535)


def test_nothing_is_kept_for_no_time_at_all() -> None:
    assert records.duration(timedelta(0)) == 1
    assert records.duration(timedelta(seconds=2)) == 2_000


@given(short, short)
def test_a_stray_is_read_back(destination: str, key: str) -> None:
    stray = Stray(destination=destination, key=key)
    assert records.decode_stray(records.encode_stray(stray)) == stray
