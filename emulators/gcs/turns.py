"""Whose turn it is to add bytes to a resumable upload: the one who came last.

A client that gives up on a connection sends again on another, while the first may still trickle in. The newcomer takes
over, and the old connection ends: no byte is ever added by both.
"""

from dataclasses import dataclass

from aiohttp import web


@dataclass(slots=True, eq=False)
class Turn:
    http: web.BaseRequest
    is_over: bool = False

    def end(self) -> None:
        self.is_over = True
        if self.http.transport is not None:
            self.http.transport.close()


class Turns:
    def __init__(self) -> None:
        self._held: dict[str, Turn] = {}

    def take(self, session_id: str, http: web.BaseRequest) -> Turn:
        self.end(session_id)
        self._held[session_id] = Turn(http)
        return self._held[session_id]

    def give_back(self, session_id: str, turn: Turn) -> None:
        if self._held.get(session_id) is turn:
            del self._held[session_id]

    def end(self, session_id: str) -> None:
        """Whoever has it has it no longer."""
        turn = self._held.pop(session_id, None)
        if turn is not None:
            turn.end()
