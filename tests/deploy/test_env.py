"""`make env`: fresh secrets once, kept ever after, readable by nobody else."""

import stat
import subprocess
import sys
from pathlib import Path

from broker.domain.principals import hash_of, key_id_in
from tests.deploy import compose_file

ROOT = Path(__file__).parents[2]


def run(path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-S", ROOT / "deploy/env.py", path], check=True, timeout=30, capture_output=True, text=True
    )
    assert done.stdout == ""
    return done.stderr


def test_keys_are_those_that_the_broker_knows_by_their_hash(tmp_path: Path) -> None:
    run(tmp_path / ".env")
    said = compose_file.read_env(tmp_path / ".env")
    assert key_id_in(said["APP_KEY"]) == "app"
    assert key_id_in(said["CONSUMER_KEY"]) == "worker"
    assert hash_of(said["APP_KEY"]) == said["APP_KEY_HASH"]
    assert hash_of(said["CONSUMER_KEY"]) == said["CONSUMER_KEY_HASH"]


def test_every_secret_is_fresh_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    told = run(tmp_path / "a") + run(tmp_path / "b")
    first, second = (compose_file.read_env(tmp_path / name) for name in "ab")
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] == second[name]] == ["COMPOSE_PROFILES"]
    assert all(len(value) >= 20 for name, value in first.items() if name != "COMPOSE_PROFILES")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert not [value for name, value in first.items() if name != "COMPOSE_PROFILES" and value in told]


def test_what_stands_there_is_kept_and_what_is_missing_is_added(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# mine\nVALKEY_PASSWORD=kept\nEVENT_TOKEN=\nAPP_KEY_HASH=of-a-key-that-was-taken-away")
    run(path)
    assert path.read_text().startswith("# mine\nVALKEY_PASSWORD=kept\nEVENT_TOKEN=\nAPP_KEY_HASH=of-a-key")
    said = compose_file.read_env(path)
    assert said["VALKEY_PASSWORD"] == "kept"
    assert said["APP_KEY_HASH"] == "of-a-key-that-was-taken-away"
    assert len(said["EVENT_TOKEN"]) >= 20, "the last line of a name counts"
    assert "APP_KEY" not in said
    before = path.read_bytes()
    assert "nothing was changed" in run(path)
    assert path.read_bytes() == before
