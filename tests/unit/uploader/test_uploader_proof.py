"""That the store has what was sent is proved by its own digest, while the bytes leave; or it is not claimed."""

import json
from base64 import b64encode
from datetime import timedelta
from functools import partial
from hashlib import new
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts_standin import PartsStandIn
from uploader_standin import KEY, QUICK, MakeFile, Recorder, StandIn

from broker.contract import State
from uploader import BrokerRefused, ContentMismatch, Unreachable, Uploader, UploadResult, events, pump
from uploader.pump import TAIL_BYTES
from uploader.report import finished_event
from uploader.resume import Notes
from uploader.source import FileSource, MemorySource
from uploader.witness import Witness, md5_of

MIB = 1 << 20
LARGE = 3 * MIB + 17  # four parts
md5 = partial(new, "md5", usedforsecurity=False)


@pytest.mark.parametrize("size", [0, 1, 1 << 16, MIB + 1, LARGE])
async def test_one_put_is_proved_by_the_etag(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, size: int
) -> None:
    standin.names = "md5"
    path = make_file(size)
    result = await uploader.put(path)
    assert result.proved == ("sha256" if size <= MIB else "md5")
    assert standin.objects[result.key].etag == md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("is_plain", [True, False])
async def test_parts_are_proved_by_the_etag_of_all_of_them(
    parts_uploader: Uploader,
    parted: PartsStandIn,
    make_file: MakeFile,
    monkeypatch: pytest.MonkeyPatch,
    is_plain: bool,
) -> None:
    monkeypatch.setattr(pump, "IS_AVAILABLE", is_plain)
    parted.names = "md5"
    result = await parts_uploader.put(make_file(LARGE))
    assert (result.proved, result.attempts) == ("md5", 4)
    assert json.loads(_finished(result))["proved"] == "md5"


@pytest.mark.parametrize("names", ["nothing", "kms"])
async def test_an_etag_that_is_no_md5_proves_nothing_and_is_no_error(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, names: str
) -> None:
    standin.names = names
    result = await uploader.put(make_file(LARGE))
    assert (result.state, result.proved) == (State.VERIFIED, None)
    assert json.loads(_finished(result))["proved"] is None


@pytest.mark.parametrize("names", ["nothing", "kms"])
async def test_nor_are_those_of_parts(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile, names: str
) -> None:
    parted.names = names
    result = await parts_uploader.put(make_file(LARGE))
    assert (result.state, result.proved, result.attempts) == (State.VERIFIED, None, 4)


async def test_who_declares_nothing_and_wants_no_proof_gets_none(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    standin.names = "md5"
    standin.store_faults.append("garble")
    result = await uploader.put(make_file(LARGE), checksum="none")
    assert (result.state, result.proved) == (State.VERIFIED, None)


async def test_a_declared_digest_that_the_store_enforces_is_the_proof(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    result = await uploader.put(make_file(LARGE), checksum="sha256")
    assert (result.proved, standin.puts[0].status) == ("sha256", 200)


async def test_a_destination_that_demands_a_digest_gets_one(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, recorder: Recorder
) -> None:
    standin.demands_digest = True
    path = make_file(LARGE)
    result = await uploader.put(path, observer=recorder)
    assert result.checksum.md5 == b64encode(md5(path.read_bytes()).digest()).decode()
    assert (bool(result.checksum.sha256), len(recorder.of(events.Hashed)), len(standin.sessions)) == (True, 1, 1)
    with pytest.raises(BrokerRefused, match="requires a checksum"):
        await uploader.put(path, checksum="none")


async def test_other_bytes_in_one_put_end_it_and_the_session_is_aborted(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    standin.names = "md5"
    standin.store_faults.append("garble")
    with pytest.raises(ContentMismatch, match=r"other bytes than were sent: of the object it has the MD5 [0-9a-f]{32}"):
        await uploader.put(make_file(LARGE))
    assert [session.state for session in standin.sessions.values()] == [State.ABORTED]


async def test_a_part_that_arrived_as_another_is_sent_again_and_only_that_part(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile, recorder: Recorder
) -> None:
    parted.names = "md5"
    parted.part_faults[2].extend(["garble", "garble"])
    result = await parts_uploader.put(make_file(LARGE), observer=recorder)
    assert (result.proved, parted.times_sent()) == ("md5", {1: 1, 2: 3, 3: 1, 4: 1})
    assert {event.why for event in recorder.of(events.Retrying) if isinstance(event, events.Retrying)} == {
        "the store has received other bytes than were sent"
    }


async def test_a_part_that_always_arrives_as_another_ends_it(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile
) -> None:
    parted.names = "md5"
    parted.part_faults[2].extend(["garble"] * 10)
    with pytest.raises(ContentMismatch, match="of part 2 it has the MD5"):
        await parts_uploader.put(make_file(LARGE))
    assert parted.times_sent()[2] == 3
    assert [session.state for session in parted.sessions.values()] == [State.ABORTED]


async def test_an_object_that_is_not_made_of_the_parts_that_were_sent_is_not_called_uploaded(
    parted: PartsStandIn, make_file: MakeFile, tmp_path: Path
) -> None:
    parted.names = "md5"
    put_together = parted.put_together

    def exchanged(session: object) -> None:
        parts = next(iter(parted.stored_parts.values()))
        parts[1], parts[2] = parts[2], parts[1]
        put_together(session)  # type: ignore[arg-type]

    parted.put_together = exchanged  # type: ignore[method-assign, assignment]
    path = make_file(LARGE)
    async with Uploader(parted.broker_url, KEY, retry=QUICK, notes=Notes(tmp_path / "notes")) as uploader:
        with pytest.raises(ContentMismatch, match=r"its ETag is [0-9a-f]{32}-4, and not [0-9a-f]{32}-4; .* erases it"):
            await uploader.put(path)
        parted.put_together = put_together  # type: ignore[method-assign]
        again = await uploader.put(path)
    assert (again.attempts, again.proved, len(parted.sessions)) == (4, "md5", 2)


async def test_a_lost_answer_leaves_the_proof_to_what_the_broker_has_seen(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    standin.names = "md5"
    standin.store_faults.append("lost-response")
    result = await uploader.put(make_file(LARGE))
    assert (result.proved, result.attempts) == ("md5", 1)


async def test_parts_of_an_earlier_command_are_not_vouched_for(
    parted: PartsStandIn, make_file: MakeFile, recorder: Recorder
) -> None:
    parted.names = "md5"
    parted.part_faults[3].extend(["slow-down"] * QUICK.attempts)
    path = make_file(LARGE)
    async with Uploader(parted.broker_url, KEY, retry=QUICK, stall=timedelta(seconds=2)) as uploader:
        with pytest.raises(Unreachable, match="part 3"):
            await uploader.put(path, idempotency_key="k", jobs=1)
        result = await uploader.put(path, idempotency_key="k", observer=recorder)
    assert (result.state, result.proved, result.attempts) == (State.VERIFIED, None, 2)


async def test_a_file_is_read_once(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_bytes: list[int] = []
    read = FileSource.read

    def counted(source: FileSource, offset: int, size_bytes: int) -> memoryview:
        read_bytes.append(size_bytes)
        return read(source, offset, size_bytes)

    monkeypatch.setattr(FileSource, "read", counted)
    parted.names = "md5"
    result = await parts_uploader.put(make_file(LARGE))
    assert (result.proved, sum(read_bytes)) == ("md5", LARGE)
    read_bytes.clear()
    parted.names = "kms"
    await parts_uploader.put(make_file(LARGE, "twin"), jobs=1)
    assert sum(read_bytes) == MIB + 3 * TAIL_BYTES - (TAIL_BYTES - 17)  # the kernel copies what nobody can prove


@given(st.binary(max_size=200), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 60)), max_size=30))
def test_a_witness_knows_the_digest_of_all_or_none(data: bytes, reads: list[tuple[int, int]]) -> None:
    witness = Witness(MemorySource(name="x", data=data))
    seen = 0
    for offset, wanted in reads:
        count = max(0, min(wanted, len(data) - offset))
        witness.read(offset, count)
        seen = max(seen, offset + count) if offset <= seen else seen
    assert witness.md5 == (md5(data).digest() if seen == len(data) else None)


MD5 = md5(b"x").digest()
IN_BASE64 = b64encode(MD5).decode()


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([("ETag", f'"{MD5.hex()}"')], MD5),
        ([("etag", MD5.hex())], MD5),
        ([("ETag", f'"{MD5.hex()}"'), ("x-amz-server-side-encryption", "AES256")], MD5),
        ([("ETag", f'"{MD5.hex()}"'), ("x-amz-server-side-encryption", "aws:kms")], None),
        ([("ETag", f'"{MD5.hex()}"'), ("X-Amz-Server-Side-Encryption", "aws:kms:dsse")], None),
        ([("ETag", f'"{MD5.hex()}"'), ("x-amz-server-side-encryption-customer-algorithm", "AES256")], None),
        ([("ETag", f'"{MD5.hex()}-1"')], None),
        ([("ETag", f'"{MD5.hex().upper()}"')], None),
        ([("ETag", f'W/"{MD5.hex()}"')], None),
        ([], None),
        ([("ETag", '"0"'), ("x-goog-hash", f"crc32c=AAAAAA==,md5={IN_BASE64}")], MD5),
        ([("x-goog-hash", "crc32c=AAAAAA=="), ("X-Goog-Hash", f"md5={IN_BASE64}")], MD5),
        ([("ETag", f'"{MD5.hex()}"'), ("x-goog-generation", "1")], None),
        ([("x-goog-hash", "md5=AAAA")], None),
        ([("x-goog-hash", "md5=?")], None),
    ],
)
def test_what_an_answer_says_of_the_bytes(headers: list[tuple[str, str]], said: bytes | None) -> None:
    assert md5_of(headers) == said


def _finished(result: UploadResult) -> bytes:
    return msgspec.json.encode(finished_event("x", result))
