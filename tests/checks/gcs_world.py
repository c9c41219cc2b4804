"""A bucket of an emulated Cloud Storage, the accounts that have rights there, and a check of it."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broker.checks.bench import Bench
from broker.settings import Settings
from broker.wiring import CheckOptions, open_benches
from emulators.gcs.process import GcsProcess, start_gcs
from emulators.google_iam.process import GoogleIamProcess, start_google_iam
from tests.checks.world import ORIGIN, Checked, load_from, run

BROKER, WRITER, READER, JANITOR, OPERATOR, HUB, STRANGER = (
    f"{name}@emulated.iam.gserviceaccount.com"
    for name in ("broker", "writer", "reader", "janitor", "operator", "hub", "stranger")
)
CREATE, GET, LIST, DELETE = (f"storage.objects.{each}" for each in ("create", "get", "list", "delete"))
GRANTS: Final[Mapping[str, tuple[str, ...]]] = {
    WRITER: (CREATE,),
    READER: (GET,),
    JANITOR: (LIST, DELETE),
    OPERATOR: ("storage.buckets.get", "storage.buckets.update"),
}


@contextmanager
def identities(data: Path) -> Iterator[GoogleIamProcess]:
    """The broker acts for three; the hub may, too, and the broker may delegate to it."""
    of_three = (WRITER, READER, JANITOR)
    with start_google_iam(
        data=data,
        accounts=(BROKER, OPERATOR, STRANGER),
        impersonate={BROKER: of_three, HUB: of_three},
        delegate={BROKER: (HUB,)},
    ) as iam:
        yield iam


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsPlace:
    iam: GoogleIamProcess
    gcs: GcsProcess

    def settings(self, source: str = BROKER, **more: Any) -> Settings:
        place = {
            "provider": "gcs",
            "bucket": "uploads",
            "writer": WRITER,
            "reader": READER,
            "janitor": JANITOR,
            "endpoint": self.gcs.endpoint,
            "iam_endpoint": self.iam.endpoint,
            "source": {"key_file": str(self.iam.key_files[source])},
        }
        told = {
            "kind": "pubsub",
            "subscription": "projects/emulated/subscriptions/uploads",
            "destinations": ["scans"],
        }
        return load_from(
            {
                "cors": {"allow_origins": [ORIGIN]},
                "destinations": {"scans": {**place, **more}},
                "sources": {"told": told},
            }
        )

    async def check(self, source: str = BROKER, *, is_operator: bool = False, **more: Any) -> Checked:
        options = CheckOptions(is_operator=is_operator)
        async with open_benches(self.settings(source, **more), (), options) as benches:
            (bench,) = benches
            assert isinstance(bench, Bench), bench
            return await run(bench)


@contextmanager
def place_with(
    iam: GoogleIamProcess, *arguments: str, origin: str | None = ORIGIN, **more: tuple[str, ...]
) -> Iterator[GcsPlace]:
    """:param more: permissions beyond those that it takes, by the account's short name."""
    names = {account.partition("@")[0]: account for account in (*GRANTS, BROKER)}
    granted = {**GRANTS, **{names[name]: (*GRANTS.get(names[name], ()), *given) for name, given in more.items()}}
    with ExitStack() as stack:
        gcs = stack.enter_context(
            start_gcs(
                iam=iam.endpoint,
                grants=[f"uploads:{account}={','.join(permissions)}" for account, permissions in granted.items()],
                arguments=[*arguments, *([f"--origin={origin}"] if origin else [])],
            )
        )
        yield GcsPlace(iam=iam, gcs=gcs)
