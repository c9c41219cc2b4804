"""Downloads of one `Uploader`: what they all need, and the one of a single session to where somebody wants it."""

import os
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp

from broker.contract import UploadSession
from uploader import events
from uploader.client import BrokerClient
from uploader.download import Download, DownloadResult
from uploader.errors import FileUnusable
from uploader.landing import Landing, safe_name
from uploader.retry import RetryPolicy
from uploader.threads import opened
from uploader.tree.words import shown
from uploader.verified import Verified
from uploader.voice import Voice


@dataclass(frozen=True, slots=True, kw_only=True)
class Getting:
    broker: BrokerClient
    http: aiohttp.ClientSession
    executor: Executor
    retry: RetryPolicy
    stall: timedelta
    observer: events.Observer

    async def one(
        self, session_id: str, target: Path | None, *, destination: str | None, replaces: bool, restores: bool
    ) -> DownloadResult:
        """
        :param target: a file, or a directory that is there; None: the working directory.
        :raises UploaderError: see `Download.run`.
        """
        voice = Voice(file=session_id, observer=self.observer, session_id=session_id)
        session = await self.broker.get(session_id, voice.retrying)
        landing = await opened(self.executor, landing_at, target, session)
        try:
            if landing.seen() is not None and not replaces:
                raise landing.taken()
            verified = Verified.of(session, destination)
            meter = events.Meter(shown(landing.name), verified.size_bytes, "reading")
            self.observer.on_meter(meter)
            return await self.download(verified, landing, meter, replaces=replaces, restores=restores).run()
        except FileUnusable as exc:
            exc.session_id = exc.session_id or session_id
            raise
        finally:
            landing.close()

    def download(
        self, verified: Verified, landing: Landing, meter: events.Meter, *, replaces: bool, restores: bool
    ) -> Download:
        return Download(
            verified=verified,
            landing=landing,
            meter=meter,
            broker=self.broker,
            http=self.http,
            executor=self.executor,
            retry=self.retry,
            voice=Voice(file=meter.file, observer=self.observer, session_id=verified.session_id),
            stall=self.stall,
            replaces=replaces,
            restores=restores,
        )


def landing_at(target: Path | None, session: UploadSession) -> Landing:
    """
    :raises FileUnusable: there is no such directory.
    """
    if target is None or target.is_dir():
        target = (target or Path()) / safe_name(session.filename)
    try:
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise FileUnusable(f"{shown(os.fsencode(target.parent))}: {exc.strerror}") from exc
    return Landing(directory, os.fsencode(target.name), os.fsencode(target))
