"""The README's lines, word for word."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any, get_args

from broker.__main__ import _cli as cli
from broker.contract import WebhookType
from broker.dev.stack import Stack
from broker.settings import load

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(heading: str, language: str) -> str:
    """The first code block of a language below a heading."""
    found = re.search(rf"^## {re.escape(heading)}$.*?^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def documents(text: str) -> list[Any]:
    """JSON documents that were printed one after the other."""
    found, decoder, text = [], json.JSONDecoder(), text.strip()
    while text:
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:].strip()
    return found


def test_the_six_lines_of_curl_upload_a_file_and_show_it(stack: Stack, tmp_path: Path) -> None:
    lines = block("Six lines of curl", "sh")
    assert len(lines.splitlines()) == 6
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "BROKER_URL": stack.about.broker}
    env["BROKER_API_KEY"] = stack.about.api_key
    done = subprocess.run(
        ["bash", "-euc", lines], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = documents(done.stdout)
    assert len(answers) == 2
    assert answers[-1]["state"] in {"verified", "processing", "processed"}


def test_the_line_that_watches_a_session_shows_its_last_step(stack: Stack, tmp_path: Path) -> None:
    lines = block("Six lines of curl", "sh") + block("Watch it happen", "sh")
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "BROKER_URL": stack.about.broker}
    env["BROKER_API_KEY"] = stack.about.api_key
    done = subprocess.run(
        ["bash", "-euc", lines], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.strip().splitlines()[-1].removeprefix("data: "))
    assert (last["state"], last["is_final"]) == ("processed", True)


def test_the_table_of_commands_is_whole() -> None:
    listed = re.findall(r"^\| `upload-broker ([a-z]+)` \|", README, re.MULTILINE)
    assert sorted(listed) == sorted(cli.commands)


def test_the_configuration_sample_is_one_that_loads(tmp_path: Path) -> None:
    path = tmp_path / "broker.toml"
    path.write_text(block("Configuration", "toml"))
    settings = load(path, {})
    assert settings.destinations["default"].bucket == "acme-uploads"
    assert tomllib.loads(path.read_text()).keys() == {
        "ledger",
        "server",
        "cors",
        "secrets",
        "fan_out",
        "destinations",
        "sources",
        "keys",
    }


def test_the_webhook_sample_is_one_that_loads(tmp_path: Path) -> None:
    path = tmp_path / "broker.toml"
    path.write_text(block("Webhooks", "toml"))
    assert load(path, {}).webhooks["crm"].events == set(get_args(WebhookType))


def test_every_file_that_the_readme_names_exists() -> None:
    root = Path(__file__).parents[2]
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (root / target).exists(), target
