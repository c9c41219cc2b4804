"""What the guides show is what there is: bodies decode strictly, samples load, files and tests that are named exist."""

import re
from pathlib import Path

import click
import msgspec
import pytest

from broker import contract
from broker.__main__ import _cli as broker
from consumer.__main__ import main as consumer
from uploader.__main__ import main as uploader

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
BLOCK = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """The code blocks of a language: what stands after the language, and the text."""
    found = [(match["kind"].split(), match["text"]) for match in BLOCK.finditer(page.read_text())]
    return [(" ".join(kind[1:]), text) for kind, text in found if kind[:1] == [language]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    for target, place in re.findall(r"\]\((?!https?:)([^)#\s]+)(?:#([^)]*))?\)", page.read_text()):
        assert (page.parent / target).exists(), target
        assert not place or place in headings(page.parent / target), f"{target}#{place}"


def headings(page: Path) -> set[str]:
    """Their anchors, as GitHub makes them: lower case, no punctuation, hyphens for blanks."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_in_backticks_exists(page: Path) -> None:
    """Such as `tests/…`, `bench/…`, `docs/…`; what follows `::` is the name of a test in that file."""
    roots = "tests|bench|docs|deploy|broker|consumer|uploader|emulators|openapi"
    for path, name in re.findall(rf"`((?:{roots})/[\w./-]+)(?:::(\w+))?`", page.read_text()):
        assert (ROOT / path).exists(), path
        assert not name or f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"


def lines(page: Path) -> list[str]:
    """What is to be pasted into a shell."""
    kinds = ("sh", "console")
    return [line.strip() for kind in kinds for _, text in blocks(page, kind) for line in text.splitlines()]


COMMANDS = {"upload-broker": broker, "upload-consumer": consumer, "uploader": uploader}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_shows_is_one_with_its_options(page: Path) -> None:
    shown = [*re.findall(r"`([^`\n]+)`", page.read_text()), *lines(page)]
    found = [re.match(rf"(?:[A-Z_]+=\S+ |\$ )*({'|'.join(COMMANDS)}) ([a-z-][^|;#>]*)", text) for text in shown]
    for name, rest in (match.groups() for match in found if match):
        words = rest.split()
        command: click.Command = COMMANDS[name]
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            found_command = command.get_command(click.Context(command), words.pop(0))
            assert found_command is not None, f"{name} {rest}"
            command = found_command
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known | {"--help", "--version"}, f"{name} {rest}"


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_every_body_in_a_guide_is_one_of_the_wire(page: Path) -> None:
    """A block named ```json Name is a `contract.Name`, with no field that it does not know."""
    for name, text in blocks(page, "json"):
        if not name[:1].isupper():
            continue  # somebody else's document; the page's own test knows it
        kind = getattr(contract, name)
        msgspec.json.decode(text, type=kind)
        assert msgspec.json.decode(text).keys() <= set(kind.__struct_fields__), name
