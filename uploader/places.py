"""Where the bytes of a session go."""

from broker.contract import ObjectRef, UploadSession


def places_of(session: UploadSession) -> list[ObjectRef]:
    """One object, or that of each copy."""
    return [session.object] if session.object else [copy.object for copy in session.copies or []]
