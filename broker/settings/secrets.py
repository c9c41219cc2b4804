"""Where secrets are to be found: never in the file itself."""

import os
from pathlib import Path

from msgspec import Struct

from broker.domain.errors import ConfigurationInvalid

_MIN_KEY_BYTES = 32


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


class SecretSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """First writes, all read. `capsule_keys` also key the session and lease tokens, each derived for its purpose."""

    capsule_keys: tuple[Secret, ...] = ()
    encryption_keys: tuple[Secret, ...] = ()
