"""Makes `.venv` from a lock file, or says in one sentence what is missing. Run by `make`, with any Python."""

import os
import subprocess
import sys

NEEDS = (3, 11)
VENV = ".venv"


def main(lock):
    if sys.version_info < NEEDS:
        return say(
            "Python %d.%d or newer is needed, and this is %s; choose another with `make PYTHON=python3.12 …`."
            % (NEEDS[0], NEEDS[1], sys.version.split()[0])
        )
    python = os.path.join(VENV, "bin", "python")
    if not os.path.exists(python) and subprocess.call([sys.executable, "-m", "venv", VENV], stdout=subprocess.DEVNULL):
        return say("the virtual environment could not be made; on Debian: apt-get install python3-venv.")
    sys.stderr.write("Installing from %s (once) …\n" % lock)
    # Wheels only: nothing here needs a compiler, and a machine without one should hear so in a sentence.
    pip = [python, "-m", "pip", "--disable-pip-version-check", "-qq", "install", "--only-binary", ":all:"]
    if subprocess.call([*pip, "--require-hashes", "-r", lock]):
        return say(
            "a package could not be installed: pip's reason stands above. Only ready-made wheels are used, so this "
            "Python (%s) may be too new, or the package index out of reach." % sys.version.split()[0]
        )
    editable = [python, "-m", "pip", "--disable-pip-version-check", "-qq", "install", "--no-deps"]
    if subprocess.call([*editable, "--no-build-isolation", "-e", "."]):
        return say("the project itself could not be installed: pip's reason stands above.")
    return 0


def say(sentence):
    sys.stderr.write("make install: %s\n" % sentence)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
