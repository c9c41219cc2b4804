"""What the uploader's guide says of configuration, events and exit codes is what there is."""

import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from uploader import errors, events
from uploader.__main__ import main
from uploader.commands.preview import FilePreviewed, TreePreviewed
from uploader.tree.states import FileState

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "uploader.md"


def table(heading: str) -> dict[str, str]:
    """The rows of the first table below a heading: what stands in the first column, without backticks."""
    text = GUIDE.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (.+?) \| (.*) \|$", text, re.MULTILINE)
    return {name.strip("`"): rest for name, rest in rows if set(name) != {"-"}}


def test_every_event_of_a_tree_has_its_row_with_fields_that_it_has() -> None:
    rows = table("For scripts: `--json`")
    kinds = [*events.TreeEvent.__subclasses__(), FilePreviewed, TreePreviewed]
    for kind in kinds:
        if kind.__module__.startswith(("uploader.events", "uploader.commands")):
            name = str(msgspec.inspect.type_info(kind).tag)  # type: ignore[attr-defined]
            assert name in rows, name
            said = set(re.findall(r"`([a-z_]+)`", rows[name].rpartition("|")[2]))
            verdicts = {"new", "changed", "unfinished", "failed", "skipped"}
            assert said <= set(kind.__struct_fields__) | verdicts | {"to_send", "todo_"}, name


def test_every_exit_code_and_every_state_has_its_row() -> None:
    codes = {str(value) for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert codes == table("Exit codes").keys() - {"code"}
    assert {state.value for state in FileState} <= table("The manifest").keys()


@pytest.mark.parametrize("arguments", [[], ["--profile", "lab"]])
def test_the_configuration_in_the_guide_is_one(tmp_path: Path, arguments: list[str]) -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "uploader.toml").write_text(block)
    done = CliRunner().invoke(
        main, ["--config", str(tmp_path / "uploader.toml"), *arguments, "config"], env={"BROKER_URL": ""}
    )
    assert done.exit_code == 0, done.output
    assert ("put.no_nice" in done.stdout) == bool(arguments)
