"""A tree that is followed until a consumer is done with every file."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from many_standin import Many
from tree_manifests import states, write
from uploader_standin import KEY, QUICK, serving

from broker.contract import State
from uploader import TreeOrder, Uploader
from uploader.transfer.meter import TreeMeter


@dataclass
class Consumer(Many):
    """Done with one file as soon as somebody asks about it without wishing for a look, with the next not until the
    third time.

    :ivar asked: how often that was, by session.
    """

    ends_at: State = State.PROCESSING
    asked: Counter[str] = field(default_factory=Counter)

    def needed(self, session_id: str) -> int:
        return 1 if list(self.sessions).index(session_id) % 2 else 3

    async def _statuses(self, request: web.Request) -> web.Response:
        for session_id in (await request.json())["ids"]:
            self.asked[session_id] += 1
            if self.asked[session_id] >= self.needed(session_id):
                self.sessions[session_id].state = State.PROCESSED
        return await super()._statuses(request)


class Onlooker:
    wants_files = False
    meter = TreeMeter()

    def on_event(self, event: object) -> None:
        pass

    def on_tree(self, meter: TreeMeter) -> None:
        self.meter = meter


async def test_each_file_is_counted_once_when_its_consumer_is_done(tmp_path: Path) -> None:
    for number in range(30):
        write(tmp_path / "tree" / str(number), 10)
    onlooker, manifest = Onlooker(), tmp_path / "m.sqlite"
    async with serving(Consumer()) as standin, Uploader(standin.broker_url, KEY, retry=QUICK) as uploader:
        assert isinstance(standin, Consumer)
        result = await uploader.put_tree(
            [tmp_path / "tree"], TreeOrder(wait="processed"), manifest=manifest, observer=onlooker
        )
    assert (result.verified_files, result.exit_code, onlooker.meter.verified_files) == (30, 0, 30)
    assert set(states(manifest).values()) == {"verified"}
    assert standin.asked == {session_id: standin.needed(session_id) for session_id in standin.sessions}
