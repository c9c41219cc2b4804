"""Upload URIs are secrets that the ledger keeps: without a key to seal them no destination that has some is opened."""

import pytest

from broker.domain.errors import ConfigurationInvalid
from broker.settings import Secret
from broker.settings.secrets import SecretSettings
from broker.wiring.uris import uri_sealer_of
from tests.clock import FrozenClock
from tests.memory_bucket import MemoryBucket
from tests.unit.services.house import PLACE

PLACED = {"session_id": "00a", "key": "uploads/00a/x"}


def bucket(*, is_resumable: bool) -> dict[str, object]:
    return {"scans": MemoryBucket(clock=FrozenClock(), is_resumable=is_resumable).as_bucket(PLACE)}


def test_a_destination_that_opens_uploads_needs_a_key() -> None:
    with pytest.raises(ConfigurationInvalid, match=r"secrets\.encryption_keys: destination 'scans'.*openssl"):
        uri_sealer_of(SecretSettings(), bucket(is_resumable=True))  # type: ignore[arg-type]


def test_others_need_none() -> None:
    assert uri_sealer_of(SecretSettings(), bucket(is_resumable=False)).open("AAAA", **PLACED) is None  # type: ignore[arg-type]


def test_the_first_seals_and_all_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEW", "n" * 32)
    monkeypatch.setenv("OLD", "o" * 32)
    new, old = Secret(env="NEW"), Secret(env="OLD")
    before = uri_sealer_of(SecretSettings(encryption_keys=(old,)), {}).seal("https://x", **PLACED)
    rotated = uri_sealer_of(SecretSettings(encryption_keys=(new, old)), bucket(is_resumable=True))  # type: ignore[arg-type]
    assert rotated.open(before, **PLACED) == "https://x"
    after = rotated.seal("https://x", **PLACED)
    assert uri_sealer_of(SecretSettings(encryption_keys=(new,)), {}).open(after, **PLACED) == "https://x"


@pytest.mark.parametrize("value", [None, "short"])
def test_a_key_that_is_none_is_refused_by_name(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("URI_KEY", raising=False)
    if value:
        monkeypatch.setenv("URI_KEY", value)
    with pytest.raises(ConfigurationInvalid, match="URI_KEY"):
        uri_sealer_of(SecretSettings(encryption_keys=(Secret(env="URI_KEY"),)), {})
