"""`os.walk` and an `os.stat` for each file, and nothing else: `python bench/peers/walk_and_stat.py TREE`."""

import json
import os
import sys
import time


def main(tree: str) -> None:
    began = time.perf_counter()
    files = size_bytes = 0
    for folder, _, names in os.walk(tree):
        for name in names:
            size_bytes += os.stat(os.path.join(folder, name)).st_size  # noqa: PTH116, PTH118 - what programs do
            files += 1
    print(json.dumps({"seconds": time.perf_counter() - began, "new": files}))


if __name__ == "__main__":
    main(sys.argv[1])
