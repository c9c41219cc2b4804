"""What an operator may set: `broker.toml`, overridden by `BROKER_…` environment variables (`__` nests).

    BROKER_LEDGER__URL=redis://127.0.0.1:6379/0      ledger = {url = "redis://…"}

A secret is never a literal: `{env = "NAME"}` or `{file = "/run/secrets/name"}`. Durations are written "90s", "15m",
"24h", "30d". Unknown names are refused, with the place where they stand.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from broker.contract import MAX_COPIES, WebhookType
from broker.domain.errors import ConfigurationInvalid
from broker.domain.keys import SHARDS_LIMIT
from broker.domain.policy import MultipartTerms, Policy
from broker.domain.principals import ANY_DESTINATION, MAX_SESSIONS_PER_SECOND, Role, check_key_id
from broker.domain.webhooks import ALL_TYPES, ANY, GIVEN_UP_AFTER
from broker.environment import override

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LONGEST = timedelta(days=3_650)  # ours: ten years, far from the end of the calendar
_MIN_KEY_BYTES = 32
MAX_ROLE_CHAIN = 3  # ours: hub, account, right
_OF_ROLES = ("external_id", "role_session_name", "session_policy", "sts_endpoint", "web_identity_token_file", "source")
_KEY_KINDS = {
    "access_key_id": ("access_key_id", "secret_access_key", "session_token"),
    "env_json": ("env_json",),
    "file_json": ("file_json",),
    "profile": ("profile",),
}
# RFC 6454 section 6.2, an origin in ASCII: a port is left out where it is the scheme's own.
_ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:]+\])(:(?P<port>[0-9]{1,5}))?")
_UNSENT_PORTS = {"http": "80", "https": "443"}


_TABLE_OF_NAMES = re.compile(r"`\$\.([a-z_]+)\[\.\.\.\]")


class Secret(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a secret is to be found."""

    env: str | None = None
    file: str | None = None

    def reveal(self) -> str:
        """:raises ConfigurationInvalid: neither or both are named, or nothing is there."""
        if (self.env is None) == (self.file is None):
            raise ConfigurationInvalid('a secret is {env = "NAME"} or {file = "PATH"}')
        if self.env is not None:
            value = os.environ.get(self.env)
            if not value:
                raise ConfigurationInvalid(f"the environment variable {self.env} is not set")
            return value
        try:
            value = Path(str(self.file)).read_text().strip()
        except OSError as exc:
            raise ConfigurationInvalid(f"the secret file {self.file} cannot be read: {exc.strerror}") from exc
        except UnicodeDecodeError:
            raise ConfigurationInvalid(f"the secret file {self.file} is no text") from None  # it would quote the secret
        except ValueError:  # NUL in a path
            raise ConfigurationInvalid(f"{self.file!r} is no path of a secret file") from None
        if not value:
            raise ConfigurationInvalid(f"the secret file {self.file} is empty")
        return value

    def reveal_key(self) -> bytes:
        """A key of full entropy: at least 32 bytes, any text (for instance `openssl rand -base64 32`)."""
        key = self.reveal().encode()
        if len(key) < _MIN_KEY_BYTES:
            raise ConfigurationInvalid(f"the key in {self.env or self.file} is shorter than {_MIN_KEY_BYTES} bytes")
        return key


class LedgerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str = "redis://127.0.0.1:6379/0"
    shards: Annotated[int, Meta(ge=1, le=SHARDS_LIMIT)] = 1
    durability: Literal["everysec", "strict"] = "everysec"
    is_dev: bool = False

    def __repr__(self) -> str:
        """A URL may carry a password."""
        return f"LedgerSettings(url=***, shards={self.shards}, durability={self.durability!r}, is_dev={self.is_dev})"


class SecretSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """First writes, all read. `capsule_keys` also key the session and lease tokens, each derived for its purpose."""

    capsule_keys: tuple[Secret, ...] = ()
    encryption_keys: tuple[Secret, ...] = ()


RoleArn = Annotated[str, Meta(pattern=r"^arn:[a-z-]+:iam::[^:\s]*:role/[\x21-\x7e]+$(?!\n)", max_length=2_048)]


class CredentialSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One right's credential. One of

    - `access_key_id` and `secret_access_key`;
    - `env_json` or `file_json`: a secret that holds them in JSON, with `region_name` and `s3_bucket_name`;
    - `profile` of the AWS configuration;
    - `role_arn`, assumed by `source` – again one of these –, or by the token in `web_identity_token_file`;
    - nothing: botocore's default chain.

    `session_policy`: what the role's session may at most. "minimal" is one right on one prefix, the default of a
    destination's own credentials; "none" leaves it what the role may; else where a JSON document is found.
    """

    access_key_id: str | Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    env_json: str | None = None
    file_json: str | None = None
    profile: str | None = None
    role_arn: RoleArn | None = None
    external_id: str | Secret | None = None
    role_session_name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_+=,.@-]{2,64}$(?!\n)")] | None = None
    duration: timedelta = timedelta(hours=1)
    session_policy: Literal["minimal", "none"] | Secret | None = None
    sts_endpoint: str | None = None
    web_identity_token_file: str | None = None
    source: "CredentialSettings | None" = None

    def __post_init__(self) -> None:
        """What contradicts itself is refused with the place where it stands."""
        check_credential(self)


def check_credential(settings: CredentialSettings) -> None:
    """:raises ValueError: one sentence; msgspec adds the place."""
    given = {name for name in _KEY_KINDS if any(getattr(settings, field) is not None for field in _KEY_KINDS[name])}
    if len(given) > 1:
        raise ValueError(f"{' and '.join(sorted(given))} exclude each other: a credential is of one kind")
    if settings.role_arn is None:
        _check_no_role(settings)
        return
    if given:
        raise ValueError(f"{given.pop()} belongs into source = {{…}}, which assumes role_arn")
    if settings.web_identity_token_file is not None and (settings.source or settings.external_id):
        raise ValueError("a role of a web identity has neither source nor external_id")
    if not timedelta(minutes=15) <= settings.duration <= timedelta(hours=12):
        raise ValueError("duration: at least 15m and at most 12h")
    if settings.sts_endpoint is not None and not re.fullmatch(r"https?://[^/?#@\s]+/?", settings.sts_endpoint):
        raise ValueError('sts_endpoint is written "https://host", with a port where needed')
    if settings.source is not None:
        _check_source(settings, settings.source)


def _check_no_role(settings: CredentialSettings) -> None:
    alone = [name for name in _OF_ROLES if getattr(settings, name) is not None]
    if alone:
        raise ValueError(f"{alone[0]} needs role_arn")


def _check_source(settings: CredentialSettings, source: CredentialSettings) -> None:
    if source.session_policy == "minimal":
        raise ValueError("source: a session policy for one right on one prefix could not assume a role")
    # IAM User Guide, "Role chaining": at most one hour.
    if source.role_arn is not None and settings.duration > timedelta(hours=1):
        raise ValueError("duration: a role that another role assumes lives for at most 1h")
    roles, each = 1, settings.source
    while each is not None and each.role_arn is not None:
        roles, each = roles + 1, each.source
    if roles > MAX_ROLE_CHAIN:
        raise ValueError(f"source: at most {MAX_ROLE_CHAIN} roles one after the other")


class RightSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A credential a right; `default` serves those that are not named."""

    default: CredentialSettings = CredentialSettings()
    write: CredentialSettings | None = None
    read: CredentialSettings | None = None
    remove: CredentialSettings | None = None


class EncryptionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By whom the store has objects encrypted: itself, or a key of KMS."""

    mode: Literal["AES256", "aws:kms", "aws:kms:dsse"]
    kms_key_id: str | None = None
    bucket_key: bool | None = None


class DestinationSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    provider: Literal["s3"] = "s3"
    dialect: Literal["aws", "ceph", "r2", "generic"] = "generic"
    # Both may come from a JSON secret among the credentials, see wiring.accounts.
    bucket: Annotated[str, Meta(pattern=r"^(.{3,63})?$(?!\n)")] = ""
    region: str = ""
    prefix: Annotated[
        str, Meta(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*$")
    ] = "uploads"
    endpoint: str | None = None
    public_endpoint: str | None = None
    consumer_endpoint: str | None = None
    addressing: Literal["auto", "virtual", "path"] = "auto"
    policy: Policy = Policy()
    multipart: MultipartTerms = MultipartTerms()
    credentials: RightSettings = RightSettings()
    processing: Literal["default", "none"] = "default"
    on_reject: Literal["delete", "keep"] = "delete"
    late: Literal["accept", "remove"] = "accept"
    accept_unsigned_headers: bool = False
    dual_stack: bool = False
    encryption: EncryptionSettings | None = None
    storage_class: str | None = None
    tags: dict[str, str] = {}
    acl: Literal["bucket-owner-full-control"] | None = None
    expected_bucket_owner: str | None = None


class _Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """A sender of bucket events, and the destinations about which it may speak."""

    destinations: Annotated[tuple[str, ...], Meta(min_length=1)]


class S3EventSource(_Source, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="s3_event"):
    """A store that calls us, with a secret of its own."""

    tokens: Annotated[tuple[Secret, ...], Meta(min_length=1)]


class SnsSource(_Source, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="sns"):
    """Topics that call us over HTTPS; each message carries a signature of SNS.

    :param signature_versions: those that are good enough: SNS takes "1" (SHA-1) unless the topic says "2" (SHA-256).
    """

    topic_arns: Annotated[tuple[str, ...], Meta(min_length=1)]
    signature_versions: Annotated[frozenset[Literal["1", "2"]], Meta(min_length=1)] = frozenset({"1", "2"})


class EventBridgeSource(_Source, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="eventbridge"):
    """An API destination of EventBridge, with a secret of its own.

    :param key_header: the `ApiKeyName` of its connection.
    """

    tokens: Annotated[tuple[Secret, ...], Meta(min_length=1)]
    key_header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}$(?!\n)")] = "x-api-key"


class SqsSource(_Source, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="sqs"):
    """A queue that we ask. Who may write to it is its policy's business.

    :param receivers: how many ask side by side, in each process.
    :param visibility: how long a message is ours; when a process dies with it, it comes again after that.
    :param on_poison: what to do with a message that nobody can read; "auto" keeps it where the queue has a redrive
        policy, and deletes it elsewhere.
    """

    queue_url: str
    region: str | None = None
    endpoint: str | None = None
    credentials: CredentialSettings = CredentialSettings()
    receivers: Annotated[int, Meta(ge=1, le=64)] = 4
    visibility: timedelta = timedelta(seconds=60)
    on_poison: Literal["auto", "keep", "delete"] = "auto"


SourceSettings = S3EventSource | SnsSource | EventBridgeSource | SqsSource


KeyHash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]


class KeySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An API key at rest: `hash` is the hexadecimal SHA-256 of its text, `hashes` two while it is being rotated."""

    hash: KeyHash | None = None
    hashes: tuple[KeyHash, ...] = ()
    roles: frozenset[Role]
    destinations: tuple[str, ...] = (ANY_DESTINATION,)
    max_size_bytes: Annotated[int, Meta(ge=0)] | None = None
    sessions_per_second: Annotated[float, Meta(gt=0, le=MAX_SESSIONS_PER_SECOND)] | None = None
    burst: Annotated[int, Meta(ge=1)] | None = None
    max_pending_sessions: Annotated[int, Meta(ge=0)] | None = None
    max_pending_bytes: Annotated[int, Meta(ge=0)] | None = None


WebhookName = Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,64}$(?!\n)")]  # part of keys in the ledger


class WebhookSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is told what becomes of sessions. `keys` are ids of API keys, whose sessions it hears of."""

    url: str | Secret
    secrets: Annotated[tuple[Secret, ...], Meta(min_length=1)]
    events: Annotated[frozenset[WebhookType], Meta(min_length=1)] = frozenset(ALL_TYPES)
    destinations: tuple[str, ...] = (ANY_DESTINATION,)
    keys: tuple[str, ...] = (ANY,)
    allow_private: bool = False
    timeout: timedelta = timedelta(seconds=15)
    max_in_flight: Annotated[int, Meta(ge=1, le=1_000)] = 16

    def __repr__(self) -> str:
        """A URL may carry a secret."""
        return "WebhookSettings(url=***)"


class ServerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`health_port` is for processes without the API: where they say whether they live, if they shall say it."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    health_port: Annotated[int, Meta(ge=0, le=65_535)] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    max_listeners: Annotated[int, Meta(ge=0)] = 5_000  # to `GET …/events`, of one process


class CorsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose pages may read the answers: nobody's by default, everybody's only if somebody writes "*"."""

    allow_origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """An origin that no browser sends would never be let in: better refused than wondered at."""
        for origin in self.allow_origins:
            parts = _ORIGIN.fullmatch(origin)
            if origin != "*" and (parts is None or parts["port"] == _UNSENT_PORTS.get(parts["scheme"], "")):
                raise ValueError(
                    f'cors.allow_origins: {origin!r} is no origin as browsers send it, like "https://app.example" '
                    "(lower case, no path, no default port)"
                )


class JobSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    lease: timedelta = timedelta(seconds=60)
    read_ttl: timedelta = timedelta(minutes=5)


class FanOutSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many copies must be verified before there is a job; of fewer than that number, all."""

    required: Literal["all"] | Annotated[int, Meta(ge=1, le=MAX_COPIES)] = "all"


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    ledger: LedgerSettings = LedgerSettings()
    secrets: SecretSettings = SecretSettings()
    server: ServerSettings = ServerSettings()
    cors: CorsSettings = CorsSettings()
    jobs: JobSettings = JobSettings()
    fan_out: FanOutSettings = FanOutSettings()
    destinations: dict[str, DestinationSettings] = {}
    sources: dict[str, SourceSettings] = {}
    keys: dict[str, KeySettings] = {}
    webhooks: dict[WebhookName, WebhookSettings] = {}


def load(path: Path | None, environ: Mapping[str, str], *, default_path: Path = Path("broker.toml")) -> Settings:
    """File, then environment over it.

    :param path: named by the user, so it must exist; None means `default_path`, if that exists.
    :raises ConfigurationInvalid: one sentence, naming the place.
    """
    raw = _read(path or (default_path if default_path.exists() else None))
    override(raw, environ, Settings)
    _name_kinds(raw)
    _parse_durations(raw)
    try:
        settings = msgspec.convert(raw, Settings)
    except msgspec.ValidationError as exc:
        raise ConfigurationInvalid(f"configuration: {_with_names(str(exc), raw)}") from exc
    _check(settings)
    return settings


def parse_duration(text: str, place: str) -> timedelta:
    """:param place: what is named when it is none.
    :raises ConfigurationInvalid:
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ConfigurationInvalid(f'{place}: a duration is written "90s", "15m", "24h" or "30d"')
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > _LONGEST.total_seconds():
        raise ConfigurationInvalid(f"{place}: at most {_LONGEST.days}d")
    return timedelta(seconds=seconds)


def parse_moment(text: str, place: str) -> datetime:
    """ISO 8601 with its offset: whose clock a bare one means, nobody could say.

    :raises ConfigurationInvalid:
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigurationInvalid(f'{place}: a moment is written with its offset, "2026-11-20T12:00Z"')
    return moment.astimezone(UTC)


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text())
    except OSError as exc:
        raise ConfigurationInvalid(f"{path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationInvalid(f"{path}: {exc}") from exc


def _with_names(sentence: str, raw: Mapping[str, Any]) -> str:
    """msgspec says `$.destinations[...]`: which of them it is, is found by taking one at a time."""
    found = _TABLE_OF_NAMES.search(sentence)
    if found is None:
        return sentence
    table: str = found[1]
    for name, entry in raw[table].items():
        try:
            msgspec.convert({table: {name: entry}}, Settings)
        except msgspec.ValidationError as exc:
            return str(exc).replace("[...]", f".{name}", 1)
    return sentence


def _name_kinds(raw: dict[str, Any]) -> None:
    """A source that says no kind is what there was before there were kinds."""
    sources = raw.get("sources")
    for source in sources.values() if isinstance(sources, dict) else ():
        if isinstance(source, dict):
            source.setdefault("kind", "s3_event")


def _parse_durations(raw: dict[str, Any]) -> None:
    _parse_fields(raw.get("jobs"), JobSettings, "jobs")
    sources = raw.get("sources")
    for name, source in sources.items() if isinstance(sources, dict) else ():
        if isinstance(source, dict):
            _parse_fields(source, SqsSource, f"sources.{name}")
            _parse_credential(source.get("credentials"), f"sources.{name}.credentials")
    webhooks = raw.get("webhooks")
    for name, webhook in webhooks.items() if isinstance(webhooks, dict) else ():
        _parse_fields(webhook, WebhookSettings, f"webhooks.{name}")
    destinations = raw.get("destinations")
    for place, destination in destinations.items() if isinstance(destinations, dict) else ():
        if isinstance(destination, dict):
            _parse_fields(destination.get("policy"), Policy, f"destinations.{place}.policy")
            rights = destination.get("credentials")
            for right, credential in rights.items() if isinstance(rights, dict) else ():
                _parse_credential(credential, f"destinations.{place}.credentials.{right}")


def _parse_credential(table: Any, place: str) -> None:
    """A credential and the source that it is made from, and its source."""
    while isinstance(table, dict):
        _parse_fields(table, CredentialSettings, place)
        table, place = table.get("source"), f"{place}.source"


def _parse_fields(table: Any, kind: type[Struct], place: str) -> None:
    """Turns "15m" into what msgspec reads as a duration, in the fields that are one."""
    if not isinstance(table, dict):
        return
    names = {field.name for field in msgspec.structs.fields(kind) if field.type is timedelta}
    for name in names & table.keys():
        table[name] = parse_duration(str(table[name]), f"{place}.{name}")


def _check(settings: Settings) -> None:
    for name, source in settings.sources.items():
        unknown = set(source.destinations) - settings.destinations.keys()
        if unknown:
            raise ConfigurationInvalid(f"sources.{name}.destinations: there is no destination {min(unknown)!r}")
    _check_queues({name: each for name, each in settings.sources.items() if isinstance(each, SqsSource)})
    for key_id, key in settings.keys.items():
        check_key_id(key_id)
        if not (key.hash or key.hashes):
            raise ConfigurationInvalid(f"keys.{key_id}: hash is missing; `upload-broker keys add` prints one")
    _check_bounds("jobs.lease", settings.jobs.lease, at_least=timedelta(milliseconds=100))
    _check_bounds("jobs.read_ttl", settings.jobs.read_ttl, at_most=timedelta(minutes=5))  # a leaked grant ends soon
    for name, destination in settings.destinations.items():
        if not destination.bucket and not _has_json_secret(destination.credentials):
            raise ConfigurationInvalid(
                f"destinations.{name}: bucket is missing, and no JSON secret among its credentials"
            )
        policy, place = destination.policy, f"destinations.{name}.policy"
        _check_bounds(f"{place}.url_ttl", policy.url_ttl, at_most=timedelta(days=7))  # SigV4: at most 604,800 seconds
        _check_bounds(f"{place}.deadline", policy.deadline)
        _check_bounds(
            f"{place}.longest_look_interval", policy.longest_look_interval, at_least=timedelta(milliseconds=100)
        )
        if policy.deadline > policy.retention:
            raise ConfigurationInvalid(f"{place}.deadline: at most retention")
        if settings.webhooks and policy.retention <= GIVEN_UP_AFTER:
            raise ConfigurationInvalid(
                f"{place}.retention: more than {_spoken(GIVEN_UP_AFTER)}, for as long are webhooks told of a session"
            )
    _check_webhooks(settings)


def _has_json_secret(rights: RightSettings) -> bool:
    named = (rights.default, rights.write, rights.read, rights.remove)
    return any(each is not None and (each.env_json or each.file_json) for each in named)


def _check_queues(sources: Mapping[str, SqsSource]) -> None:
    urls: dict[str, str] = {}
    for name, source in sources.items():
        # SQS, "Visibility timeout": 12 hours at most. Below seconds it would come again while it is being recorded.
        _check_bounds(
            f"sources.{name}.visibility", source.visibility, at_least=timedelta(seconds=4), at_most=timedelta(hours=12)
        )
        other = urls.setdefault(source.queue_url, name)
        if other != name:
            raise ConfigurationInvalid(
                f"sources.{name}.queue_url: {other!r} asks that queue, too, and each would take the other's messages"
            )


def _check_webhooks(settings: Settings) -> None:
    for name, webhook in settings.webhooks.items():
        unknown = set(webhook.destinations) - settings.destinations.keys() - {ANY_DESTINATION}
        if unknown:
            raise ConfigurationInvalid(f"webhooks.{name}.destinations: there is no destination {min(unknown)!r}")
        _check_bounds(f"webhooks.{name}.timeout", webhook.timeout, at_most=timedelta(minutes=1))


def _check_bounds(
    place: str, given: timedelta, *, at_least: timedelta = timedelta(seconds=1), at_most: timedelta = _LONGEST
) -> None:
    if not at_least <= given <= at_most:
        raise ConfigurationInvalid(f"{place}: at least {_spoken(at_least)} and at most {_spoken(at_most)}")


def _spoken(duration: timedelta) -> str:
    """As it would be written in the file."""
    unit = next(unit for unit in ("d", "h", "m", "s", "ms") if duration >= timedelta(seconds=_SECONDS[unit]))
    return f"{duration / timedelta(seconds=_SECONDS[unit]):g}{unit}"
