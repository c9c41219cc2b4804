"""What an operator may say about webhooks, and what is refused with the place where it stands."""

import base64
from datetime import timedelta
from pathlib import Path

import pytest

from broker.domain.errors import ConfigurationInvalid
from broker.settings import Settings, load
from broker.wiring import webhooks_of

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
SOUND = 'url = "https://hooks.example/in"\nsecrets = [{env = "HOOK_SECRET"}]'


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setenv("HOOK_URL", "https://hooks.example/in/token-17")
    monkeypatch.setenv("HOOK_SHORT", "whsec_c2hvcnQ=")


def loaded(folder: Path, text: str) -> Settings:
    path = folder / "broker.toml"
    path.write_text(text)
    return load(path, {})


def test_a_webhook_hears_of_everything_unless_it_says_otherwise(tmp_path: Path) -> None:
    (found,) = webhooks_of(loaded(tmp_path, f"[webhooks.crm]\n{SOUND}"))
    assert (found.webhook.name, found.url, len(found.webhook.keys)) == ("crm", "https://hooks.example/in", 1)
    assert len(found.webhook.types) == 5
    assert not found.webhook.is_choosy
    assert found.settings.timeout == timedelta(seconds=15)


def test_every_setting_is_heard(tmp_path: Path) -> None:
    text = """\
[destinations.eu]
bucket = "acme"
[webhooks.crm]
url = {env = "HOOK_URL"}
secrets = [{env = "HOOK_SECRET"}, {env = "HOOK_SECRET"}]
events = ["session.processed", "session.failed"]
destinations = ["eu"]
keys = ["app"]
timeout = "20s"
max_in_flight = 3
"""
    (found,) = webhooks_of(loaded(tmp_path, text))
    assert found.url == "https://hooks.example/in/token-17"
    assert "token-17" not in repr(found)
    assert found.webhook.types == {"session.processed", "session.failed"}
    assert (found.webhook.destinations, found.webhook.principals) == (("eu",), ("app",))
    assert (found.settings.timeout, found.settings.max_in_flight) == (timedelta(seconds=20), 3)
    assert len(found.webhook.keys) == 2


def test_the_environment_can_say_it_all(tmp_path: Path) -> None:
    environ = {
        "BROKER_WEBHOOKS__CRM__URL": "https://hooks.example/in",
        "BROKER_WEBHOOKS__CRM__SECRETS": '[{"env": "HOOK_SECRET"}]',
        "BROKER_WEBHOOKS__CRM__TIMEOUT": "30s",
    }
    (found,) = webhooks_of(load(None, environ, default_path=tmp_path / "none"))
    assert found.settings.timeout == timedelta(seconds=30)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[webhooks.crm]\nurl = "https://hooks.example/"', "secrets"),
        (f"[webhooks.crm]\n{SOUND.replace('[{', '[] #')}", "secrets"),
        (f'[webhooks.crm]\n{SOUND}\nevents = ["session.pending"]', "events"),
        (f"[webhooks.crm]\n{SOUND}\nevents = []", "events"),
        (f'[webhooks.crm]\n{SOUND}\ndestinations = ["eu"]', "webhooks.crm.destinations"),
        (f'[webhooks.crm]\n{SOUND}\ntimeout = "2m"', "webhooks.crm.timeout"),
        (f'[webhooks.crm]\n{SOUND}\ntimeout = "0s"', "webhooks.crm.timeout"),
        (f"[webhooks.crm]\n{SOUND}\nmax_in_flight = 0", "max_in_flight"),
        (f"[webhooks.crm]\n{SOUND}\nredirects = true", "redirects"),
        (f'[webhooks."a:{{b}}"]\n{SOUND}', "webhooks"),
        (f'[webhooks.crm]\n{SOUND}\n[destinations.eu]\nbucket = "acme"\npolicy = {{retention = "24h"}}', "retention"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=place):
        loaded(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (SOUND.replace("https", "http"), "allow_private"),
        (SOUND.replace("hooks.example", "169.254.169.254"), "not public"),
        (SOUND.replace("HOOK_SECRET", "HOOK_SHORT"), "whsec_"),
        (SOUND.replace("HOOK_SECRET", "HOOK_URL"), "whsec_"),
    ],
)
def test_what_must_not_be_called_or_signed_with_is_refused_at_the_start(tmp_path: Path, text: str, why: str) -> None:
    settings = loaded(tmp_path, f"[webhooks.crm]\n{text}")
    with pytest.raises(ConfigurationInvalid, match=f"webhooks.crm: .*{why}") as refused:
        webhooks_of(settings)
    assert "token-17" not in str(refused.value)
    assert "c2hvcnQ" not in str(refused.value)
