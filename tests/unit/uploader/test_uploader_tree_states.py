"""Any sequence of changes, scans, steps and ends of the process leaves the manifest as a simple model says."""

import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from tree_manifests import failed, identity, minted, scan, write

from uploader.tree.manifest import Manifest
from uploader.tree.reader import Reader
from uploader.tree.rows import Mark

NAMES = ("a", "b", "sub/c", "sub/d")
MEMORY = Path("/dev/shm")  # noqa: S108 - what is tested does not need a disk
RESTING = {"pending", "failed", "vanished"}


@dataclass(frozen=True)
class Expected:
    state: str
    size: int
    revision: int = 0
    session: str | None = None
    is_gone: bool = False


class ManifestMachine(RuleBasedStateMachine):
    """`self.disk` is the tree, `self.known` what the manifest is to say, `self.held` what senders believe."""

    held = Bundle("held")

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="manifest-", dir=MEMORY if MEMORY.is_dir() else None))
        (self.directory / "tree").mkdir()
        self.disk: dict[str, int] = {}
        self.known: dict[str, Expected] = {}
        self.names: dict[int, str] = {}
        self.stack = ExitStack()
        self.open()

    def open(self) -> None:
        manifest = Manifest.open(self.directory / "m.sqlite", identity(self.directory / "tree"))
        self.manifest = self.stack.enter_context(manifest)

    def teardown(self) -> None:
        self.stack.close()
        shutil.rmtree(self.directory)

    @rule(name=st.sampled_from(NAMES), size=st.integers(0, 2))
    def change(self, name: str, size: int) -> None:
        write(self.directory / "tree" / name, size)
        self.disk[name] = size

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        (self.directory / "tree" / name).unlink(missing_ok=True)
        self.disk.pop(name, None)

    @rule()
    def scan(self) -> None:
        scan(self.manifest)
        for name in {*self.disk, *self.known}:
            self.known[name] = self._scanned(self.known.get(name), self.disk.get(name))

    def _scanned(self, before: Expected | None, size: int | None) -> Expected:
        if before is None:
            assert size is not None
            return Expected("pending", size)
        if size is None:
            return replace(before, is_gone=True, state="vanished" if before.state in RESTING else before.state)
        if size != before.size:
            return Expected("pending", size, before.revision + 1)
        return replace(before, is_gone=False, state="pending" if before.state == "vanished" else before.state)

    @rule(target=held, limit=st.integers(1, 2))
    def take(self, limit: int) -> list[Mark]:
        rows = self.manifest.take("size", limit).result()
        waiting = sorted(each.size for each in self.known.values() if each.state == "pending")
        assert [row.size_bytes for row in rows] == waiting[:limit]
        for row in rows:
            name = os.fsdecode(row.path)
            self.names[row.id] = name
            assert self.known[name].state == "pending"
            self.known[name] = replace(self.known[name], state="claimed")
        return [Mark(id=row.id, revision=row.revision) for row in rows]

    def _step(self, marks: list[Mark], before: set[str], **changes: str | None) -> int:
        """What a step is to do; a sender may hold what is long somebody else's."""
        taken = 0
        for mark in marks:
            expected = self.known[self.names[mark.id]]
            if expected.revision == mark.revision and expected.state in before:
                self.known[self.names[mark.id]] = replace(expected, **changes)  # type: ignore[arg-type]
                taken += 1
        return taken

    @rule(marks=held, session=st.sampled_from(["S", "T"]))
    def mint(self, marks: list[Mark], session: str) -> None:
        steps = [minted(mark, session) for mark in marks]  # type: ignore[arg-type]
        expected = self._step(marks, {"claimed", "minted", "sent"}, state="minted", session=session)
        assert self.manifest.minted(steps).result() == expected

    @rule(marks=held)
    def send(self, marks: list[Mark]) -> None:
        assert self.manifest.sent(marks).result() == self._step(marks, {"minted"}, state="sent")

    @rule(marks=held)
    def verify(self, marks: list[Mark]) -> None:
        assert self.manifest.verified(marks).result() == self._step(marks, {"minted", "sent"}, state="verified")

    @rule(marks=held)
    def fail(self, marks: list[Mark]) -> None:
        steps = [failed(mark) for mark in marks]  # type: ignore[arg-type]
        expected = self._step(marks, {"claimed", "minted", "sent"}, state="failed")
        assert self.manifest.failed(steps).result() == expected

    @rule(marks=held)
    def release(self, marks: list[Mark]) -> None:
        expected = self._step(marks, {"claimed", "minted", "sent"}, state="pending")
        assert self.manifest.released(marks).result() == expected

    @rule(marks=held)
    def renew(self, marks: list[Mark]) -> None:
        expected = 0
        for mark in marks:
            name = self.names[mark.id]
            before = self.known[name]
            if self._step([mark], {"claimed", "minted", "sent"}, state="pending", session=None):
                self.known[name] = replace(self.known[name], revision=before.revision + 1)
                expected += 1
        assert self.manifest.renewed(marks).result() == expected

    @rule()
    def retry(self) -> None:
        failures = {name: each for name, each in self.known.items() if each.state == "failed"}
        for name, each in failures.items():
            self.known[name] = replace(each, state="pending", revision=each.revision + 1, session=None)
        assert self.manifest.retry().result() == len(failures)

    @rule()
    def end_and_begin_again(self) -> None:
        self.stack.close()
        self.open()
        for name, each in self.known.items():
            if each.state == "claimed":
                self.known[name] = replace(each, state="pending")

    @invariant()
    def the_manifest_is_as_the_model_says(self) -> None:
        with Reader.open(self.directory / "m.sqlite") as reader:
            said = {
                os.fsdecode(row.path): Expected(
                    str(row.state), row.size_bytes, row.revision, row.session_id, row.gone_ms is not None
                )
                for row in reader.rows()
            }
            assert {state: count.files for state, count in reader.counts().items() if count.files} == {
                each.state: sum(other.state == each.state for other in said.values()) for each in said.values()
            }
        assert said == self.known


TestManifest = ManifestMachine.TestCase
TestManifest.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
