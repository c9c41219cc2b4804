"""As whom the broker comes to Google: the source credential, and the service accounts that it impersonates.

The source may do nothing but impersonate (roles/iam.serviceAccountTokenCreator on each account): what is stolen of it
is worth what those accounts may.
"""

from typing import Annotated

from msgspec import Meta, Struct

# Google Cloud IAM, "Service accounts": NAME@PROJECT.iam.gserviceaccount.com, or one of Google's own domains.
ServiceAccount = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}@[a-z0-9][a-z0-9.-]*\.[a-z]+$(?!\n)")]
ServiceUrl = Annotated[str, Meta(pattern=r"^https?://[^/?#@\s]+/?$(?!\n)")]  # without path: Google's have none


def project_of(account: ServiceAccount) -> str:
    """Whose quota its signatures count against; of an account that does not tell, itself.

    Service accounts are of "NAME@PROJECT.iam.gserviceaccount.com"; App Engine's is "PROJECT@appspot…".
    """
    name, _, host = account.partition("@")
    if host == "appspot.gserviceaccount.com":
        return name
    project, dot, rest = host.partition(".")
    return project if dot and rest == "iam.gserviceaccount.com" else account


class GoogleSourceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With what the broker itself proves who it is. One of

    - `key_file`: the key of a service account;
    - `config_file`: external_account, workload identity federation;
    - nothing: application default credentials, on Google Cloud the metadata server.
    """

    key_file: str | None = None
    config_file: str | None = None

    def __post_init__(self) -> None:
        """What contradicts itself is refused with the place where it stands."""
        if self.key_file is not None and self.config_file is not None:
            raise ValueError("key_file and config_file exclude each other: a source is of one kind")
