"""Point unmodified google-auth at an emulator: constants and environment, never its code.

`monkeypatch` undoes it. The look-up of a regional access boundary has no switch of its own: it would go to Google in
the background, so it is said not to be required.
"""

import pytest
from google.auth import credentials, iam
from google.auth.compute_engine import _metadata
from google.oauth2 import id_token

from emulators.google_iam.process import GoogleIamProcess


def point_google_auth_at(process: GoogleIamProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Service accounts need none of this: their key file names the endpoint."""
    monkeypatch.setattr(
        credentials.CredentialsWithRegionalAccessBoundary,
        "_is_regional_access_boundary_lookup_required",
        lambda _: False,
    )
    for name in ("_IAM_ENDPOINT", "_IAM_SIGN_ENDPOINT", "_IAM_SIGNJWT_ENDPOINT", "_IAM_IDTOKEN_ENDPOINT"):
        real = getattr(iam, name)
        local = real.replace("https://iamcredentials.googleapis.com", process.endpoint)
        assert local.startswith(process.endpoint), real
        monkeypatch.setattr(iam, name, local)
    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", process.host)
    monkeypatch.setenv("GCE_METADATA_HOST", process.host)
    monkeypatch.setenv("GCE_METADATA_IP", process.host)
    monkeypatch.setattr(id_token, "_GOOGLE_OAUTH2_CERTS_URL", f"{process.endpoint}/oauth2/v1/certs")
