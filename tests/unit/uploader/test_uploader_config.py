"""The configuration file: what it says, what it may not say, and what comes before it."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from uploader_standin import KEY, MakeFile, StandIn, serving

from uploader.__main__ import main
from uploader.commands.group import Commands, configure

SECRET = "ub_do-not-show"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """With nothing of whoever runs the tests."""
    for name in ("BROKER_URL", "BROKER_API_KEY", "BROKER_API_KEY_FILE", "UPLOADER_CONFIG", "UPLOADER_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def place(home: Path) -> Path:
    (home / "upload-broker").mkdir()
    return home / "upload-broker" / "uploader.toml"


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environment)


def in_force(*arguments: str, **environment: str) -> dict[str, tuple[Any, str]]:
    done = run(*arguments, "config", "--json", **environment)
    assert done.exit_code == 0, done.output
    every = [json.loads(line) for line in done.stdout.splitlines()]
    return {each["name"]: (each["value"], each["origin"]) for each in every}


FILE = """
broker = "https://a.example"
key = { env = "A_KEY" }

[put]
jobs = 8
destination = ["eu", "us"]
metadata = { project = "apollo" }

[profiles.lab]
broker = "http://127.0.0.1:8000"
key = { env = "LAB_KEY" }
[profiles.lab.put]
jobs = 3

[profiles.bare]
broker = "https://c.example"
"""


def test_a_flag_comes_before_the_environment_and_that_before_the_file(place: Path) -> None:
    place.write_text(FILE)
    file = str(place)
    assert in_force(A_KEY=SECRET) == {
        "broker": ("https://a.example", file),
        "key": ("***", "A_KEY"),
        "put.jobs": (8, file),
        "put.destination": (["eu", "us"], file),
        "put.metadata": (["project=apollo"], file),
    }
    environment = {"BROKER_URL": "https://b.example", "BROKER_API_KEY": SECRET, "UPLOADER_PUT_JOBS": "5"}
    found = in_force(**environment)
    assert found["broker"] == ("https://b.example", "BROKER_URL")
    assert found["key"] == ("***", "BROKER_API_KEY")
    assert found["put.jobs"] == ("5", "UPLOADER_PUT_JOBS")
    assert run("config", "--broker", "https://d.example", **environment).stdout.splitlines()[1].endswith("(--broker)")


def test_a_profile_says_what_differs_and_its_own_key_goes_with_its_broker(place: Path) -> None:
    place.write_text(FILE)
    found = in_force("--profile", "lab", LAB_KEY=SECRET)
    assert found["broker"] == ("http://127.0.0.1:8000", f"{place}, profile lab")
    assert (found["key"], found["put.jobs"][0], found["put.destination"][0]) == (
        ("***", "LAB_KEY"),
        3,
        ["eu", "us"],
    )
    assert in_force(UPLOADER_PROFILE="lab")["put.jobs"][0] == 3
    assert in_force("--profile", "bare", A_KEY=SECRET)["key"][0] is None
    place.write_text('profile = "lab"\n' + FILE)
    assert in_force()["put.jobs"][0] == 3


def test_a_profile_that_was_named_comes_before_a_forgotten_variable(place: Path) -> None:
    place.write_text(FILE)
    environment = {"BROKER_URL": "https://b.example", "BROKER_API_KEY": "ub_other", "LAB_KEY": SECRET}
    found = in_force("--profile", "lab", **environment)
    assert (found["broker"][0], found["key"]) == ("http://127.0.0.1:8000", ("***", "LAB_KEY"))
    found = in_force(UPLOADER_PROFILE="lab", **environment)
    assert (found["broker"][0], found["key"]) == ("https://b.example", ("***", "BROKER_API_KEY"))


def test_a_key_of_the_file_goes_to_the_broker_beside_it_alone(place: Path) -> None:
    place.write_text(FILE)
    value, why = in_force(BROKER_URL="https://evil.example", A_KEY=SECRET)["key"]
    assert value is None
    assert why == f"no key for https://evil.example: {place} has one for https://a.example, and it goes nowhere else"
    assert in_force(BROKER_URL="https://a.example/", A_KEY=SECRET)["key"][0] == "***"


def test_a_key_file_is_found_beside_the_file_or_at_home(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place.parent))
    for name in ("key", "~/key"):
        place.write_text(f'broker = "https://a.example"\nkey_file = "{name}"\n')
        assert in_force()["key"] == (None, f"{place.parent}/key: No such file or directory")
        (place.parent / "key").write_text(SECRET + "\n")
        assert in_force()["key"] == ("***", f"{place.parent}/key")
        (place.parent / "key").unlink()


def test_a_key_stands_in_a_private_file_only(place: Path) -> None:
    place.write_text(f'broker = "https://a.example"\nkey = "{SECRET}"\n')
    place.chmod(0o644)
    done = run("config")
    assert (done.exit_code, SECRET in done.output) == (2, False)
    assert done.stderr == (
        f"Error: {place}: key: others can read this file: chmod 600, or name a key_file or {{ env = … }}\n"
    )
    place.chmod(0o600)
    done = run("config")
    assert (done.exit_code, SECRET in done.output) == (0, False)
    assert in_force()["key"] == ("***", str(place))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("brokr = 'x'", "brokr: nobody knows this key; broker?"),
        ("[put]\nkeep-sesion = true", "put.keep-sesion: nobody knows this key; keep_session?"),
        ("[profiles.lab.put]\nzzz = 1", "profiles.lab.put.zzz: nobody knows this key"),
        ("[put]\njobs = '8'", "put.jobs: is a whole number, not text"),
        ("[put]\njobs = true", "put.jobs: is a whole number, not true or false"),
        ("[put]\njobs = 1000000", "put.jobs: 1000000 is not in the range"),
        ("[put]\ntimeout = 'x'", "put.timeout: is a number, not text"),
        ("[put]\nwait = 'soon'", "put.wait: 'soon' is not one of 'none', 'verified', 'processed'."),
        ("[put]\nwait = 1979-05-27", "put.wait: is text, not a date or time"),
        ("[put]\njson = 'yes'", "put.json: is true or false, not text"),
        ("[put]\ndestination = [1]", "put.destination: is text, not a whole number"),
        ("[put.destination]\na = 'b'", "put.destination: is text, not a table"),
        ("[put]\nmetadata = ['x']", "put.metadata: 'x' is not NAME=VALUE"),
        ("put = 'x'", "put: is a table, not text"),
        ("profiles = 'x'", "profiles: is a table, not text"),
        ("[put]\nbroker = 'x'", "put.broker: stands at the top of the file or of a profile"),
        ("broker = 1", "broker: is text, not a whole number"),
        ("broker = ''", "broker: is empty"),
        ("key = 17", "key: is text, not a whole number"),
        ("key = { file = 'x' }", 'key: is { env = "NAME" }, or the key itself'),
        ("key = { env = 1 }", "key.env: is text, not a whole number"),
        ("key = { env = 'X' }\nkey_file = 'x'", "key: key or key_file, not both"),
        ("broker = ", "Invalid value (at "),
        ("profile = 'x'", "profiles: there is no profile 'x', but none"),
    ],
)
def test_what_is_wrong_is_refused_with_file_and_key(place: Path, text: str, words: str) -> None:
    place.write_text(text)
    for arguments in (["config"], ["put", str(place)]):
        done = run(*arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith(f"Error: {place}: {words}")


def test_bytes_that_are_no_text_and_files_that_cannot_be_opened_are_refused(place: Path) -> None:
    place.write_bytes(b"broker = '\xff'")
    assert run("config").stderr == f"Error: {place}: not UTF-8\n"
    place.unlink()
    place.mkdir()
    assert run("config").stderr == f"Error: {place}: Is a directory\n"


def test_no_value_that_may_be_a_key_is_ever_repeated(place: Path) -> None:
    for text in (f"key = ['{SECRET}']", f"kye = '{SECRET}'", f"key = {{ evn = '{SECRET}' }}", f"[key]\na = '{SECRET}'"):
        place.write_text(text)
        done = run("config")
        assert (done.exit_code, SECRET in done.output) == (2, False)


def test_a_password_in_the_address_of_the_broker_is_not_shown(place: Path) -> None:
    place.write_text(f'broker = "https://me:{SECRET}@a.example"\nkey = {{ env = "A" }}')
    assert SECRET not in run("config", A=KEY).output
    assert SECRET not in run("config", BROKER_URL=f"https://{SECRET}@b.example", A=KEY).output
    assert SECRET not in run("put", str(place), A=KEY).output


def test_help_is_given_although_the_file_is_broken(place: Path) -> None:
    place.write_text("nonsense")
    assert run("put", "--help").exit_code == 0
    assert run("--help").exit_code == 0
    assert run("put", "--", "--help").exit_code == 2


def test_without_a_file_or_a_home_there_is_nothing_to_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("config").stdout.startswith(f"# {home}/upload-broker/uploader.toml is not there\n")
    done = run("--profile", "lab", "config")
    assert (done.exit_code, "no configuration file, so no profile 'lab'" in done.stderr) == (2, True)
    assert run("--config", str(home / "no"), "config").exit_code == 2

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setattr(Path, "home", homeless)
    assert "no home directory" in run("config").stdout
    assert in_force(BROKER_URL="https://a.example")["broker"][0] == "https://a.example"


def test_a_file_of_ones_own_is_named_by_flag_or_variable(home: Path) -> None:
    other = home / "other.toml"
    other.write_text(FILE)
    assert in_force("--config", str(other))["put.jobs"][0] == 8
    assert in_force(UPLOADER_CONFIG=str(other))["put.jobs"][0] == 8


def test_what_put_is_told_finds_its_manifest_again(home: Path) -> None:
    """`status` of the same paths has the batch and the destinations that the file gives to put."""
    seen: dict[str, Any] = {}

    @click.command()
    @click.option("--batch")
    @click.option("--destination", "destinations", multiple=True)
    @click.option("--jobs", type=int)
    def status(batch: str, destinations: tuple[str, ...], jobs: int) -> None:
        seen.update(batch=batch, destinations=destinations, jobs=jobs)

    group = Commands(commands={"put": status, "status": status})
    file = home / "c.toml"
    file.write_text('[put]\nbatch = "b"\ndestination = "eu"\njobs = 3\n[status]\nbatch = "s"\n')
    group.callback = click.pass_context(lambda context: configure(context, file, None, is_asked=False))
    CliRunner().invoke(group, ["status"], catch_exceptions=False)
    assert seen == {"batch": "s", "destinations": ("eu",), "jobs": None}


async def test_put_takes_broker_key_and_options_from_the_file(place: Path, make_file: MakeFile) -> None:
    """As a shell starts it, with nothing in the environment."""
    async with serving(StandIn()) as standin:
        _write(
            place, f'broker = "{standin.broker_url}"\nkey = "{KEY}"\n[put]\nowner = "me"\nmetadata = {{ case = "17" }}'
        )
        done = await _put(str(make_file(10)), XDG_CONFIG_HOME=str(place.parents[1]))
        assert done == 0
        (session,) = standin.sessions.values()
        assert (session.wanted.owner, session.wanted.metadata) == ("me", {"case": "17"})


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


async def _put(path: str, **environment: str) -> int:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uploader", "put", path),
        env={"PATH": os.environ["PATH"], **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        await process.communicate()
    return process.returncode or 0
