"""Killed between any two statements, the manifest is whole, keeps what it acknowledged, and the same command ends."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tree_killed import AT_ONCE


def test_a_kill_before_any_statement_costs_at_most_what_was_in_hand(tmp_path: Path) -> None:
    """Both commands once for each of their statements; a killed process needs no disk, only a file system."""
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as directory:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("tree_killed.py")), directory],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
            env={"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[3]}"},
        )
    assert done.returncode == 0, done.stderr
    *killed, whole = json.loads(done.stdout)
    assert (whole["number"], whole["sent_again"], len(killed) > 100) == (0, 0, True)
    for result in killed:
        assert result["integrity"] == "ok", result
        assert result["states"] == whole["states"], result
        assert result["promises_broken"] == [], result  # acknowledged as verified, so never sent again
        assert result["sent_again"] <= AT_ONCE, result
