"""The lean client against stores that break off, lie, stall, say too much or are not there, on both event loops."""

import asyncio
import socket
from datetime import timedelta

import pytest
from lanes_store import OK, SECRET, Caller, always, once, request_to, store_of

from uploader.lanes import Lanes, connecting
from uploader.lanes import lanes as pool
from uploader.sender import Next

BODY = bytes(4096)
LARGE = bytes(8 << 20)
FINAL = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


# --- connections that end ---


async def test_a_connection_that_ended_while_nobody_used_it_costs_nothing(lanes: Lanes) -> None:
    async def hang_up(caller: Caller) -> None:
        await caller.hear()
        await caller.say(OK)
        await caller.reader.read(1)  # the next request has begun when it is gone
        caller.reset()

    async with store_of(hang_up, always(OK)) as store:
        assert (await lanes.send(store.request("/1"), BODY)).status == 200
        assert (await lanes.send(store.request("/2"), BODY)).status == 200
        assert store.connections == 2


async def test_a_second_goodbye_is_an_answer(lanes: Lanes) -> None:
    async def hang_up(caller: Caller) -> None:
        await caller.hear()
        await caller.say(OK)
        await caller.hear()
        caller.reset()

    async def refuse(caller: Caller) -> None:
        await caller.hear()
        caller.reset()

    async with store_of(hang_up, refuse) as store:
        await lanes.send(store.request(), BODY)
        answer = await lanes.send(store.request(), BODY)
        assert (answer.status, answer.next) == (0, Next.REPEAT)
        assert (store.connections, len(store.heard)) == (2, 3)


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 200 OK\r\nETag:", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_an_answer_that_is_cut_off_is_not_sent_again_by_itself(lanes: Lanes, begun: bytes) -> None:
    async def cut_off(caller: Caller) -> None:
        await caller.hear()
        await caller.say(OK)
        await caller.hear()
        await caller.say(begun)

    async with store_of(cut_off, always(OK)) as store:
        await lanes.send(store.request(), BODY)
        answer = await lanes.send(store.request(), BODY)
        assert (answer.status, answer.next) == (0, Next.REPEAT)
        assert len(store.heard) == 2


async def test_a_fresh_connection_that_breaks_is_not_replaced(lanes: Lanes) -> None:
    async def reset(caller: Caller) -> None:
        await caller.reader.readexactly(100)
        caller.reset()

    async with store_of(reset, always(OK)) as store:
        answer = await lanes.send(store.request(), LARGE)
        assert str(answer) in {"connection reset by peer", "broken pipe", "connection lost"}
        assert store.connections == 1


@pytest.mark.parametrize("status", [200, 503])
async def test_a_body_that_is_cut_off_leaves_the_answer_as_it_is(lanes: Lanes, status: int) -> None:
    said = b"HTTP/1.1 %d So\r\nContent-Length: 999\r\n\r\n<Error><Code>SlowDown</Code>" % status
    async with store_of(once(said)) as store:
        answer = await lanes.send(store.request(), BODY)
        assert (answer.status, answer.code) == (status, "SlowDown" if status == 503 else "So")
        assert (await lanes.send(store.request(), BODY)).status == status
        assert store.connections == 2


# --- answers that come early, twice, or to nothing ---


async def test_an_answer_before_the_body_is_taken_counts(lanes: Lanes) -> None:
    async def refuse(caller: Caller) -> None:
        await caller.hear_head()
        await caller.say(FINAL)
        await caller.reader.read()  # until the client has closed

    async with store_of(refuse) as store:
        for _ in range(3):
            assert (await lanes.send(store.request(), LARGE)).status == 413
        assert store.connections == 3


async def test_a_connection_with_a_body_half_way_is_not_used_again(lanes: Lanes) -> None:
    async def answer_and_linger(caller: Caller) -> None:
        await caller.hear_head()
        await caller.say(OK)
        caller.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(30)

    async with store_of(answer_and_linger, always(OK), receives_bytes=4096) as store:
        assert (await lanes.send(store.request(), LARGE)).status == 200
        assert (await lanes.send(store.request(), BODY)).status == 200
        assert store.connections == 2


@pytest.mark.parametrize("more", [b"HTTP/1.1 403 No\r\nETag: x\r\nContent-Length: 4\r\n\r\nabcd", b"garbage", b"HTTP"])
async def test_a_second_answer_is_nobodys(lanes: Lanes, more: bytes) -> None:
    async with store_of(once(OK + more), always(OK)) as store:
        first = await lanes.send(store.request("/1"), BODY)
        second = await lanes.send(store.request("/2"), BODY)
        assert [str(first), first.etag, second.status] == ["200 OK", '"abc"', 200]
        assert store.connections == 2


async def test_an_answer_to_nothing_is_not_the_answer_to_what_comes_next(lanes: Lanes) -> None:
    async def talk(caller: Caller) -> None:
        await caller.hear()
        await caller.say(OK)
        await asyncio.sleep(0.05)
        await caller.say(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await caller.reader.read()

    async with store_of(talk, always(OK)) as store:
        assert (await lanes.send(store.request(), BODY)).status == 200
        await store.has_closed(1)
        assert (await lanes.send(store.request(), BODY)).status == 200
        assert store.connections == 2


# --- answers that are none ---


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ],
)
async def test_what_is_not_http_is_said_to_be_none(lanes: Lanes, said: bytes) -> None:
    async with store_of(once(said)) as store:
        answer = await lanes.send(store.request(), BODY)
        assert (answer.status, str(answer), answer.next) == (0, "the answer is not HTTP", Next.REPEAT)


async def test_a_head_without_an_end_is_not_kept(lanes: Lanes) -> None:
    async def go_on(caller: Caller) -> None:
        await caller.hear()
        await caller.say(b"HTTP/1.1 200 OK\r\n")
        while True:
            await caller.say(b"x-more: %s\r\n" % (b"x" * 4000))

    async with store_of(go_on) as store:
        assert str(await lanes.send(store.request(), BODY)) == "the answer is too long"


@pytest.mark.parametrize("status", [b"200", b"500"])
async def test_a_body_without_an_end_is_not_read_to_its_end(lanes: Lanes, status: bytes) -> None:
    async def go_on(caller: Caller) -> None:
        await caller.hear()
        await caller.say(b"HTTP/1.1 %s So\r\n\r\n<Code>Endless</Code>" % status)
        while True:
            await caller.say(b"x" * 4000)

    async with store_of(go_on) as store:
        answer = await lanes.send(store.request(), BODY)
        assert str(answer) == ("500 Endless" if status == b"500" else "200 So")


async def test_reasons_are_fit_for_a_terminal(lanes: Lanes) -> None:
    async with store_of(always(b"HTTP/1.1 400 \x9b31m\xff\r\nContent-Length: 0\r\n\r\n")) as store:
        answer = await lanes.send(store.request(), BODY)
        assert str(answer).isprintable()


async def test_a_reason_that_repeats_the_request_shows_no_secret(lanes: Lanes) -> None:
    echo = f"/bucket/key?sig={SECRET}%2B not found, sig {SECRET}+".encode()
    async with store_of(always(b"HTTP/1.1 404 %s\r\nContent-Length: 0\r\n\r\n" % echo)) as store:
        answer = await lanes.send(store.request(), BODY)
        assert (answer.status, answer.code) == (404, "/bucket/key?*** not found, sig ***")


# --- stores that are slow, or away ---


async def test_a_store_that_takes_nothing_is_given_up(hasty: Lanes) -> None:
    async with store_of(_stall, receives_bytes=4096) as store:
        answer = await hasty.send(store.request(), LARGE)
        assert (str(answer), answer.next) == ("timed out", Next.REPEAT)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux tells of bytes it keeps itself")
async def test_a_store_that_takes_nothing_of_what_the_kernel_keeps_is_given_up() -> None:
    moment = timedelta(milliseconds=300)
    async with (
        Lanes(stall=moment, answer_timeout=timedelta(seconds=60)) as patient,
        store_of(_stall, receives_bytes=4096) as store,
    ):
        async with asyncio.timeout(30):
            answer = await patient.send(store.request(), bytes(1 << 16))
        assert str(answer) in {"timed out", "connection timed out"}


async def test_a_store_that_takes_slowly_is_waited_for() -> None:
    async def sip(caller: Caller) -> None:
        heard = await caller.hear_head()
        left = int(heard.header("content-length"))
        while left:
            left -= len(await caller.reader.read(1 << 20))
            await asyncio.sleep(0.01)
        await caller.say(OK)

    async with store_of(sip, receives_bytes=1 << 16) as store, Lanes(stall=timedelta(milliseconds=300)) as lanes:
        assert (await lanes.send(store.request(), LARGE)).status == 200


async def test_a_store_that_does_not_answer_is_given_up(hasty: Lanes) -> None:
    async def keep_quiet(caller: Caller) -> None:
        await caller.hear()
        await caller.reader.read()

    async with store_of(keep_quiet) as store:
        assert str(await hasty.send(store.request(), BODY)) == "timed out"


async def test_early_words_are_no_answer(hasty: Lanes) -> None:
    async def go_on(caller: Caller) -> None:
        await caller.hear()
        while True:
            await caller.say(b"HTTP/1.1 100 Continue\r\n\r\n")
            await asyncio.sleep(0.05)

    async with store_of(go_on) as store:
        assert str(await hasty.send(store.request(), BODY)) == "timed out"


async def test_a_head_without_its_body_counts_after_a_while(hasty: Lanes) -> None:
    async def begin(caller: Caller) -> None:
        await caller.hear()
        await caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await caller.reader.read()

    async with store_of(begin) as store:
        assert (await hasty.send(store.request(), BODY)).status == 200


async def test_nobody_there(lanes: Lanes) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        answer = await lanes.send(request_to(f"http://127.0.0.1:{taken.getsockname()[1]}/x?sig={SECRET}"), BODY)
    assert (str(answer), answer.next) == ("connection refused", Next.REPEAT)


async def test_an_unknown_host(lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nowhere(*_args: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert str(await lanes.send(request_to(f"http://{'x' * 64}.localhost/x"), BODY)) == "the host name is unknown"
    monkeypatch.setattr(connecting, "_resolved", nowhere)
    assert str(await lanes.send(request_to("http://store.example/x"), BODY)) == "the host name is unknown"


async def test_another_address_of_the_host_is_tried(lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with store_of(once(OK)) as store:
            port = int(store.url.rpartition(":")[2])
            ways = [("127.0.0.1", taken.getsockname()[1]), ("127.0.0.1", port)]

            async def both(*_args: object) -> list[object]:
                return [(socket.AF_INET, socket.IPPROTO_TCP, way) for way in ways]

            monkeypatch.setattr(connecting, "_resolved", both)
            for _ in range(4):
                assert (await lanes.send(request_to("http://store.example/x"), BODY)).status == 200


async def test_connections_that_nobody_uses_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "KEPT_IDLE", timedelta(milliseconds=100))
    async with Lanes(stall=timedelta(milliseconds=200)) as lanes, store_of(always(OK)) as store:
        await lanes.send(store.request(), BODY)
        await store.has_closed(1)
        assert (await lanes.send(store.request(), BODY)).status == 200


async def test_what_is_cancelled_takes_its_connection_with_it(lanes: Lanes) -> None:
    heard = asyncio.Event()

    async def keep_quiet(caller: Caller) -> None:
        await caller.hear()
        heard.set()
        await caller.reader.read()

    async with store_of(keep_quiet, always(OK)) as store:
        sending = asyncio.create_task(lanes.send(store.request("/1"), BODY))
        await asyncio.wait_for(heard.wait(), 10)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert (await lanes.send(store.request("/2"), BODY)).status == 200
        assert store.connections == 2


async def test_nothing_stays_open_behind_the_block() -> None:
    heard = asyncio.Event()

    async def keep_quiet(caller: Caller) -> None:
        await caller.hear()
        heard.set()
        await caller.reader.read()

    async with store_of(always(OK), keep_quiet) as store:
        async with Lanes() as lanes:
            await lanes.send(store.request(), BODY)
            first = await lanes.send(store.request(), BODY)
            busy = [asyncio.create_task(lanes.send(store.request(), BODY)) for _ in range(2)]
            await asyncio.wait_for(heard.wait(), 10)
        answers = await asyncio.gather(*busy)
        assert first.status == 200
        assert sorted(answer.status for answer in answers) in ([0, 200], [0, 0])
        await store.has_closed(store.connections)


async def _stall(caller: Caller) -> None:
    caller.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(60)
