"""The SDK for async programs; `uploader.blocking` is for the rest."""

import asyncio
import os
import ssl
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self

import aiohttp
from msgspec import UNSET
from yarl import URL

from broker.contract import CreateUploadSession, State, UploadSession
from uploader.attributes import declared, presentable
from uploader.bookmark import Bookmark, NoBookmark
from uploader.checksums import FOR_ANY_STORE, Choice, chosen
from uploader.client import BrokerClient
from uploader.download import DownloadResult
from uploader.engine import Upload
from uploader.events import Observer, Silent, SilentTree, TreeObserver
from uploader.getting import Getting
from uploader.lanes import Lanes
from uploader.listing import Listing
from uploader.means import Means
from uploader.media import guess_type
from uploader.orders import Order, Strategy, UploadResult, Wait
from uploader.removal import Removed, remove
from uploader.restore.result import TreeDownload
from uploader.resume import Notes
from uploader.retry import RetryPolicy
from uploader.sender import Sender
from uploader.source import MemorySource, Origin, Source, open_source
from uploader.transfer.opening import Pathish, opened
from uploader.transfer.order import TreeOrder, TreeResult
from uploader.transfer.parallel_wire import Begin
from uploader.transfer.run import Transfer
from uploader.transfer.small import Lane
from uploader.tree.manifest import Manifest
from uploader.voice import Voice
from uploader.window import Budget

MAX_THREADS = 64  # ours: one for each upload or part at a time; more wait for a thread
MAX_CONNECTIONS = 100  # ours: to one host, so that one that hangs holds none of another
MAX_JOBS = 32  # ours: beyond it one file gains nothing on any store that was measured
DEFAULT_JOBS = 6
GET_JOBS = 16  # ours: files of a tree that are fetched at a time


class Uploader:
    """Uploads through one broker.

        async with Uploader("https://uploads.example.com", key) as uploader:
            result = await uploader.put("report.csv")

    :param key: a key with role `mint`; it is sent to the broker alone.
    :param stall: longest time in which the store takes no byte.
    :param answer_timeout: longest time from our last byte to the store's answer.
    :param ssl_context: for a private certificate authority.
    :param notes: where interrupted uploads in parts or pieces are remembered, so that `put` of the same file goes on
        with them, in another process too. Without it an interrupted upload is aborted.
    """

    def __init__(
        self,
        broker_url: str,
        key: str,
        *,
        retry: RetryPolicy | None = None,
        stall: timedelta = timedelta(seconds=60),
        answer_timeout: timedelta = timedelta(minutes=5),
        ssl_context: ssl.SSLContext | None = None,
        notes: Notes | None = None,
    ) -> None:
        self._url = parse_broker_url(broker_url)
        self._key = key
        self._retry = retry or RetryPolicy()
        self._stall = stall
        self._answer_timeout = answer_timeout
        self._tls = ssl_context
        self._notes = notes
        self._senders: dict[str, Sender] = {}
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"Uploader({str(self._url)!r}, key=***)"

    async def __aenter__(self) -> Self:
        self._executor = self._stack.enter_context(ThreadPoolExecutor(MAX_THREADS, "uploader"))
        self._http = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls or True, limit=0, limit_per_host=MAX_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": _user_agent()},
            )
        )
        self._broker = BrokerClient(
            session=self._http, url=self._url, headers={"Authorization": f"Bearer {self._key}"}, retry=self._retry
        )
        self._sender = Sender(
            session=self._http, executor=self._executor, stall=self._stall, answer_timeout=self._answer_timeout
        )
        self._means = Means(
            broker=self._broker,
            sender=self._sender,
            sender_to=self._sender_to,
            executor=self._executor,
            retry=self._retry,
            budget=Budget(),
        )
        if self._notes is not None:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._notes.prune)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def put(
        self,
        file: str | os.PathLike[str] | bytes,
        *,
        filename: str | None = None,
        content_type: str | None = None,
        destination: str | None = None,
        destinations: Sequence[str] = (),
        checksum: Choice = "auto",
        metadata: Mapping[str, str] | None = None,
        object_metadata: Mapping[str, str] | None = None,
        owner: str | None = None,
        batch: str | None = None,
        wait: Wait = "verified",
        timeout: timedelta = timedelta(minutes=10),
        keep_session: bool = False,
        strategy: Strategy = "auto",
        jobs: int = DEFAULT_JOBS,
        idempotency_key: str | None = None,
        observer: Observer | None = None,
    ) -> UploadResult:
        """Upload one file, or bytes, and follow it to the wished state.

        :param filename: what the object is called; the file's own name by default, required for bytes.
        :param destination: `default` if neither it nor `destinations` is given.
        :param destinations: a copy in each of them, sent at the same time from one reading. The result's
            `copies` say what became of each; `missing` are those that failed although the session has enough.
        :param checksum: declared before sending, for which a file is read once more. `auto`: sha256 up to 1 MiB, where
            that reading is the one that is sent; nothing above, where the MD5 of what leaves is compared with the
            store's; for several destinations sha256 and md5, of which every store has to prove the same one. `none`:
            neither declared nor compared.
        :param object_metadata: a file's modification time and permissions are added, unless you say others: `mtime` and
            `mode`.
        :param wait: `none` returns when the store has taken the bytes, `verified` when the broker has looked at
            them, `processed` when a consumer has finished.
        :param timeout: for that state, counted from the last byte.
        :param keep_session: leave the session pending on failure or cancellation, instead of aborting it.
        :param strategy: `auto` leaves it to the broker whether the file is sent in parts, or piece by piece.
        :param jobs: parts under way at a time, 1 to 32; for each copy.
        :param idempotency_key: with the same one the same declaration finds the same session, and only what is missing
            is sent; a session that is interrupted is kept for that. A file that was modified is another declaration.
        :raises UploaderError: see `uploader.errors`; its `session_id` is set once there is one.
        """
        if not 1 <= jobs <= MAX_JOBS:
            raise ValueError(f"jobs is 1 to {MAX_JOBS}")
        if destinations and destination is not None:
            raise ValueError("destination or destinations, not both")
        if isinstance(destinations, str):
            raise ValueError("destinations are several names, not one")
        if len(destinations) == 1:
            destination, destinations = destinations[0], ()
        source = await self._open(file, filename)
        try:
            name = filename or presentable(os.fsencode(source.name))
            wanted = CreateUploadSession(
                filename=name,
                size_bytes=source.size_bytes,
                content_type=content_type or guess_type(name),
                destination=UNSET if destinations else destination or "default",
                destinations=list(destinations) or UNSET,
                metadata=dict(metadata or {}),
                object_metadata=_declared(source.origin) | dict(object_metadata or {}),
                owner=owner,
                batch=batch,
                strategy=strategy,
            )
            order = Order(
                source=source,
                wanted=wanted,
                algorithms=chosen(checksum, source.size_bytes, copies=len(destinations)),
                algorithms_if_required=FOR_ANY_STORE if checksum == "auto" else (),
                wait=wait,
                timeout=timeout,
                keeps_session=keep_session,
                jobs=jobs,
                idempotency_key=idempotency_key or uuid.uuid4().hex,
                is_repeatable=idempotency_key is not None,
                is_proof_sought=checksum != "none",
            )
            return await self._upload(order, observer or Silent()).run()
        finally:
            source.close()

    async def put_tree(
        self,
        paths: Sequence[Pathish],
        order: TreeOrder | None = None,
        *,
        manifest: Path | None = None,
        observer: TreeObserver | None = None,
    ) -> TreeResult:
        """Upload files and directories with all that is below, and follow each file to the wished state.

        What there is to send and what became of it is kept in a manifest, file by file: the same call goes on where an
        earlier one has ended, however it did, and sends nothing again that was verified.

        :param paths: none goes on with what is in `manifest`.
        :param manifest: by default in the user's state directory, by broker, destinations, batch and paths.
        :returns: also when the run as a whole came to a bad end: see its `error`, `failures` and `exit_code`.
        :raises ManifestUnusable: it is of another upload, somebody else is at work on it, or it cannot be written.
        :raises ValueError: the paths cannot be meant so.
        """
        with opened(str(self._url), paths, order or TreeOrder(), manifest) as (found, place, meant):
            async with self._lanes() as lane:
                transfer = Transfer(
                    order=meant,
                    manifest=found,
                    path=place,
                    means=self._means,
                    lane=lane,
                    observer=observer or SilentTree(),
                    begin=self._begin(meant, found, observer) if meant.mode == "parallel" else None,
                )
                return await transfer.run()

    @asynccontextmanager
    async def equipment(self) -> AsyncIterator[tuple[Means, Lane]]:
        """For the rooms of `uploader.transfer`."""
        async with self._lanes() as lane:
            yield self._means, lane

    def _begin(self, order: TreeOrder, manifest: Manifest, observer: TreeObserver | None) -> Begin:
        """:raises ValueError: what was given cannot be handed to another process."""
        if self._tls is not None:
            raise ValueError("an ssl_context cannot be handed to sender processes: use SSL_CERT_FILE, or one process")
        return Begin(
            broker=str(self._url),
            key=self._key,
            order=order.divided,
            manifest=manifest.about.id,
            wants_files=observer is not None and observer.wants_files,
            retry=self._retry,
            stall_seconds=self._stall.total_seconds(),
            answer_seconds=self._answer_timeout.total_seconds(),
        )

    async def status(self, session_id: str) -> UploadSession:
        """The session as the broker sees it now."""
        return await self._broker.get(session_id, _unheard)

    async def get(
        self,
        session_id: str,
        target: str | os.PathLike[str] | None = None,
        *,
        destination: str | None = None,
        replace: bool = False,
        attributes: bool = True,
        observer: Observer | None = None,
    ) -> DownloadResult:
        """Download what was verified, resuming a part that an earlier call has left.

        :param destination: of a fan-out the copy to read; by default whichever is verified and can be read.
        :param target: a file, or a directory that is there. The declared file name in it, or in the working directory,
            by default.
        :param replace: an existing target otherwise stands, and is an error.
        :param attributes: give the file the modification time and permissions that travelled with it.
        :raises UploaderError: see `uploader.errors`.
        """
        return await self._getting(observer).one(
            session_id,
            None if target is None else Path(target),
            destination=destination,
            replaces=replace,
            restores=attributes,
        )

    async def get_tree(
        self,
        directory: str | os.PathLike[str],
        *,
        batch: str | None = None,
        owner: str | None = None,
        manifest: str | os.PathLike[str] | None = None,
        destination: str | None = None,
        replace: bool = False,
        attributes: bool = True,
        jobs: int = GET_JOBS,
        observer: Observer | None = None,
    ) -> TreeDownload:
        """Restore the tree of a batch, or of a manifest, below a directory, which is made if it is not there.

        Every file gets the path that was declared with it, below the directory and through no symbolic link. What is
        there with the size and modification time of the object, or with its digest, is passed over, so the same call
        goes on where one was interrupted. Files that cannot be restored do not end it: see the result's `failures`.

        :param owner: only those minted with this label.
        :param replace: fetch again what is there; else another file of that name stands, and is a failure.
        :param jobs: files at a time, 1 to 64.
        :raises FileUnusable: the directory, or the manifest, is of no use.
        """
        from uploader.restore.run import Restore  # noqa: PLC0415 - put does without it
        from uploader.restore.wanted import Files, OfBatch, OfManifest  # noqa: PLC0415

        if (batch is None) == (manifest is None):
            raise ValueError("batch or manifest, one of the two")
        if not 1 <= jobs <= MAX_THREADS:
            raise ValueError(f"jobs is 1 to {MAX_THREADS}")
        getting = self._getting(observer)
        files: Files = OfBatch(
            listing=Listing(batch=batch, owner=owner), broker=self._broker, notify=_unheard, destination=destination
        )
        if manifest is not None:
            files = OfManifest(manifest=Path(manifest), broker_url=str(self._url), destination=destination)
        restore = Restore(
            files=files,
            directory=Path(directory),
            getting=getting,
            jobs=jobs,
            replaces=replace,
            restores=attributes,
        )
        return await restore.run()

    def sessions(
        self,
        *,
        batch: str | None = None,
        owner: str | None = None,
        state: State | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[UploadSession]:
        """This key's own sessions, newest first, asked for a page at a time.

        :raises UploaderError: see `uploader.errors`.
        """
        return Listing(batch=batch, owner=owner, state=state).sessions(self._broker, _unheard, limit)

    async def remove(self, session: str | UploadSession) -> Removed:
        """Abort a session that is pending; erase the object of one that is settled, for which the key needs the role
        `erase`. Safe to repeat.

        :raises BrokerRefused: there is no such session, or this key may not.
        """
        if isinstance(session, str):
            return await remove(self._broker, session, _unheard)
        return await remove(self._broker, session.id, _unheard, session.state)

    def _getting(self, observer: Observer | None) -> Getting:
        return Getting(
            broker=self._broker,
            http=self._http,
            executor=self._executor,
            retry=self._retry,
            stall=self._stall,
            observer=observer or Silent(),
        )

    async def _open(self, file: str | os.PathLike[str] | bytes, filename: str | None) -> Source:
        if isinstance(file, bytes):
            if not filename:
                raise ValueError("bytes need a filename")
            return MemorySource(name=filename, data=file)
        return await asyncio.get_running_loop().run_in_executor(self._executor, open_source, Path(file))

    def _upload(self, order: Order, observer: Observer) -> Upload:
        voice = Voice(file=order.source.name, observer=observer)
        return Upload(order=order, means=self._means, voice=voice, bookmark=self._bookmark(order, voice))

    def _bookmark(self, order: Order, voice: Voice) -> Bookmark | NoBookmark:
        origin = order.source.origin
        if self._notes is None or origin is None:
            return NoBookmark()
        return Bookmark(
            page=self._notes.page(str(self._url), origin.path, order.wanted, order.algorithms),
            origin=origin,
            broker=self._broker,
            retry=self._retry,
            voice=voice,
        )

    def _lanes(self) -> Lanes:
        return Lanes(tls=self._tls, user_agent=_user_agent(), stall=self._stall, answer_timeout=self._answer_timeout)

    def _sender_to(self, destination: str) -> Sender:
        if destination not in self._senders:
            pool = self._stack.enter_context(ThreadPoolExecutor(MAX_THREADS, f"uploader-{destination}"))
            self._senders[destination] = replace(self._sender, executor=pool)
        return self._senders[destination]


def parse_broker_url(text: str) -> URL:
    """:raises ValueError: not an http(s) URL, or one with credentials in it, which would end up in messages."""
    url = URL(text)
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("the broker's URL is http:// or https:// and a host")
    if url.user or url.password or url.query_string or url.fragment:
        raise ValueError("the broker's URL holds no credentials, query or fragment")
    return url


def _declared(origin: Origin | None) -> dict[str, str]:
    return declared(origin.seen.st_mtime_ns, origin.seen.st_mode) if origin else {}


def _user_agent() -> str:
    try:
        return f"uploader/{version('upload-broker')}"
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "uploader"


def _unheard(what: str, why: str, pause: timedelta, attempt: int) -> None:
    """Nobody looks on."""
