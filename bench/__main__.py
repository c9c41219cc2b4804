"""`make bench`: every bench in turn, and `bench/RESULTS.md` with what they printed."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """1 when a bench failed; what it said is in the results all the same."""
    benches = sorted(path for path in HERE.glob("*.py") if not path.name.startswith("_"))
    parts, is_failed = [_heading()], False
    for path in benches:
        print(f"bench/{path.name} …", flush=True)
        done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
        print(done.stdout, done.stderr, flush=True)
        is_failed = is_failed or done.returncode != 0
        said = done.stdout if done.returncode == 0 else f"{done.stdout}\nFAILED\n{done.stderr}"
        parts.append(f"## {path.stem}\n\n`python bench/{path.name}`\n\n```\n{said.strip()}\n```\n")
    (HERE / "RESULTS.md").write_text("\n".join(parts))
    return int(is_failed)


def _heading() -> str:
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    return f"# Results of `make bench`\n\n{today}, {machine}. Ratios, not absolutes, are the claim.\n"


if __name__ == "__main__":
    sys.exit(main())
