"""The start of a command is part of what it costs: nothing is imported before it is needed, and nothing is lost."""

import gc
import subprocess
import sys

import click
import pytest

import uploader
from uploader.__main__ import main


@pytest.mark.parametrize("name", uploader.__all__)
def test_every_name_of_the_sdk_is_there(name: str) -> None:
    assert getattr(uploader, name).__name__ == name
    assert name in dir(uploader)


def test_there_are_no_other_names() -> None:
    assert sorted(uploader._PLACE_OF) == sorted(uploader.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        uploader.nonsense  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="nonsense"):
        from uploader import nonsense  # type: ignore[attr-defined]  # noqa: F401, PLC0415


@pytest.mark.parametrize("code", ["import uploader", "import uploader.__main__", "from uploader import errors"])
def test_nobody_pays_for_an_http_client_that_he_does_not_use(code: str) -> None:
    asked = f"{code}; import sys; print(sorted({{'aiohttp', 'rich', 'uvloop', 'asyncio'}} & sys.modules.keys()))"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.strip() == "[]"


def test_the_garbage_of_a_command_is_collected() -> None:
    assert gc.isenabled()
    assert main.get_command(click.Context(main), "put") is not None
    assert gc.isenabled()
