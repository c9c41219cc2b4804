"""Uploads through an upload broker: the Python SDK. The command line is `uploader` or `python -m uploader`."""

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
