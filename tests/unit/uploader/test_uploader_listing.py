"""`uploader ls`, `rm` and `get` of trees, as a person and a script meet them; and what the SDK does for them."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from listing_standin import ListingStandIn
from tree_manifests import mark, minted, opened, scan
from uploader_standin import KEY

from broker.contract import State
from uploader import BrokerRefused, Removed, Unreachable, Uploader, download_tree, remove_session
from uploader.tree.identity import Identity
from uploader.tree.manifest import Manifest


async def begin(standin: ListingStandIn, *arguments: str, stdin: int | None = None) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uploader", *arguments),
        env={"PATH": os.environ["PATH"], "BROKER_URL": standin.broker_url, "BROKER_API_KEY": KEY},
        stdin=asyncio.subprocess.PIPE if stdin is None else stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(standin: ListingStandIn, *arguments: str, says: str = "") -> tuple[int | None, str, str]:
    process = await begin(standin, *arguments)
    async with asyncio.timeout(30):
        out, err = await process.communicate(says.encode())
    return process.returncode, out.decode(), err.decode()


def events_of(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def mixed(listed: ListingStandIn) -> dict[str, str]:
    """A batch with one session of each state, by state; and one of another batch."""
    found = {state.value: listed.add(b"bytes", filename=state.value, state=state, batch="b").id for state in State}
    listed.add(b"bytes", filename="other", batch="other")
    return found


# --- the SDK ---


async def test_sessions_come_newest_first_and_a_page_at_a_time(
    listed: ListingStandIn, listed_uploader: Uploader
) -> None:
    expected = [listed.add(b"", filename=f"{number}", batch="b").id for number in range(10)][::-1]
    found = []
    async for session in listed_uploader.sessions(batch="b"):
        found.append(session.id)
        assert listed.pages <= len(found) // 3 + 1
    assert found == expected
    assert [each.id async for each in listed_uploader.sessions(limit=4)] == expected[:4]


async def test_labels_and_states_narrow_a_listing(
    listed: ListingStandIn, listed_uploader: Uploader, mixed: dict[str, str]
) -> None:
    listed.add(b"", batch="b", owner="me & you")
    assert [each.id async for each in listed_uploader.sessions(state=State.FAILED)] == [mixed["failed"]]
    assert len([each async for each in listed_uploader.sessions(batch="b", owner="me & you")]) == 1
    assert [each async for each in listed_uploader.sessions(batch="nobody's")] == []


async def test_a_listing_that_goes_in_circles_is_left(listed: ListingStandIn, listed_uploader: Uploader) -> None:
    listed.add(b"")
    listed.is_endless = True
    with pytest.raises(Unreachable, match="does not come to an end"):
        async with asyncio.timeout(10):
            assert len([each async for each in listed_uploader.sessions()]) < 3


@pytest.mark.parametrize(
    ("state", "removed"),
    [
        (State.PENDING, Removed.ABORTED),
        (State.ABORTED, Removed.ABORTED),
        (State.EXPIRED, Removed.NOTHING),
        *((state, Removed.ERASED) for state in State if state.value in {"verified", "processed", "failed", "rejected"}),
    ],
)
async def test_a_session_is_removed_whatever_its_state(
    listed: ListingStandIn, listed_uploader: Uploader, state: State, removed: Removed
) -> None:
    session = listed.add(b"bytes", state=state)
    assert await listed_uploader.remove(session.id) is removed
    assert await listed_uploader.remove(session.id) is removed  # again is as once


async def test_a_session_that_is_settled_since_it_was_seen_is_erased(
    listed: ListingStandIn, listed_uploader: Uploader
) -> None:
    session = listed.add(b"bytes", state=State.PENDING)
    seen = await listed_uploader.status(session.id)
    session.state = State.VERIFIED
    assert await listed_uploader.remove(seen) is Removed.ERASED
    assert listed.erasures == [session.id]


async def test_a_store_that_is_away_is_left_to_the_broker(listed: ListingStandIn, listed_uploader: Uploader) -> None:
    session = listed.add(b"bytes")
    listed.unreadable.add(session.id)
    assert await listed_uploader.remove(session.id) is Removed.ERASING


async def test_what_the_key_may_not_do_is_an_error(listed: ListingStandIn, listed_uploader: Uploader) -> None:
    listed.may_erase = False
    with pytest.raises(BrokerRefused, match="forbidden"):
        await listed_uploader.remove(listed.add(b"bytes").id)


async def test_programs_without_a_loop_restore_and_remove(listed: ListingStandIn, tmp_path: Path) -> None:
    session = listed.add(b"bytes", filename="a", batch="b").id
    result = await asyncio.to_thread(download_tree, listed.broker_url, KEY, tmp_path / "out", batch="b")
    assert (result.saved_files, (tmp_path / "out/a").read_bytes()) == (1, b"bytes")
    assert await asyncio.to_thread(remove_session, listed.broker_url, KEY, session) is Removed.ERASED


# --- ls ---


async def test_ls_prints_one_line_a_session(listed: ListingStandIn) -> None:
    listed.add(b"x" * 2048, filename="a.csv")
    listed.add(b"", filename="\x1b[2J\u202ename", state=State.PENDING)
    listed.add(b"", metadata={"path": "photos/b.jpg"})
    listed.erased.add(listed.add(b"", filename="gone").id)
    code, out, err = await run(listed, "ls")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "000003abc erased     2026-11-20 00:00:03         0 B gone",
        "000002abc verified   2026-11-20 00:00:02         0 B photos/b.jpg",
        "000001abc pending    2026-11-20 00:00:01         0 B \\x1b[2J\\u202ename",
        "000000abc verified   2026-11-20 00:00:00    2.00 KiB a.csv",
    ]


async def test_ls_for_scripts_is_narrowed_and_has_no_secret(listed: ListingStandIn, mixed: dict[str, str]) -> None:
    code, out, _ = await run(listed, "ls", "--json", "--batch", "b", "--state", "verified", "--limit", "5")
    (line,) = events_of(out)
    assert (code, line["id"], line["state"]) == (0, mixed["verified"], "verified")
    assert "token" not in line
    assert "upload" not in line


async def test_ls_of_nothing_is_no_failure(listed: ListingStandIn) -> None:
    assert await run(listed, "ls", "--batch", "nobody's") == (0, "", "")


# --- rm ---


async def test_rm_of_a_batch_asks_and_then_aborts_and_erases(listed: ListingStandIn, mixed: dict[str, str]) -> None:
    code, out, err = await run(listed, "rm", "--batch", "b", says="y\n")
    assert "1 pending to abort, 5 settled to erase (25 B), 2 without an object. Go on? [y/N]: " in err
    assert err.endswith("1 aborted, 5 erased, 2 no object\n")
    assert (code, len(out.splitlines())) == (0, 8)
    assert sorted(listed.erasures) == sorted(
        mixed[name] for name in ("verified", "processing", "processed", "failed", "rejected")
    )
    assert listed.sessions[mixed["pending"]].state is State.ABORTED
    assert len(listed.erased) == 5


@pytest.mark.parametrize("says", ["n\n", "\n", ""])
async def test_rm_that_is_not_told_to_go_on_removes_nothing(
    listed: ListingStandIn, mixed: dict[str, str], says: str
) -> None:
    code, _, _ = await run(listed, "rm", "--batch", "b", says=says)
    assert (code, listed.erasures, listed.sessions[mixed["pending"]].state) == (1, [], State.PENDING)


async def test_rm_dry_run_says_what_it_would_do(listed: ListingStandIn, mixed: dict[str, str]) -> None:
    code, out, err = await run(listed, "rm", "--batch", "b", "--dry-run")
    assert (code, listed.erasures) == (0, [])
    assert err == "1 pending to abort, 5 settled to erase (25 B), 2 without an object\n"
    assert f"{mixed['pending']} to abort     pending" in out.splitlines()
    code, out, _ = await run(listed, "rm", mixed["verified"], "--dry-run", "--json")
    assert events_of(out) == [{"id": mixed["verified"], "name": "verified", "removed": "erased", "is_dry_run": True}]


async def test_rm_says_of_each_file_what_the_key_may_not_do(listed: ListingStandIn, mixed: dict[str, str]) -> None:
    listed.may_erase = False
    code, _, err = await run(listed, "rm", "--batch", "b", "--yes")
    assert code == 3
    assert err.count("This key may not do that. [forbidden, 403]") == 5
    assert f"error: {mixed['verified']} verified: " in err
    assert listed.sessions[mixed["pending"]].state is State.ABORTED


async def test_rm_of_what_is_minted_meanwhile_is_not_meant(listed: ListingStandIn, mixed: dict[str, str]) -> None:
    process = await begin(listed, "rm", "--batch", "b")
    assert process.stderr is not None
    async with asyncio.timeout(30):
        await process.stderr.readuntil(b"[y/N]: ")
        late = listed.add(b"late", batch="b")
        await process.communicate(b"y\n")
    assert process.returncode == 0
    assert mixed["verified"] in listed.erased
    assert late.id not in listed.erased


async def test_rm_of_named_sessions_goes_on_past_unknown_ones(listed: ListingStandIn) -> None:
    session = listed.add(b"bytes", filename="a.csv").id
    code, out, err = await run(listed, "rm", "nothere", session, "--yes")
    assert (code, listed.erasures) == (3, [session])
    assert f"{session} erased       a.csv" in out
    assert "error: nothere nothere: " in err
    assert "session-not-found" in err


async def test_rm_and_get_want_to_be_told_what(listed: ListingStandIn, tmp_path: Path) -> None:
    wrong = [
        *(["rm"], ["rm", "abc", "--batch", "b"], ["rm", "abc", "--owner", "me"], ["rm", "../x"], ["get"]),
        *(["get", "abc", "--batch", "b"], ["get", "--batch", "b"], ["get", "abc", "--owner", "me"]),
        ["get", "--manifest", str(tmp_path / "none"), "-o", str(tmp_path)],
    ]
    for arguments in wrong:
        code, _, err = await run(listed, *arguments)
        assert (code, "Usage:" in err) == (2, True), arguments
    assert listed.calls == []


# --- get ---


async def test_get_of_several_sessions_fills_a_directory(listed: ListingStandIn, tmp_path: Path) -> None:
    ids = [listed.add(bytes([number]), filename=f"{number}.bin").id for number in range(3)]
    code, out, err = await run(listed, "get", ids[0], "nothere", *ids[1:], "-o", str(tmp_path / "new"))
    assert code == 3
    assert "error: nothere: " in err
    assert len(out.splitlines()) == 3
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == {
        f"{number}.bin": bytes([number]) for number in range(3)
    }


async def test_get_of_a_batch_says_failures_first(listed: ListingStandIn, tmp_path: Path) -> None:
    listed.add(b"bytes", metadata={"path": "a/good"}, batch="b")
    listed.add(b"bytes", metadata={"path_base64": "Li4vGw=="}, batch="b")
    listed.add(b"bytes", metadata={"path": "a/late"}, batch="b", state=State.PENDING)
    code, out, err = await run(listed, "get", "--batch", "b", "-o", str(tmp_path / "out"))
    assert code == 1
    assert err.splitlines() == [
        "error: ../\\x1b: ../\\x1b: a path that leads upwards [path-refused]",
        "warning: nothing to read of 1 pending",
    ]
    assert out.startswith(f"{tmp_path / 'out'}: 1 file saved (5 B), 1 failed, ")
    assert (tmp_path / "out/a/good").read_bytes() == b"bytes"


async def test_get_of_a_tree_tells_scripts_each_file(listed: ListingStandIn, tmp_path: Path) -> None:
    for name in ("a", "b", "../c"):
        listed.add(b"bytes", metadata={"path": name}, batch="b")
    await run(listed, "get", "--batch", "b", "-o", str(tmp_path / "out"))
    (tmp_path / "out" / "a").unlink()
    code, out, err = await run(listed, "get", "--batch", "b", "-o", str(tmp_path / "out"), "--json", "--jobs", "1")
    events = events_of(out)
    assert (code, err) == (1, "")
    assert {event["file"]: event["event"] for event in events[:-1]} == {
        "a": "download.finished",
        "b": "download.skipped",
        "../c": "download.failed",
    }
    last = events[-1]
    assert (last["event"], last["exit_code"], last["stopped"]) == ("download.tree-finished", 1, None)
    assert (last["saved_files"], last["skipped_files"], last["failed_files"]) == (1, 1, 1)


@pytest.mark.parametrize("json_too", [[], ["--json"]])
async def test_get_into_a_name_that_is_no_text_says_so_in_escapes(
    listed: ListingStandIn, tmp_path: Path, json_too: list[str]
) -> None:
    one = listed.add(b"bytes", metadata={"path": "a"}, batch="b").id
    odd = tmp_path / os.fsdecode(b"caf\xe9\n")
    code, out, err = await run(listed, "get", one, "-o", str(odd), *json_too)
    assert (code, odd.read_bytes()) == (0, b"bytes"), err
    assert r"caf\xe9\n" in (json.loads(out)["path"] if json_too else out)
    odd.unlink()
    code, out, err = await run(listed, "get", "--batch", "b", "-o", str(odd), *json_too)
    assert (code, (odd / "a").read_bytes()) == (0, b"bytes"), err
    assert len(out.splitlines()) == (2 if json_too else 1)


async def test_get_of_no_such_batch_exits_1(listed: ListingStandIn, tmp_path: Path) -> None:
    code, _, err = await run(listed, "get", "--batch", "typo", "-o", str(tmp_path / "out"))
    assert code == 1
    assert "there is nothing to restore" in err


async def test_an_interrupted_get_says_how_to_go_on(listed: ListingStandIn, tmp_path: Path) -> None:
    for number in range(20):
        listed.add(b"bytes", metadata={"path": f"a/{number}"}, batch="b")
    listed.slow_seconds = 0.2
    process = await begin(listed, "get", "--batch", "b", "-o", str(tmp_path / "out"), "--jobs", "1")
    await listed.seen("content")
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(30):
        _, err = await process.communicate()
    assert process.returncode == 130
    assert err.decode().splitlines()[-1] == "interrupted; what is saved stays, and the same command goes on"
    listed.slow_seconds = 0
    assert (await run(listed, "get", "--batch", "b", "-o", str(tmp_path / "out")))[0] == 0
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == 20


async def test_get_of_a_manifest_asks_the_broker_for_nothing_but_the_bytes(
    listed: ListingStandIn, tmp_path: Path
) -> None:
    manifest = tmp_path / "photos.sqlite"
    photos = tmp_path / "photos"
    contents = {"a": b"first", os.fsdecode(b"odd\xff\n"): b"second", "later": b"third"}
    photos.mkdir()
    for name, content in contents.items():
        (photos / name).write_bytes(content)
        os.utime(photos / name, ns=(0, 1_000_000_000_000_000_001))
    _verified(listed, manifest, photos, but="later")
    arguments = ("get", "--manifest", str(manifest), "-o", str(tmp_path / "out"))
    code, out, err = await run(listed, *arguments)
    assert (code, err) == (0, "warning: nothing to read of 1 pending\n")
    back = {path.name: path for path in (tmp_path / "out" / "photos").iterdir()}
    del contents["later"]
    assert {name: path.read_bytes() for name, path in back.items()} == contents
    assert {name for name, _ in listed.calls} == {"content"}
    listed.calls.clear()
    for path in back.values():
        os.utime(path, ns=(0, 1_000_000_000_000_000_001))
    code, out, _ = await run(listed, *arguments)
    assert (code, "2 were there" in out, listed.calls) == (0, True, [])


async def test_a_manifest_of_another_broker_is_refused(listed: ListingStandIn, tmp_path: Path) -> None:
    manifest = tmp_path / "m.sqlite"
    (tmp_path / "photos").mkdir()
    with opened(manifest, tmp_path / "photos"):
        pass
    code, _, err = await run(listed, "get", "--manifest", str(manifest), "-o", str(tmp_path / "out"))
    assert code == 1
    assert "of an upload to the broker http://127.0.0.1:1" in err


def _verified(standin: ListingStandIn, path: Path, root: Path, *, but: str) -> None:
    """A manifest of a tree of which all was sent, but one file."""
    with Manifest.open(path, Identity.of(standin.broker_url, (), "b", [root])) as manifest:
        scan(manifest)
        taken = manifest.take("size", 100).result()
        kept = [row for row in taken if row.path != but.encode()]
        ids = [standin.add((root / os.fsdecode(row.path)).read_bytes()).id for row in kept]
        manifest.minted([minted(row, session_id) for row, session_id in zip(kept, ids, strict=True)]).result()
        manifest.verified([mark(row) for row in kept]).result()
        manifest.released([mark(row) for row in taken if row not in kept]).result()
