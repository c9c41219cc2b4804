"""The words at the end: the outcome of an upload, the state of a session."""

import msgspec

from broker.contract import UploadSession
from uploader.download import DownloadResult
from uploader.events import Downloaded, Finished
from uploader.orders import UploadResult
from uploader.place import objects_of
from uploader.progress import rate_text, size_text


def outcome_line(result: UploadResult) -> str:
    """Session, state, key and rate of one upload."""
    seconds = result.sending.total_seconds()
    rate = rate_text(result.sent_bytes, seconds)
    return f"{result.session_id} {result.state.value} {result.key} {size_text(result.size_bytes)} {rate}"


def finished_event(name: str, result: UploadResult) -> Finished:
    return Finished(
        file=name,
        session_id=result.session_id,
        state=result.state.value,
        destination=result.destination,
        key=result.key,
        size_bytes=result.size_bytes,
        seconds=round(result.elapsed.total_seconds(), 3),
        sent_seconds=round(result.sending.total_seconds(), 3),
        attempts=result.attempts,
        result=result.session.result or None,
    )


def download_line(result: DownloadResult) -> str:
    proof = f"{result.proved} proved" if result.proved else "no digest was declared that proves it"
    return f"{result.session_id} saved {result.path} {size_text(result.size_bytes)}, {proof}"


def downloaded_event(result: DownloadResult) -> Downloaded:
    return Downloaded(
        file=result.path.name,
        session_id=result.session_id,
        path=str(result.path),
        size_bytes=result.size_bytes,
        proved=result.proved,
        attempts=result.attempts,
    )


def status_json(session: UploadSession) -> str:
    """Everything but the secrets, should the broker ever send them here."""
    bare = msgspec.structs.replace(session, token=msgspec.UNSET, upload=msgspec.UNSET)
    return msgspec.json.encode(bare).decode()


def status_text(session: UploadSession) -> str:
    lines = [
        f"{session.id} {session.state.value}",
        f"  {session.filename}, {size_text(session.size_bytes)}, {session.content_type}",
        *(f"  {place.destination}: {place.bucket}/{place.key}" for place in objects_of(session)),
    ]
    if session.parts:
        parts = session.parts
        stored = size_text(parts.stored_bytes)
        lines.append(f"  {parts.stored_count} of {parts.part_count} parts are there, {stored}")
    if session.reason:
        lines.append(f"  because: {session.reason.message} [{session.reason.code}]")
    for step in session.timeline or []:
        epoch = f" epoch {step.epoch}" if step.epoch else ""
        note = f" – {step.note}" if step.note else ""
        lines.append(f"  {step.at:%Y-%m-%d %H:%M:%S.%f%z} {step.state.value}{epoch}{note}")
    if session.result:
        lines.append(f"  result: {msgspec.json.encode(session.result).decode()}")
    return "\n".join(lines)
