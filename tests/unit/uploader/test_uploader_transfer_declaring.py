"""Which digest `auto` declares of a small file: what the store refuses other bytes by, where there is such a one."""

from pathlib import Path

import pytest
from many_standin import Many
from tree_tools import make_tree

from broker.contract import Checksum
from uploader import TreeOrder, Uploader
from uploader.checksums import Algorithm, Choice
from uploader.transfer.declaring import Declaring

STORES = {"aws": {"sha256", "md5"}, "ceph": {"md5"}, "one that proves nothing": set()}


def declaring(choice: Choice = "auto", destinations: tuple[str, ...] = ()) -> Declaring:
    return Declaring(TreeOrder(checksum=choice, destinations=destinations), lambda _: "key")


def tried(one: Declaring, store: str, times: int) -> list[tuple[Algorithm, ...]]:
    """Digests of file after file, each answered before the next one."""
    declared = []
    for _ in range(times):
        declared.append(one.algorithms(10))
        names = dict.fromkeys(declared[-1], "digest")
        one.learn(Checksum(**names), is_proved=not STORES[store].isdisjoint(names))
    return declared


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ("aws", ["sha256", "sha256", "sha256", "sha256"]),
        ("ceph", ["sha256", "md5", "md5", "md5"]),
        ("one that proves nothing", ["sha256", "md5", "sha256", "sha256"]),
    ],
)
def test_auto_declares_what_the_store_proves(store: str, expected: list[Algorithm]) -> None:
    assert tried(declaring(), store, 4) == [(each,) for each in expected]


@pytest.mark.parametrize("answers", [1, 5])
def test_answers_to_what_was_asked_before_change_nothing(answers: int) -> None:
    one = declaring()
    for _ in range(answers):
        one.learn(Checksum(sha256="digest"), is_proved=False)
    assert one.algorithms(10) == ("md5",)
    one.learn(Checksum(md5="digest"), is_proved=True)
    one.learn(Checksum(sha256="digest"), is_proved=False)
    assert one.algorithms(10) == ("md5",)


@pytest.mark.parametrize("choice", ["sha256", "md5", "none"])
def test_what_somebody_chose_stays(choice: Choice) -> None:
    assert len(set(tried(declaring(choice), "one that proves nothing", 4))) == 1


def test_several_destinations_have_both_and_large_files_none() -> None:
    assert tried(declaring(destinations=("eu", "us")), "ceph", 3) == [("sha256", "md5")] * 3
    one = declaring()
    one.learn(Checksum(sha256="digest"), is_proved=False)
    assert one.algorithms(5 << 20) == ()


async def test_the_files_of_a_tree_come_to_it_one_batch_after_the_other(
    tree_uploader: Uploader, many: Many, tmp_path: Path, manifest: Path
) -> None:
    many.proves_only = "md5"
    result = await tree_uploader.put_tree([make_tree(tmp_path / "tree", 1_000)], manifest=manifest)
    assert (result.exit_code, result.verified_files) == (0, 1_000)
    first, *_, last = [session.wanted.checksum for session in many.sessions.values()]
    assert (first.md5, last.sha256) == (None, None)
    assert None not in {first.sha256, last.md5}
