"""The upload from its declaration to the wished state, with everything that goes wrong on the way."""

import hashlib
from base64 import b64encode

import pytest
from uploader_standin import MakeFile, Recorder, StandIn

from broker.contract import State
from uploader import StoreRefused, Uploader, events

SMALL = 10_000
LARGE = 3 * (1 << 20) + 17
BIG = 24 << 20  # more than any socket buffer takes in advance


@pytest.mark.parametrize("size", [0, 1, SMALL, 1 << 16, (1 << 16) + 1, 1 << 20, (1 << 20) + 1, LARGE])
async def test_the_store_gets_exactly_the_declared_bytes(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, size: int
) -> None:
    path = make_file(size)
    result = await uploader.put(path)
    stored = standin.objects[result.key]
    digest = b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()
    assert (stored.size_bytes, stored.sha256, result.checksum.sha256) == (size, digest, digest)
    assert (result.state, result.attempts, result.size_bytes) == (State.VERIFIED, 1, size)


async def test_a_lost_answer_after_the_commit_is_settled_by_the_broker(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    standin.store_faults.append("lost-response")
    result = await uploader.put(make_file(LARGE))
    assert [put.status for put in standin.puts] == [0, 412]
    assert (result.state, result.attempts) == (State.VERIFIED, 2)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("fault", ["conflict", "slow-down", "reset"])
async def test_trouble_of_the_store_is_sent_again(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, recorder: Recorder, fault: str, size: int
) -> None:
    standin.store_faults.extend([fault, fault])
    result = await uploader.put(make_file(size), observer=recorder)
    assert (result.state, result.attempts, len(standin.puts)) == (State.VERIFIED, 3, 3)
    assert len(recorder.of(events.Retrying)) == 2
    assert len(standin.sessions) == 1


@pytest.mark.parametrize("size", [SMALL, BIG])
async def test_an_early_refusal_is_read_and_reported(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, size: int
) -> None:
    standin.store_faults.append("refuse-early")
    with pytest.raises(StoreRefused, match="400 EntityTooLarge: about EntityTooLarge") as caught:
        await uploader.put(make_file(size), checksum="none")
    assert caught.value.session_id is not None
    assert standin.sessions[caught.value.session_id].state is State.ABORTED
    assert len(standin.puts) == 1
