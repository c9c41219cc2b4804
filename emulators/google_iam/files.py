"""The files that real clients are configured with: key files, and workload identity files (AIP-4117).

Written anew at every start, because they name the endpoint; the keys inside stay the same.
"""

import os
from pathlib import Path
from typing import Any

import msgspec

from emulators.google_iam.context import Iam
from emulators.google_iam.id_tokens import unique_id
from emulators.google_iam.keys import SigningKey
from emulators.google_iam.settings import PROJECT, PROVIDER, WORKLOAD
from emulators.google_iam.sts import subject_token


async def key_files(iam: Iam) -> dict[str, str]:
    """A key file for each account that shall have one, by address."""
    return {
        email: _write(_folder(iam) / f"{email}.json", _key_file(iam, email, await iam.keys.newest(email)))
        for email in iam.settings.accounts
    }


async def workload_identity_files(iam: Iam) -> tuple[str, str]:
    """Where the subject token is in a file, and where it comes from an address and is always fresh."""
    token = _folder(iam) / "subject-token"
    _replace(token, (await subject_token(iam, WORKLOAD)).encode())
    in_file = {"file": str(token)}
    at_url = {"url": f"{iam.endpoint}/_emulator/subject-token"}
    return (
        _write(_folder(iam) / "workload-identity.json", _external_account(iam, in_file)),
        _write(_folder(iam) / "workload-identity-url.json", _external_account(iam, at_url)),
    )


def _key_file(iam: Iam, email: str, key: SigningKey) -> dict[str, str]:
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": key.kid,
        "private_key": key.private_pem,
        "client_email": email,
        "client_id": unique_id(email),
        "auth_uri": f"{iam.endpoint}/o/oauth2/auth",
        "token_uri": f"{iam.endpoint}/token",
        "auth_provider_x509_cert_url": f"{iam.endpoint}/oauth2/v1/certs",
        "client_x509_cert_url": f"{iam.endpoint}/robot/v1/metadata/x509/{email}",
        "universe_domain": "googleapis.com",
    }


def _external_account(iam: Iam, source: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "external_account",
        "audience": PROVIDER,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{iam.endpoint}/v1/token",
        "credential_source": source,
        "universe_domain": "googleapis.com",
    }


def _folder(iam: Iam) -> Path:
    folder = iam.settings.data / "files"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder.absolute()


def _write(path: Path, content: object) -> str:
    _replace(path, msgspec.json.format(msgspec.json.encode(content), indent=2))
    return str(path)


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    partial.rename(path)
