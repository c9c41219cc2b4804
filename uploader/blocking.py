"""Uploads for programs without an event loop."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from uploader.orders import Strategy, UploadResult, Wait
from uploader.removal import Removed
from uploader.restore.result import TreeDownload
from uploader.sdk import Uploader
from uploader.transfer.opening import Pathish
from uploader.transfer.order import TreeOrder, TreeResult


def upload_file(
    broker_url: str,
    key: str,
    file: str | os.PathLike[str],
    *,
    content_type: str | None = None,
    destination: str | None = None,
    destinations: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
    wait: Wait = "verified",
    timeout: timedelta = timedelta(minutes=10),
    strategy: Strategy = "auto",
) -> UploadResult:
    """`Uploader.put` for programs without an event loop.

    :raises UploaderError: see `uploader.errors`.
    """

    async def run() -> UploadResult:
        async with Uploader(broker_url, key) as uploader:
            return await uploader.put(
                file,
                content_type=content_type,
                destination=destination,
                destinations=destinations,
                metadata=metadata,
                wait=wait,
                timeout=timeout,
                strategy=strategy,
            )

    return asyncio.run(run())


def upload_tree(
    broker_url: str,
    key: str,
    paths: Sequence[Pathish],
    order: TreeOrder | None = None,
    *,
    manifest: Path | None = None,
) -> TreeResult:
    """`Uploader.put_tree` for programs without an event loop."""

    async def run() -> TreeResult:
        async with Uploader(broker_url, key) as uploader:
            return await uploader.put_tree(paths, order, manifest=manifest)

    return asyncio.run(run())


def download_tree(
    broker_url: str,
    key: str,
    directory: str | os.PathLike[str],
    *,
    batch: str | None = None,
    owner: str | None = None,
    manifest: str | os.PathLike[str] | None = None,
    replace: bool = False,
    attributes: bool = True,
) -> TreeDownload:
    """`Uploader.get_tree` for programs without an event loop."""

    async def run() -> TreeDownload:
        async with Uploader(broker_url, key) as uploader:
            return await uploader.get_tree(
                directory, batch=batch, owner=owner, manifest=manifest, replace=replace, attributes=attributes
            )

    return asyncio.run(run())


def remove_session(broker_url: str, key: str, session_id: str) -> Removed:
    """`Uploader.remove` for programs without an event loop.

    :raises UploaderError: see `uploader.errors`.
    """

    async def run() -> Removed:
        async with Uploader(broker_url, key) as uploader:
            return await uploader.remove(session_id)

    return asyncio.run(run())
