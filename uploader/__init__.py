"""Uploads through an upload broker: the Python SDK. The command line is `uploader` or `python -m uploader`.

Its names are imported when somebody asks for one of them: a command has a moment to live, and needs few.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uploader.blocking import download_tree, remove_session, upload_file, upload_tree
    from uploader.download import DownloadResult
    from uploader.errors import (
        BrokerRefused,
        ContentMismatch,
        CopiesMissing,
        FileChanged,
        FileUnusable,
        SessionLost,
        StoreRefused,
        Unreachable,
        UploaderError,
        UploadFailed,
        WaitTimedOut,
    )
    from uploader.orders import CopyResult, UploadResult
    from uploader.removal import Removed
    from uploader.restore.result import TreeDownload
    from uploader.resume import Notes
    from uploader.retry import RetryPolicy
    from uploader.sdk import Uploader
    from uploader.transfer.order import TreeOrder, TreeResult

__all__ = [
    "BrokerRefused",
    "ContentMismatch",
    "CopiesMissing",
    "CopyResult",
    "DownloadResult",
    "FileChanged",
    "FileUnusable",
    "Notes",
    "Removed",
    "RetryPolicy",
    "SessionLost",
    "StoreRefused",
    "TreeDownload",
    "TreeOrder",
    "TreeResult",
    "Unreachable",
    "UploadFailed",
    "UploadResult",
    "Uploader",
    "UploaderError",
    "WaitTimedOut",
    "download_tree",
    "remove_session",
    "upload_file",
    "upload_tree",
]

_PLACES = {
    "uploader.blocking": (
        "download_tree",
        "remove_session",
        "upload_file",
        "upload_tree",
    ),
    "uploader.download": ("DownloadResult",),
    "uploader.errors": (
        "BrokerRefused",
        "ContentMismatch",
        "CopiesMissing",
        "FileChanged",
        "FileUnusable",
        "SessionLost",
        "StoreRefused",
        "Unreachable",
        "UploaderError",
        "UploadFailed",
        "WaitTimedOut",
    ),
    "uploader.orders": (
        "CopyResult",
        "UploadResult",
    ),
    "uploader.removal": ("Removed",),
    "uploader.restore.result": ("TreeDownload",),
    "uploader.resume": ("Notes",),
    "uploader.retry": ("RetryPolicy",),
    "uploader.sdk": ("Uploader",),
    "uploader.transfer.order": (
        "TreeOrder",
        "TreeResult",
    ),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}


def _found(name: str) -> object:
    """PEP 562."""
    if name not in _PLACE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACE_OF[name]), name)


if not TYPE_CHECKING:  # who checks types knows all names, and that there are no others
    __getattr__ = _found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
