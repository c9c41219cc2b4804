"""With what the broker's own calls to Google prove who is calling: an OAuth access token of the right's account."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A bearer secret, until `expires_at`."""

    text: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"AccessToken(***, expires_at={self.expires_at.isoformat()})"


class AccessTokens(Protocol):
    """The tokens of one service account, renewed before they end."""

    async def current(self, now: datetime) -> AccessToken:
        """One that is good now.

        :raises CredentialsUnavailable:
        """

    def distrust(self, token: AccessToken) -> None:
        """Google did not take `token`: the next `current` is another, unless another is held already."""
