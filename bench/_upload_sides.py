"""Who uploads in bench/upload.py: ours, s5cmd, `aws s3 cp --recursive`. Each one command, with its own defaults."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench._broker import ROOT
from bench._upload_targets import BUCKET, Target

TOOLS = Path(sys.executable).parent
MEASURED = Path(__file__).parent / "_measured.py"
LIMIT_SECONDS = 300
OURS, S5CMD, S5CMD_CAREFUL, AWS = "ours", "s5cmd", "s5cmd --no-clobber", "aws s3 cp"


class TurnFailed(Exception):
    """A side did not end as it should; with its last words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one turn took.

    :ivar put_seconds: from exec to the moment at which the store had the last object, by the store's log.
    :ivar all_seconds: from exec to the end of the process; ours ends when everything is verified, where it waits.
    """

    put_seconds: float
    all_seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """:ivar argv: the command for one turn; of a target, a directory, and a label that is fresh for each turn."""

    name: str
    argv: Callable[[Target, Path, str], Sequence[str]]
    environment: Callable[[Target, Path], Mapping[str, str]]

    def run(self, target: Target, tree: Path, files: int, label: str, state: Path) -> Run:
        """:raises TurnFailed: it did not end with 0.
        :raises LogIncomplete: the store has less than it should.
        """
        target.log.skip()
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(MEASURED), *self.argv(target, tree, label)],
            env={"PATH": os.environ["PATH"], "HOME": str(state), **self.environment(target, state)},
            cwd=state,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        said = json.loads(done.stdout) if done.returncode == 0 else {"code": done.returncode}
        if said["code"] != 0:
            raise TurnFailed(f"{self.name} ended with {said['code']}:\n{done.stderr[-2_000:]}")
        return Run(
            put_seconds=target.log.last_put(files) - said["began"],
            all_seconds=said["ended"] - said["began"],
            cpu_seconds=said["cpu_seconds"],
            peak_bytes=said["peak_bytes"],
        )

    @classmethod
    def ours(cls) -> Self:
        """With a label, which makes a manifest of its own, and at the priority that the others have: by default ours
        gives way to whoever else is at work, and here that is the store."""

        def argv(target: Target, tree: Path, label: str) -> Sequence[str]:
            wait = [] if target.is_verifying else ["--wait", "none"]
            return [sys.executable, "-m", "uploader", "put", str(tree), "--batch", label, "--no-nice", *wait]

        def environment(target: Target, state: Path) -> Mapping[str, str]:
            return {
                "PYTHONPATH": str(ROOT),
                "BROKER_URL": target.broker_url,
                "BROKER_API_KEY": target.api_key,
                "XDG_STATE_HOME": str(state),
            }

        return cls(name=OURS, argv=argv, environment=environment)

    @classmethod
    def s5cmd(cls) -> Self:
        def argv(_: Target, tree: Path, label: str) -> Sequence[str]:
            return [str(TOOLS / "s5cmd"), "cp", f"{tree}/*", f"s3://{BUCKET}/peers/{label}/"]

        return cls(name=S5CMD, argv=argv, environment=_of_peers)

    @classmethod
    def careful_s5cmd(cls) -> Self:
        """The one that asks before it replaces anything; ours has the store refuse that."""

        def argv(_: Target, tree: Path, label: str) -> Sequence[str]:
            return [str(TOOLS / "s5cmd"), "cp", "--no-clobber", f"{tree}/*", f"s3://{BUCKET}/careful/{label}/"]

        return cls(name=S5CMD_CAREFUL, argv=argv, environment=_of_peers)

    @classmethod
    def aws(cls) -> Self:
        def argv(_: Target, tree: Path, label: str) -> Sequence[str]:
            return [str(TOOLS / "aws"), "s3", "cp", "--recursive", str(tree), f"s3://{BUCKET}/peers/{label}/"]

        return cls(name=AWS, argv=argv, environment=_of_peers)


def _of_peers(target: Target, state: Path) -> Mapping[str, str]:
    """They hold the credential of the bucket's owner, which ours never sees."""
    return {
        "S3_ENDPOINT_URL": target.endpoint,
        "AWS_ENDPOINT_URL": target.endpoint,
        "AWS_REGION": target.region,
        "AWS_ACCESS_KEY_ID": target.credential.access_key,
        "AWS_SECRET_ACCESS_KEY": target.credential.secret_key,
        "AWS_CONFIG_FILE": str(state / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def missing_tools() -> list[str]:
    return [name for name in ("s5cmd", "aws") if not (TOOLS / name).exists()]
