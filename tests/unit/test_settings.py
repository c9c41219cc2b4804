"""Settings: who wins, what is refused, and that no message ever shows a secret."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.errors import ConfigurationInvalid
from broker.domain.principals import Rate, Role
from broker.settings import Secret, Settings, load
from broker.wiring import api_keys_of

SECRET = "hunter2-hunter2-hunter2-hunter2-hunter2"
HASH = "0" * 64
BUCKET = '[destinations.default]\nbucket = "acme"\n'


class Rooms:
    """A directory with a file, and an environment."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "broker.toml"

    def load(self, text: str = "", **environ: str) -> Settings:
        self.path.write_text(text)
        return load(self.path, environ)

    def refused(self, text: str = "", **environ: str) -> str:
        with pytest.raises(ConfigurationInvalid) as caught:
            self.load(text, **environ)
        sentence = str(caught.value)
        assert "\n" not in sentence
        assert len(sentence) < 300
        assert SECRET not in sentence
        assert "Traceback" not in sentence
        return sentence


@pytest.fixture
def rooms(tmp_path: Path) -> Rooms:
    return Rooms(tmp_path)


def test_defaults_stand_without_a_file(tmp_path: Path) -> None:
    assert load(None, {}, default_path=tmp_path / "broker.toml") == Settings()


def test_the_default_file_is_read_where_it_exists(rooms: Rooms) -> None:
    rooms.path.write_text("[server]\nport = 81")
    assert load(None, {}, default_path=rooms.path).server.port == 81


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"broker\.toml: No such file or directory$"):
        load(tmp_path / "broker.toml", {})
    with pytest.raises(ConfigurationInvalid, match="Is a directory"):
        load(tmp_path, {})


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(rooms: Rooms) -> None:
    text = '[server]\nport = 81\nhost = "0.0.0.0"\n'
    server = rooms.load(text, BROKER_SERVER__PORT="82", OTHER_SERVER__PORT="83").server
    assert (server.port, server.host, server.log_level) == (82, "0.0.0.0", "info")  # noqa: S104


def test_two_underscores_nest_and_values_are_json_where_they_are_json(rooms: Rooms) -> None:
    found = rooms.load(
        BROKER_DESTINATIONS__DEFAULT__BUCKET="acme",
        BROKER_DESTINATIONS__DEFAULT__POLICY__MAX_SIZE_BYTES="10",
        BROKER_DESTINATIONS__DEFAULT__POLICY__DEADLINE="2h",
        BROKER_DESTINATIONS__DEFAULT__POLICY__CONTENT_TYPES='["text/*"]',
        BROKER_DESTINATIONS__DEFAULT__ACCEPT_UNSIGNED_HEADERS="true",
        BROKER_SECRETS='{"capsule_keys": [{"env": "K"}]}',
    )
    policy = found.destinations["default"].policy
    assert (policy.max_size_bytes, policy.deadline, policy.content_types) == (10, timedelta(hours=2), ("text/*",))
    assert found.destinations["default"].accept_unsigned_headers
    assert found.secrets.capsule_keys == (Secret(env="K"),)


def test_digits_stay_a_text_where_a_text_is_wanted(rooms: Rooms) -> None:
    """An account is twelve digits, of which JSON would make a number."""
    found = rooms.load(
        BROKER_DESTINATIONS__DEFAULT__BUCKET="20261121",
        BROKER_DESTINATIONS__DEFAULT__EXPECTED_BUCKET_OWNER="123456789012",
        BROKER_DESTINATIONS__DEFAULT__TAGS__YEAR="2026",
        BROKER_DESTINATIONS__DEFAULT__CREDENTIALS__DEFAULT__ROLE_ARN="arn:aws:iam::123456789012:role/uploads",
        BROKER_DESTINATIONS__DEFAULT__CREDENTIALS__DEFAULT__EXTERNAL_ID="007",
        BROKER_DESTINATIONS__DEFAULT__CREDENTIALS__DEFAULT__SOURCE__PROFILE="1",
        BROKER_SOURCES__QUEUE='{"kind": "sqs", "queue_url": "https://sqs.eu-central-1.amazonaws.com/1/q"}',
        BROKER_SOURCES__QUEUE__DESTINATIONS='["default"]',
        BROKER_SOURCES__QUEUE__REGION="1",
        BROKER_FAN_OUT__REQUIRED="2",
    )
    place = found.destinations["default"]
    credential = place.credentials.default
    assert (place.bucket, place.expected_bucket_owner, place.tags) == ("20261121", "123456789012", {"year": "2026"})
    assert credential.external_id == "007"
    assert credential.source is not None
    assert credential.source.profile == "1"
    assert found.sources["queue"].region == "1"  # type: ignore[union-attr]
    assert found.fan_out.required == 2


def test_names_of_clients_and_of_kubernetes_services_are_no_settings(rooms: Rooms) -> None:
    assert (
        rooms.load(
            BROKER_URL="http://x",
            BROKER_API_KEY="k",
            BROKER_CONSUMER_KEY="k",
            BROKER_CONFIG="f",
            BROKER_SERVICE_HOST="10.0.0.1",
            BROKER_SERVICE_PORT="80",
            BROKER_SERVICE_PORT_HTTP="80",
            BROKER_PORT="tcp://10.0.0.1:80",
            BROKER_PORT_80_TCP="tcp://10.0.0.1:80",
            BROKER_PORT_80_TCP_ADDR="10.0.0.1",
        )
        == Settings()
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("prot = 1", "prot"),
        ("[server]\nprot = 1", "server"),
        ("[server]\nport = 'x'", "server.port"),
        ("[server]\nport = 65536", "server.port"),
        ("[server]\nlog_level = 'loud'", "server.log_level"),
        ("server = 1", "server"),
        ("[ledger]\nshards = 0", "ledger.shards"),
        ("[ledger]\nshards = 257", "ledger.shards"),
        ("[ledger]\ndurability = 'none'", "ledger.durability"),
        ("[destinations.default]", "bucket"),
        (BUCKET + "prefix = '/x'", "prefix"),
        (BUCKET + "prefix = 'x/'", "prefix"),
        (BUCKET + "prefix = ''", "prefix"),
        (BUCKET + "prefix = 'a b'", "prefix"),
        (BUCKET + "dialect = 'gcs'", "dialect"),
        (BUCKET + "on_reject = 'burn'", "on_reject"),
        (BUCKET + "policy = {max = 1}", "policy"),
        (BUCKET + "policy = {min_rate_bytes_per_second = 0}", "min_rate_bytes_per_second"),
        (BUCKET + "policy = {max_failures = 0}", "max_failures"),
        (BUCKET + "policy = {require = ['speed']}", "require"),
        ("destinations = []", "destinations"),
        ("[destinations]\ndefault = 7", "destinations"),
        ("[sources.s]\ntokens = []\ndestinations = ['default']\n" + BUCKET, "tokens"),
        ("[sources.s]\ntokens = [{env='T'}]\ndestinations = []\n" + BUCKET, "destinations"),
        ("[sources.s]\ntokens = [{env='T'}]\ndestinations = ['eu']\n" + BUCKET, "sources.s.destinations"),
        ("[keys.app]\nroles = ['mint']", "keys.app"),
        ("[keys.app]\nroles = ['root']\nhash = '" + HASH + "'", "roles"),
        ("[keys.app]\nroles = ['mint']\nhash = 'é'", "hash"),
        ("[keys.app]\nroles = ['mint']\nhash = '" + HASH.replace("0", "A") + "'", "hash"),
        (
            BUCKET + "[destinations.eu]\nbucket = 'acme'\nencryption = {mode = 'rot13'}",
            "destinations.eu.encryption.mode",
        ),
        (BUCKET + "[destinations.eu]\nbucket = 'acme'\ntags = {a = 1}", "destinations.eu.tags[...]"),
        (BUCKET + "[destinations.eu]\nbucket = 'acme'\ncredentials = {read = {profle = 'x'}}", "eu.credentials.read"),
        (
            BUCKET + "[sources.q]\nkind = 'sqs'\nqueue_url = 'x'\nreceivers = 0\ndestinations = ['default']",
            "sources.q.r",
        ),
        ("[webhooks.w]\nurl = 7\nsecrets = [{env = 'S'}]", "webhooks.w.url"),
        ("[keys.app]\nroles = 'mint'\nhash = '" + HASH + "'", "keys.app.roles"),
        ("[keys.'a b']\nroles = ['mint']\nhash = '" + HASH + "'", "a b"),
        ("not toml", "broker.toml"),
        ("a = 1\na = 2", "broker.toml"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(rooms: Rooms, text: str, place: str) -> None:
    assert place in rooms.refused(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BROKER_SERVER__PROT", "1"),
        ("BROKER_PROT", "1"),
        ("BROKER_SERVER", "text"),
        ("BROKER_SERVER__PORT__X", "1"),
        ("BROKER_", "1"),
        ("BROKER___", "1"),
        ("BROKER_SERVER__PORT", "null"),
        ("BROKER_DESTINATIONS__DEFAULT__BUCKET", "7"),
    ],
)
def test_a_variable_that_cannot_be_used_is_refused(rooms: Rooms, name: str, value: str) -> None:
    rooms.refused("[server]\nport = 81", **{name: value})


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("1.5h", timedelta(minutes=90)),
        ("30d", timedelta(days=30)),
    ],
)
def test_durations_are_written_with_their_unit(rooms: Rooms, text: str, duration: timedelta) -> None:
    found = rooms.load(BUCKET + f"policy = {{deadline = '{text}'}}")
    assert found.destinations["default"].policy.deadline == duration
    assert rooms.load("[jobs]\nlease = '250ms'").jobs.lease == timedelta(milliseconds=250)


@pytest.mark.parametrize(
    "value", ["24", "'24'", "''", "'h'", "'-1h'", "'1 h'", "'1h30m'", "'PT1H'", "true", "[]", "'1w'", "'٣h'"]
)
def test_anything_else_is_no_duration(rooms: Rooms, value: str) -> None:
    assert "destinations.default.policy.deadline" in rooms.refused(BUCKET + f"policy = {{deadline = {value}}}")
    assert "jobs.lease" in rooms.refused(f"[jobs]\nlease = {value}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("url_ttl", "0s"),
        ("url_ttl", "8d"),
        ("deadline", "0s"),
        ("deadline", "31d"),
        ("retention", "99999999999999d"),
        ("retention", "9" * 400 + "d"),
        ("longest_look_interval", "0s"),
    ],
)
def test_a_duration_that_cannot_work_is_refused(rooms: Rooms, name: str, value: str) -> None:
    assert "destinations.default.policy" in rooms.refused(BUCKET + f"policy = {{{name} = '{value}'}}")


@pytest.mark.parametrize(("name", "value"), [("lease", "0s"), ("read_ttl", "6m"), ("read_ttl", "0s")])
def test_a_lease_lasts_and_a_read_grant_is_short(rooms: Rooms, name: str, value: str) -> None:
    assert f"jobs.{name}" in rooms.refused(f"[jobs]\n{name} = '{value}'")


@given(
    st.dictionaries(
        st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", max_size=30).map(lambda n: f"BROKER_{n}"), st.text(), max_size=4
    )
)
def test_no_environment_breaks_the_reader(environ: dict[str, str]) -> None:
    with suppress(ConfigurationInvalid):
        load(None, environ, default_path=Path("/nonexistent/broker.toml"))


def test_a_key_is_read_with_its_limits(rooms: Rooms) -> None:
    key = rooms.load(f"[keys.app]\nroles = ['mint', 'admin']\nhashes = ['{HASH}', '{HASH}']\nmax_size_bytes = 5").keys[
        "app"
    ]
    assert key.roles == {Role.MINT, Role.ADMIN}
    assert (key.max_size_bytes, key.destinations) == (5, ("*",))


# --- secrets


def test_a_secret_comes_from_the_environment_or_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPSULE_KEY", SECRET)
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    assert Secret(env="CAPSULE_KEY").reveal() == SECRET
    assert Secret(file=str(tmp_path / "secret")).reveal_key() == SECRET.encode()


def test_a_secret_that_is_not_there_is_named_and_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff" + SECRET.encode())
    for secret, word in (
        (Secret(), "env"),
        (Secret(env="A", file="b"), "env"),
        (Secret(env="EMPTY"), "EMPTY"),
        (Secret(env="UNSET"), "UNSET"),
        (Secret(file=str(tmp_path / "none")), "none"),
        (Secret(file=str(tmp_path)), str(tmp_path)),
        (Secret(file=str(tmp_path / "empty")), "is empty"),
        (Secret(file=str(tmp_path / "binary")), "is no text"),
    ):
        with pytest.raises(ConfigurationInvalid, match=word) as refused:
            secret.reveal()
        assert SECRET not in str(refused.value)
        assert refused.value.__cause__ is None or SECRET not in str(refused.value.__cause__)


def test_a_secret_file_whose_name_can_be_none_is_refused() -> None:
    with pytest.raises(ConfigurationInvalid, match="no path"):
        Secret(file="/run/secrets/a\x00b").reveal()


def test_a_short_key_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPSULE_KEY", SECRET[:31])
    with pytest.raises(ConfigurationInvalid, match="CAPSULE_KEY is shorter than 32 bytes") as refused:
        Secret(env="CAPSULE_KEY").reveal_key()
    assert SECRET[:8] not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        f"[secrets]\ncapsule_keys = ['{SECRET}']",
        f"[secrets]\ncapsule_keys = '{SECRET}'",
        f"[secrets]\ncapsule_keys = [{{value = '{SECRET}'}}]",
        BUCKET + f"credentials = {{default = {{secret_access_key = '{SECRET}'}}}}",
        f"[sources.s]\ntokens = ['{SECRET}']\ndestinations = ['default']\n" + BUCKET,
    ],
)
def test_a_secret_written_where_it_must_not_stand_is_refused_and_not_repeated(rooms: Rooms, text: str) -> None:
    rooms.refused(text)


def test_neither_repr_nor_str_of_the_settings_shows_a_secret(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPSULE_KEY", SECRET)
    found = rooms.load(
        f"[ledger]\nurl = 'redis://:{SECRET}@127.0.0.1/0'\n[secrets]\ncapsule_keys = [{{env = 'CAPSULE_KEY'}}]\n"
    )
    assert found.ledger.url.endswith("@127.0.0.1/0")
    assert found.secrets.capsule_keys[0].reveal() == SECRET
    assert SECRET not in f"{found!r} {found} {found.ledger!r} {found.secrets}"


KEY = f'[keys.app]\nhash = "{HASH}"\nroles = ["mint"]\n'


def test_a_key_has_no_limits_by_default(rooms: Rooms) -> None:
    (key,) = api_keys_of(rooms.load(KEY).keys).values()
    assert key.rate is None
    assert (key.max_pending_sessions, key.max_pending_bytes) == (None, None)


def test_the_limits_of_a_key_are_read(rooms: Rooms) -> None:
    limits = "sessions_per_second = 2.5\nmax_pending_sessions = 0\nmax_pending_bytes = 9\n"
    (key,) = api_keys_of(rooms.load(KEY + limits).keys).values()
    assert key.rate == Rate(per_second=2.5, burst=3)
    assert (key.max_pending_sessions, key.max_pending_bytes) == (0, 9)
    (key,) = api_keys_of(rooms.load(f"{KEY}{limits}burst = 40\n").keys).values()
    assert key.rate == Rate(per_second=2.5, burst=40)


@pytest.mark.parametrize(
    "limit",
    [
        *(f"sessions_per_second = {wrong}" for wrong in ("0", "-1", "nan", "inf", "1e7")),
        "burst = 0",
        "max_pending_sessions = -1",
        "max_pending_bytes = 1.5",
    ],
)
def test_what_is_no_limit_is_refused(rooms: Rooms, limit: str) -> None:
    assert f"keys.app.{limit.partition(' ')[0]}" in rooms.refused(KEY + limit)
