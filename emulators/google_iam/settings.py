"""What one emulator process is told at start-up, parsed once; inside, the types are trusted."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

PROJECT: Final = "emulated"
PROJECT_NUMBER: Final = "123456789012"
POOL: Final = f"//iam.googleapis.com/projects/{PROJECT_NUMBER}/locations/global/workloadIdentityPools/emulated"
PROVIDER: Final = f"{POOL}/providers/emulated"
WORKLOAD: Final = "workload"  # the subject of the external workload, and its short name in a grant
WORKLOAD_PRINCIPAL: Final = f"principal:{POOL}/subject/{WORKLOAD}"

_EMAIL: Final = re.compile(r"[a-z0-9.-]{1,63}@[a-z0-9.-]{1,253}")


def email(text: str) -> str:
    """:raises ValueError: when it is not the address of a service account."""
    if not _EMAIL.fullmatch(text):
        raise ValueError(f"{text!r} is not like name@project.iam.gserviceaccount.com")
    return text


@dataclass(frozen=True, slots=True)
class Grant:
    """`source` may do something to the service account `target`."""

    source: str
    target: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `SOURCE=TARGET`; the source may be `workload`.

        :raises ValueError: as it says.
        """
        source, _, target = text.partition("=")
        return cls(WORKLOAD_PRINCIPAL if source == WORKLOAD else email(source), email(target))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that does not change while the process lives."""

    data: Path
    accounts: tuple[str, ...]
    """have a key file"""
    creators: frozenset[Grant] = frozenset()
    """roles/iam.serviceAccountTokenCreator on a service account"""
    delegators: frozenset[Grant] = frozenset()
    """iam.serviceAccounts.implicitDelegation alone: a link of a chain, no token and no signature"""
    metadata_account: str
    """the service account of the machine that the metadata server speaks for"""
    latency_seconds: float = 0.0
    token_seconds: int = 3600
    """no access token lives longer"""
    certificates_max_age_seconds: int = 3600

    @property
    def known(self) -> frozenset[str]:
        """All service accounts that exist."""
        granted = {email for grant in self.creators | self.delegators for email in (grant.source, grant.target)}
        return frozenset({*self.accounts, self.metadata_account, *granted} - {WORKLOAD_PRINCIPAL})
