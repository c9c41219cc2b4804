"""Store and broker in trouble: what is sent again, what fails, and what ends the run."""

from datetime import timedelta
from pathlib import Path

import pytest
from many_standin import Many
from tree_manifests import rows, states
from tree_tools import Onlooker, make_tree, paths_of
from uploader_standin import KEY, QUICK, serving

from broker.contract import State
from uploader import StoreRefused, TreeOrder, Unreachable, Uploader, events
from uploader.errors import BrokerRefused
from uploader.transfer.pace import FIRST_LIMIT


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "photos", 12)


@pytest.mark.parametrize(
    "fault", ["conflict", "slow-down", "too-many", "reset", "expired", "expired-token", "lost-response"]
)
async def test_a_file_in_trouble_is_sent_again(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path, fault: str
) -> None:
    many.store_faults.extend([fault, None, fault])
    result = await tree_uploader.put_tree([tree], manifest=manifest)
    assert (result.exit_code, result.verified_files, result.sent_files) == (0, 12, 12)
    assert many.paths() == paths_of(tree)
    assert (len(many.puts), len(many.sessions)) == (14, 12)
    assert result.resent_bytes > 0


async def test_a_request_that_expires_before_it_is_sent_is_minted_again(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    many.store_faults.append("slow-down-1s")
    many.ttls.extend([timedelta(seconds=1.5)] * 12)
    result = await tree_uploader.put_tree([tree], manifest=manifest)
    assert (result.exit_code, len(many.sessions)) == (0, 12)
    assert {put.fault for put in many.puts if put.status == 403} == set()
    assert len(many.batches) >= 2


async def test_requests_that_expire_on_their_way_are_no_refusals(
    tree_uploader: Uploader, many: Many, tmp_path: Path, manifest: Path
) -> None:
    """The clock here says that they have expired, so any number of them is a matter of time."""
    root = make_tree(tmp_path / "one", 1)
    many.store_faults.extend(["expired-token"] * 5)
    many.ttls.extend([timedelta(seconds=-1)] * 5)
    result = await tree_uploader.put_tree([root], manifest=manifest)
    assert (result.exit_code, result.verified_files, len(many.puts)) == (0, 1, 6)


async def test_signatures_that_are_never_taken_fail_the_file(
    tree_uploader: Uploader, many: Many, tmp_path: Path, manifest: Path
) -> None:
    root = make_tree(tmp_path / "one", 1)
    many.store_faults.extend(["forbidden"] * 3)
    result = await tree_uploader.put_tree([root], manifest=manifest)
    (row,) = rows(manifest).values()
    assert (result.exit_code, row.error_code) == (1, "store-refused")
    assert [session.state for session in many.sessions.values()] == [State.ABORTED]


async def test_a_file_that_the_store_refuses_is_listed_and_its_session_aborted(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    onlooker = Onlooker()
    many.store_faults.append("refuse-early")
    result = await tree_uploader.put_tree([tree], manifest=manifest, observer=onlooker)
    assert (result.exit_code, result.verified_files, result.failed_files) == (1, 11, 1)
    (row,) = result.failures
    assert (row.error_code, row.error_message) == (
        "store-refused",
        "the store refuses the upload: 400 EntityTooLarge: about EntityTooLarge",
    )
    assert sum(session.state is State.ABORTED for session in many.sessions.values()) == 1
    assert len(onlooker.of(events.FileFailed)) == 1
    again = await tree_uploader.put_tree([tree], manifest=manifest)
    assert (again.exit_code, again.sent_files, again.failures) == (1, 0, result.failures)


async def test_a_store_that_refuses_everything_ends_the_run_before_every_file_has_failed(
    tree_uploader: Uploader, many: Many, tmp_path: Path, manifest: Path
) -> None:
    root = make_tree(tmp_path / "many", 200)
    many.store_faults.extend(["refuse-early"] * 1_000)
    result = await tree_uploader.put_tree([root], manifest=manifest)
    assert isinstance(result.error, StoreRefused)
    assert result.exit_code == 1
    assert 20 <= result.failed_files < 200
    assert result.pending_files + result.unsettled_files + result.failed_files == 200


async def test_trouble_is_told(tree_uploader: Uploader, many: Many, tree: Path, manifest: Path) -> None:
    onlooker = Onlooker()
    many.store_faults.extend(["slow-down"] * 12)
    many.broker_faults["batch"].extend(["busy"] * 2)
    await tree_uploader.put_tree([tree], manifest=manifest, observer=onlooker)
    told = [event for event in onlooker.events if isinstance(event, events.TreeRetrying)]
    assert [(event.what, event.attempt) for event in told] == [("mint", 2)]
    slowed = [event for event in onlooker.events if isinstance(event, events.TreeSlowed)]
    expected = ("503 SlowDown: about SlowDown", FIRST_LIMIT // 2)
    assert [(event.why, event.concurrency) for event in slowed[:1]] == [expected]


@pytest.mark.parametrize(("times", "exit_code"), [(1, 0), (3, 1)])
async def test_bytes_that_arrive_as_others_are_sent_again_to_a_new_session(
    tree_uploader: Uploader, many: Many, tmp_path: Path, manifest: Path, times: int, exit_code: int
) -> None:
    many.is_proved, many.names = False, "md5"
    many.store_faults.extend(["garble"] * times)
    root = make_tree(tmp_path / "one", 1)
    result = await tree_uploader.put_tree([root], TreeOrder(checksum="md5"), manifest=manifest)
    assert result.exit_code == exit_code
    ends = [session.state for session in many.sessions.values()]
    assert ends == [State.ABORTED] * times + [State.VERIFIED] * (exit_code == 0)
    assert [row.error_code for row in result.failures] == ["content-mismatch"] * exit_code


@pytest.mark.parametrize("names", ["md5", "kms", ""])
async def test_whatever_an_honest_store_calls_it_is_no_mismatch(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path, names: str
) -> None:
    many.is_proved, many.names = False, names
    result = await tree_uploader.put_tree([tree], manifest=manifest)
    assert (result.exit_code, len(many.sessions)) == (0, 12)


async def test_a_store_that_is_away_ends_the_run_and_the_same_command_goes_on(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    many.store_faults.extend(["slow-down"] * 1_000)
    result = await tree_uploader.put_tree([tree], manifest=manifest)
    assert (result.exit_code, result.failed_files, result.verified_files) == (4, 0, 0)
    assert isinstance(result.error, Unreachable)
    assert "503 SlowDown" in result.error.message
    many.store_faults.clear()
    again = await tree_uploader.put_tree([tree], manifest=manifest)
    assert (again.exit_code, again.verified_files) == (0, 12)
    assert (many.paths(), len(many.sessions)) == (paths_of(tree), 12)


async def test_one_file_that_is_never_taken_fails_while_others_succeed(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    many.never = "007.jpg"
    result = await tree_uploader.put_tree([tree], manifest=manifest)
    assert (result.exit_code, [row.error_code for row in result.failures]) == (1, ["unreachable"])
    assert result.verified_files == 11


async def test_a_broker_that_is_away_ends_the_run(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    many.broker_faults["batch"].extend(["busy"] * 1_000)
    result = await tree_uploader.put_tree([tree], manifest=manifest)
    assert (result.exit_code, result.pending_files, set(states(manifest).values())) == (4, 12, {"pending"})


async def test_a_broker_that_does_not_look_ends_the_run_and_nothing_is_sent_twice(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    many.broker_faults["completions"].extend(["busy"] * 8)
    result = await tree_uploader.put_tree([tree], manifest=manifest)
    assert (result.exit_code, result.unsettled_files, set(states(manifest).values())) == (4, 12, {"sent"})
    many.broker_faults["completions"].clear()
    again = await tree_uploader.put_tree([tree], manifest=manifest)
    assert (again.exit_code, again.sent_files, len(many.puts)) == (0, 0, 12)


async def test_a_wrong_key_ends_the_run(many: Many, tree: Path, manifest: Path) -> None:
    async with Uploader(many.broker_url, "ub_other_0123456789", retry=QUICK) as uploader:
        result = await uploader.put_tree([tree], manifest=manifest)
    assert isinstance(result.error, BrokerRefused)
    assert (result.exit_code, result.failed_files) == (3, 0)


async def test_a_file_that_the_broker_refuses_spoils_no_other(
    tree_uploader: Uploader, tree: Path, manifest: Path
) -> None:
    (tree / "setup.exe").write_bytes(b"MZ")
    result = await tree_uploader.put_tree([tree], manifest=manifest)
    (row,) = result.failures
    assert (result.exit_code, result.verified_files, row.error_code) == (1, 12, "broker-refused")
    assert "\n  /filename: not here [content-type-not-allowed]" in (row.error_message or "")


async def test_a_session_that_was_rejected_is_replaced(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    many.store_faults.append("truncate")
    result = await tree_uploader.put_tree([tree], manifest=manifest)
    assert (result.exit_code, result.verified_files, len(many.sessions)) == (0, 12, 13)
    assert many.paths() == paths_of(tree)


async def test_a_file_whose_sessions_are_all_rejected_fails(
    tree_uploader: Uploader, many: Many, tmp_path: Path, manifest: Path
) -> None:
    root = make_tree(tmp_path / "one", 1)
    many.store_faults.extend(["truncate"] * 5)
    result = await tree_uploader.put_tree([root], manifest=manifest)
    assert [row.error_code for row in result.failures] == ["session-lost"]
    assert len(many.sessions) == 3


async def test_what_nobody_has_looked_at_in_time_is_asked_about_by_the_next_command(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    many.looks_until_verified = 1_000
    order = TreeOrder(timeout=timedelta(seconds=0.5))
    result = await tree_uploader.put_tree([tree], order, manifest=manifest)
    assert (result.exit_code, result.unsettled_files, result.error) == (4, 12, None)
    assert set(states(manifest).values()) == {"sent"}
    for session in many.sessions.values():
        session.looks_until_verified = 0
    again = await tree_uploader.put_tree([tree], order, manifest=manifest)
    assert (again.exit_code, again.sent_files, len(many.puts)) == (0, 0, 12)


async def test_a_broker_that_could_not_look_yet_is_asked_again(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    many.unlooked = 15
    result = await tree_uploader.put_tree([tree], manifest=manifest)
    assert (result.exit_code, result.verified_files, len(many.puts)) == (0, 12, 12)


async def test_nobody_looks_if_nobody_waits(tree_uploader: Uploader, many: Many, tree: Path, manifest: Path) -> None:
    order = TreeOrder(wait="none")
    result = await tree_uploader.put_tree([tree], order, manifest=manifest)
    assert (result.exit_code, result.unsettled_files, many.completions) == (0, 12, [])
    assert set(states(manifest).values()) == {"sent"}
    again = await tree_uploader.put_tree([tree], TreeOrder(), manifest=manifest)
    assert (again.exit_code, again.verified_files, len(many.puts)) == (0, 12, 12)


async def test_a_consumer_can_be_waited_for(tree: Path, manifest: Path) -> None:
    async with serving(Many(ends_at=State.PROCESSING)) as many, Uploader(many.broker_url, KEY, retry=QUICK) as uploader:
        assert isinstance(many, Many)
        late = TreeOrder(wait="processed", timeout=timedelta(seconds=0.3))
        result = await uploader.put_tree([tree], late, manifest=manifest)
        assert (result.exit_code, result.unsettled_files) == (4, 12)
        for number, session in enumerate(many.sessions.values()):
            session.state = State.PROCESSED if number else State.FAILED
        result = await uploader.put_tree([tree], TreeOrder(wait="processed"), manifest=manifest)
    assert (result.exit_code, result.verified_files, len(many.puts)) == (1, 11, 12)
    assert [row.error_code for row in result.failures] == ["session-lost"]


@pytest.mark.parametrize("size_bytes", [100, 2 << 20])
async def test_a_file_that_is_declared_otherwise_than_before_gets_a_new_session(
    tree_uploader: Uploader, many: Many, tmp_path: Path, manifest: Path, size_bytes: int
) -> None:
    root = make_tree(tmp_path / "two", 2, size_bytes)
    many.store_faults.extend(["slow-down"] * 1_000)
    first = await tree_uploader.put_tree([root], manifest=manifest)
    many.store_faults.clear()
    result = await tree_uploader.put_tree([root], TreeOrder(metadata={"case": "17"}), manifest=manifest)
    assert (first.exit_code, result.exit_code, result.verified_files) == (4, 0, 2)
    verified = [session for session in many.sessions.values() if session.state is State.VERIFIED]
    assert {session.wanted.metadata["case"] for session in verified} == {"17"}
    assert sum(session.state is State.ABORTED for session in many.sessions.values()) == 2
    assert len(many.objects) == 2


async def test_a_session_that_the_broker_has_forgotten_is_replaced(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    many.broker_faults["completions"].extend(["busy"] * 8)
    await tree_uploader.put_tree([tree], manifest=manifest)
    many.broker_faults["completions"].clear()
    many.sessions.clear()
    many.by_idempotency_key.clear()
    many.objects.clear()
    result = await tree_uploader.put_tree([tree], manifest=manifest)
    assert (result.exit_code, result.verified_files, result.sent_files) == (0, 12, 12)
    assert many.paths() == paths_of(tree)
