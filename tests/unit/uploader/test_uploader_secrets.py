"""What must not be seen is not seen, and what must not be loaded is not loaded."""

import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from uploader_standin import KEY, QUICK, TOKEN, MakeFile, Recorder, StandIn

from broker.contract import SignedRequest
from uploader import Unreachable, Uploader, UploaderError
from uploader.sdk import parse_broker_url
from uploader.sender import signed_url

SECRETS = [KEY, TOKEN, "X-Amz-Signature", "s%2Bx"]


@pytest.mark.parametrize("fault", [None, "reset", "forbidden", "stall", "refuse-early", "lost-response", "truncate"])
async def test_no_secret_is_in_a_result_an_event_an_error_or_a_log(
    standin: StandIn, make_file: MakeFile, recorder: Recorder, caplog: pytest.LogCaptureFixture, fault: str | None
) -> None:
    caplog.set_level(logging.DEBUG)
    standin.store_faults.extend([fault] * 8)
    seen = []
    async with Uploader(standin.broker_url, KEY, retry=QUICK, stall=timedelta(seconds=0.3)) as uploader:
        try:
            seen.append(repr(await uploader.put(make_file(12 << 20), checksum="none", observer=recorder)))
        except UploaderError as exc:
            error: BaseException | None = exc
            while error is not None:
                seen.append(repr(error))
                error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        seen += [repr(uploader), repr(uploader._broker), *map(repr, recorder.events), caplog.text]
    assert not [text for text in seen for secret in SECRETS if secret in text]


@pytest.mark.parametrize("url", ["ftp://h/x", "http://", "/x", "http://h/a b", "http://h/ü", "http://h/\r\nX: y", ""])
def test_a_signed_request_without_a_usable_url_is_refused_without_showing_it(url: str) -> None:
    request = SignedRequest(method="PUT", url=url, headers={}, expires_at=datetime.now(UTC))
    with pytest.raises(Unreachable, match=r"^the signed request holds no usable URL$"):
        signed_url(request)


@pytest.mark.parametrize("url", ["ftp://h", "h:80", "http://user:pw@h", "http://h/?key=x", "http://h/#x", ""])
def test_a_broker_url_that_could_hold_a_secret_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="the broker's URL"):
        parse_broker_url(url)


def test_importing_the_uploader_loads_no_server_and_no_cloud_sdk() -> None:
    code = (
        "import sys, uploader, uploader.__main__, uploader.commands.put, uploader.commands.status;"
        "print([m for m in ('litestar', 'redis', 'boto3', 'botocore', 'google', 'uvicorn', 'cryptography', 'requests')"
        " if m in sys.modules], sorted(m for m in sys.modules if m.startswith('broker')))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "[] ['broker', 'broker.contract']"
