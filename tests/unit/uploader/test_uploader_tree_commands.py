"""`status`, `failures`, `retry` and `export` over a manifest, as a person and a script see them."""

import base64
import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tree_manifests import BROKER, failed, identity, mark, minted, opened, scan, verify, write

from uploader.commands.batch import export, failures, retry
from uploader.commands.status import status
from uploader.tree.manifest import Manifest
from uploader.tree.rows import Minted
from uploader.tree.sample import ODD_NAMES, Sample
from uploader.tree.words import shown

BATCH_COMMANDS = (status, failures, retry, export)
commands = click.Group(commands=list(BATCH_COMMANDS))


def run(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(commands, [str(each) for each in arguments], env=environment)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for number, name in enumerate(("good", "bad", "worse", "sub/waits")):
        write(tmp_path / "tree" / name, 1024 * (number + 1))
    (tmp_path / "tree" / "link").symlink_to("good")
    return tmp_path / "tree"


@pytest.fixture
def path(tmp_path: Path, tree: Path) -> Path:
    """`good` is verified, `bad` and `worse` have failed, `sub/waits` is pending, `link` is skipped."""
    with opened(tmp_path / "m.sqlite", tree) as manifest:
        scan(manifest)
        verify(manifest, 1)
        bad, worse = manifest.take("size", 2).result()
        manifest.minted([minted(bad), minted(worse)])
        manifest.failed([failed(bad, "store-refused"), failed(worse, "file-changed")]).result()
    return tmp_path / "m.sqlite"


def test_status_counts_files_and_bytes_by_state(path: Path, tree: Path) -> None:
    done = run("status", "--manifest", path)
    assert done.stdout.splitlines() == [
        f"batch b to the default destination by {BROKER}",
        f"  {tree}",
        "  pending              1  4.00 KiB",
        "  verified             1  1.00 KiB",
        "  failed               2  5.00 KiB",
        "  skipped              1  0 B",
    ]
    said = json.loads(run("status", "--manifest", path, "--json").stdout)
    assert (said["files"]["failed"], said["is_scanned"]) == ({"files": 2, "size_bytes": 5120}, True)


def test_status_says_by_its_exit_code_how_it_stands(path: Path, tree: Path) -> None:
    assert run("status", "--manifest", path).exit_code == 1
    assert run("retry", "--manifest", path).stdout == "2 files are to be sent again\n"
    assert run("status", "--manifest", path).exit_code == 4
    with opened(path, tree) as manifest:
        verify(manifest)
    assert run("status", "--manifest", path).exit_code == 0
    with opened(path, tree) as manifest:
        manifest.write(lambda connection: connection.execute("UPDATE manifest SET scan_ended_ms = NULL")).result()
    done = run("status", "--manifest", path)
    assert (done.exit_code, "the scan has not come to its end" in done.stdout) == (4, True)


def test_failures_are_listed_with_their_reasons(path: Path, tree: Path) -> None:
    done = run("failures", "--manifest", path)
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        f"{tree}/bad: about store-refused [store-refused]",
        f"{tree}/worse: about file-changed [file-changed]",
    ]
    every = run("failures", "--manifest", path, "--all", "--json").stdout.splitlines()
    assert [json.loads(line)["error_code"] for line in every] == ["store-refused", "symlink", "file-changed"]
    run("retry", "--manifest", path)
    assert (run("failures", "--manifest", path).exit_code, run("failures", "--manifest", path).stdout) == (0, "")


def test_retry_takes_the_reasons_that_are_named(path: Path) -> None:
    assert json.loads(run("retry", "--manifest", path, "--code", "file-changed", "--json").stdout) == {"files": 1}
    assert run("retry", "--manifest", path, "--code", "nothing").stdout == "0 files are to be sent again\n"
    assert run("failures", "--manifest", path).stdout.count("\n") == 1


def test_retry_while_somebody_is_at_work_says_so(path: Path, tree: Path) -> None:
    with opened(path, tree):
        done = run("retry", "--manifest", path)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == f"error: {path}: another uploader is at work on it (process {os.getpid()})\n"
        assert run("status", "--manifest", path).exit_code == 1  # and reading goes on: two have failed


def test_export_is_json_lines_or_csv(path: Path, tree: Path) -> None:
    with opened(path, tree) as manifest:
        (row,) = manifest.take("size", 1).result()
        checksum = '{"sha256":"AAAA"}'
        manifest.minted([Minted(id=row.id, revision=row.revision, session_id="S", checksum=checksum)])
        manifest.sent([mark(row)]).result()
    lines = [json.loads(line) for line in run("export", "--manifest", path).stdout.splitlines()]
    assert [line["path"] for line in lines] == ["bad", "good", "link", "sub/waits", "worse"]
    sent = lines[3]
    assert (sent["state"], sent["session_id"], sent["checksum"]) == ("sent", "S", {"sha256": "AAAA"})
    assert (sent["mtime_ns"], sent["mode"], sent["attempts"]) == (1_000_000_000_000, "0644", 1)
    table = list(csv.DictReader(io.StringIO(run("export", "--manifest", path, "--csv").stdout)))
    assert [each["path"] for each in table] == [line["path"] for line in lines]
    assert (table[3]["checksum"], table[3]["error_code"]) == (checksum, "")
    only = run("export", "--manifest", path, "--state", "failed", "--state", "skipped").stdout.splitlines()
    assert len(only) == 3


def test_export_to_a_file_is_whole_or_not_there(path: Path, tmp_path: Path) -> None:
    assert run("export", "--manifest", path, "-o", tmp_path / "out.jsonl").exit_code == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 5


def test_every_name_is_one_line_and_can_be_found_again(tmp_path: Path) -> None:
    Sample(files=0, has_odd_names=True).make(tmp_path / "tree")
    with opened(tmp_path / "m.sqlite", tmp_path / "tree") as manifest:
        scan(manifest)
    for form in ("--json", "--csv"):
        done = run("export", "--manifest", tmp_path / "m.sqlite", form)
        every: list[dict[str, Any]]
        if form == "--json":
            every = [json.loads(line) for line in done.stdout.splitlines()]
        else:
            every = list(csv.DictReader(io.StringIO(done.stdout)))
        found = {
            base64.b64decode(each["path_base64"])
            if each.get("path_base64")
            else os.fsencode(f"{each['root']}/{each['path']}")
            for each in every
        }
        assert found == {os.fsencode(tmp_path / "tree" / "odd") + b"/" + name for name in ODD_NAMES}
        assert "\x1b" not in done.stdout
        assert len(done.stdout.splitlines()) == len(ODD_NAMES) + (form == "--csv")


def test_a_manifest_is_found_by_the_words_of_put(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree.parent)
    wanted = identity(tree, destinations=("eu", "us"))
    with Manifest.open(wanted.manifest(tmp_path / "state" / "upload-broker"), wanted) as manifest:
        scan(manifest)
    words = ("tree", "--destination", "us", "--destination", "eu", "--batch", "b")
    environment = {"BROKER_URL": BROKER, "XDG_STATE_HOME": str(tmp_path / "state")}
    assert run("status", *words, **environment).stdout.startswith("batch b to eu, us by")
    other = run("status", "tree", **environment)
    assert (other.exit_code, "there is no such manifest" in other.stderr) == (1, True)


def test_wrong_usage_exits_2(tmp_path: Path) -> None:
    for arguments in (["status"], ["failures", "tree"], ["export", "--state", "odd"], ["retry", "--code"]):
        assert run(*arguments, BROKER_URL="").exit_code == 2
    write(tmp_path / "a" / "b")
    done = run("status", tmp_path / "a", tmp_path / "a" / "b", BROKER_URL=BROKER)
    assert (done.exit_code, "sent twice" in done.stderr) == (2, True)


@pytest.mark.parametrize("command", BATCH_COMMANDS)
def test_help_has_an_example_and_the_exit_codes(command: click.Command) -> None:
    text = run(str(command.name), "--help").stdout
    assert f"uploader {command.name} photos" in text
    assert "Exit codes:" in text


@example(b"\xc2\x80")
@example(b"\x80")
@given(st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name))
@settings(max_examples=500)
def test_a_shown_name_is_printable_and_no_other_name_is_shown_so(name: bytes) -> None:
    text = shown(name)
    assert text.isprintable()
    assert _unshown(text) == name


def _unshown(text: str) -> bytes:
    """By the rules of its docstring."""
    out = bytearray()
    position = 0
    while position < len(text):
        if text[position] != "\\":
            out += text[position].encode()
            position += 1
            continue
        kind = text[position + 1]
        if kind == "\\":
            out += b"\\"
            position += 2
        elif kind in "ntr":
            out += {"n": b"\n", "t": b"\t", "r": b"\r"}[kind]
            position += 2
        else:
            digits = {"x": 2, "u": 4, "U": 8}[kind]
            number = int(text[position + 2 : position + 2 + digits], 16)
            out += bytes([number]) if kind == "x" else chr(number).encode()
            position += 2 + digits
    return bytes(out)
