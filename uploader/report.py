"""The words at the end: the outcome of an upload, the state of a session."""

import os

import msgspec

from broker.contract import ObjectRef, PartsStatus, UploadSession
from uploader.download import DownloadResult
from uploader.events import Downloaded, Finished
from uploader.orders import UploadResult
from uploader.remarks import rate_text, size_text
from uploader.tree.words import shown


def outcome_line(result: UploadResult) -> str:
    """Session, state, key and rate of one upload."""
    seconds = result.sending.total_seconds()
    rate = rate_text(result.sent_bytes, seconds)
    there = [copy.destination for copy in result.copies if not copy.error]
    place = f"{len(there)} of {len(result.copies)} copies: {','.join(there)}" if result.copies else result.key
    return f"{result.session_id} {result.state.value} {place} {size_text(result.size_bytes)} {rate}"


def missing_lines(result: UploadResult) -> list[str]:
    """What is to be said of copies that the session does without."""
    return [f"the copy at {copy.destination} is missing: {copy.error.message}" for copy in result.missing if copy.error]


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
        proved=result.proved,
        result=result.session.result or None,
        copies={copy.destination: copy.state.value for copy in result.copies},
        missing={copy.destination: copy.error.message for copy in result.missing if copy.error},
    )


def download_line(result: DownloadResult) -> str:
    proof = f"{result.proved} proved" if result.proved else "no digest is known that proves it"
    return f"{result.session_id} saved {shown(os.fsencode(result.path))} {size_text(result.size_bytes)}, {proof}"


def downloaded_event(result: DownloadResult) -> Downloaded:
    return Downloaded(
        file=shown(os.fsencode(result.path.name)),
        session_id=result.session_id,
        path=shown(os.fsencode(result.path)),
        size_bytes=result.size_bytes,
        proved=result.proved,
        attempts=result.attempts,
    )


def status_json(session: UploadSession) -> str:
    """Everything but the secrets, should the broker ever send them here."""
    copies = [msgspec.structs.replace(copy, upload=msgspec.UNSET) for copy in session.copies or []]
    bare = msgspec.structs.replace(
        session, token=msgspec.UNSET, upload=msgspec.UNSET, copies=copies if session.copies else msgspec.UNSET
    )
    return msgspec.json.encode(bare).decode()


def status_text(session: UploadSession) -> str:
    lines = [
        f"{session.id} {session.state.value}",
        f"  {session.filename}, {size_text(session.size_bytes)}, {session.content_type}",
    ]
    if session.object:
        lines += [f"  {_object_text(session.object)}", *_parts_lines(session.parts), *_offset_lines(session)]
    for copy in session.copies or []:
        lines += [f"  {_object_text(copy.object)} {copy.state.value}", *_parts_lines(copy.parts)]
        if copy.problem:
            lines.append(f"    because: {copy.problem.message} [{copy.problem.code}]")
    if session.reason:
        lines.append(f"  because: {session.reason.message} [{session.reason.code}]")
    for step in session.timeline or []:
        epoch = f" epoch {step.epoch}" if step.epoch else ""
        note = f" – {step.note}" if step.note else ""
        lines.append(f"  {step.at:%Y-%m-%d %H:%M:%S.%f%z} {step.state.value}{epoch}{note}")
    if session.result:
        lines.append(f"  result: {msgspec.json.encode(session.result).decode()}")
    return "\n".join(lines)


def _object_text(place: ObjectRef) -> str:
    return f"{place.destination}: {place.bucket}/{place.key}"


def _offset_lines(session: UploadSession) -> list[str]:
    if session.offset_bytes is msgspec.UNSET:
        return []
    return [f"  {size_text(session.offset_bytes)} of {size_text(session.size_bytes)} are there"]


def _parts_lines(parts: PartsStatus | msgspec.UnsetType) -> list[str]:
    if not parts:
        return []
    return [f"  {parts.stored_count} of {parts.part_count} parts are there, {size_text(parts.stored_bytes)}"]
