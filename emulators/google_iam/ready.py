"""The line that `--json` prints, for whoever starts the process."""

import msgspec


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    endpoint: str
    key_files: dict[str, str]
    """by address"""
    workload_identity_file: str
    """its subject token is in a file, and good for a day"""
    workload_identity_url_file: str
    """its subject token comes from an address, always fresh"""
