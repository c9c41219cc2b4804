"""One scan into a manifest, in a process of its own: `python bench/_scan_ours.py TREE MANIFEST`.

Prints how long it took, what it came to, and the peak of its memory.
"""

import json
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from uploader.tree.identity import Identity
from uploader.tree.intake import Intake
from uploader.tree.manifest import Manifest


def main(tree: Path, path: Path) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    with Manifest.open(path, Identity.of("http://127.0.0.1", ["bench"], "bench", [tree])) as manifest:
        tally = Intake(manifest=manifest).run()
        first = time.perf_counter()
        taken = manifest.take("size", 1_000).result()
        take_seconds = time.perf_counter() - first
    said = {
        "seconds": time.perf_counter() - began - take_seconds,
        "cpu_seconds": time.process_time() - cpu,
        "take_seconds": take_seconds,
        "new": tally.new,
        "unchanged": tally.unchanged,
        "taken": len(taken),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,  # getrusage(2): KiB on Linux
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
