"""One command, run and measured from outside: moments of its start and end, CPU time, most memory.

`python -I -S bench/_measured.py COMMAND…` prints JSON. A process of its own, because a child's peak begins with that
of the process that started it (setmax_mm_hiwater_rss in Linux's fs/exec.c), and this one is smaller than any side.
The CPU time is that of the command and of all its children, from exec to exit (wait4(2)).
"""

import json
import os
import sys
import time


def main() -> None:
    began = time.time()
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    said = {
        "began": began,
        "ended": time.time(),
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024,
        "code": os.waitstatus_to_exitcode(status),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
