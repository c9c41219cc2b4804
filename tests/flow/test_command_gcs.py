"""`dev` and `demo` on Google Cloud Storage, as their users meet them."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil

from tests.flow.test_command import SENTENCE_SECONDS, run

SECRET = re.compile(r"X-Goog-Signature|upload_id=|ya29\.")


def test_dev_prints_one_json_line_when_ready_and_sigterm_ends_all_that_it_started(tmp_path: Path) -> None:
    argv = ["dev", "--provider", "gcs", "--json", "--port", "0", "--store-port", "0", "--data", str(tmp_path / "dev")]
    with subprocess.Popen([sys.executable, "-m", "broker", *argv], stdout=subprocess.PIPE) as dev:
        assert dev.stdout is not None
        about = json.loads(dev.stdout.readline())
        family = psutil.Process(dev.pid).children(recursive=True)
        assert about.keys() == {
            "broker",
            "api_key",
            "consumer_key",
            "store",
            "owner_key_file",
            "iam",
            "pubsub",
            "bucket",
            "redis",
        }
        assert json.loads(Path(about["owner_key_file"]).read_bytes())["type"] == "service_account"
        with urllib.request.urlopen(f"{about['broker']}/readyz", timeout=10) as ready:
            assert json.load(ready)["is_ready"] is True
        dev.send_signal(signal.SIGTERM)
        assert dev.wait(SENTENCE_SECONDS) == 0
    assert len(family) >= 6
    assert psutil.wait_procs(family, timeout=5)[1] == []


def test_a_stack_that_was_stopped_is_started_again_on_its_data(tmp_path: Path) -> None:
    argv = ["dev", "--provider", "gcs", "--json", "--port", "0", "--store-port", "0", "--data", str(tmp_path / "dev")]
    keys = []
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-m", "broker", *argv], stdout=subprocess.PIPE) as dev:
            assert dev.stdout is not None
            about = json.loads(dev.stdout.readline())
            keys.append((about["api_key"], json.loads(Path(about["owner_key_file"]).read_bytes())["private_key_id"]))
            dev.send_signal(signal.SIGTERM)
            assert dev.wait(SENTENCE_SECONDS) == 0
    assert keys[0] == keys[1]


def test_demo_holds_every_claim_and_says_what_it_saw() -> None:
    done = run("demo", "--provider", "gcs", "--size", "3MiB")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "File size: 3.00 MiB" in done.stdout
    assert "--strategy resumable" in done.stdout  # the file; what is tampered with goes by signed PUT
    assert "6 of 6 claims held." in done.stdout
    assert SECRET.search(done.stdout + done.stderr) is None


def test_what_the_parts_logged_holds_no_secret(tmp_path: Path) -> None:
    argv = ["dev", "--provider", "gcs", "--json", "--port", "0", "--store-port", "0", "--data", str(tmp_path / "dev")]
    with subprocess.Popen([sys.executable, "-m", "broker", *argv], stdout=subprocess.PIPE) as dev:
        assert dev.stdout is not None
        about = json.loads(dev.stdout.readline())
        (tmp_path / "hello.txt").write_text("hello")
        for strategy in ("put", "resumable"):
            put = ["put", str(tmp_path / "hello.txt"), "--strategy", strategy, "--wait", "processed", "--no-resume"]
            env = {"PATH": "/usr/bin:/bin", "BROKER_URL": about["broker"], "BROKER_API_KEY": about["api_key"]}
            sent = subprocess.run([sys.executable, "-m", "uploader", *put], env=env, timeout=60, check=False)
            assert sent.returncode == 0
        dev.send_signal(signal.SIGTERM)
        assert dev.wait(SENTENCE_SECONDS) == 0
    logs = {path.name: path.read_text() for path in (tmp_path / "dev").glob("*.log")}
    assert {"iam.log", "pubsub.log", "store.log", "broker.log"} <= logs.keys()
    assert [name for name, text in logs.items() if SECRET.search(text)] == []
