"""What an error of one large file means: for the file, or for the run."""

from dataclasses import dataclass

from uploader.errors import (
    EXIT_UNREACHABLE,
    BrokerAway,
    BrokerRefused,
    CopiesMissing,
    FileChanged,
    SessionLost,
    StoreRefused,
    Unreachable,
    UploaderError,
    WaitTimedOut,
)
from uploader.transfer.granting import Refusal, is_lost, refusal_of
from uploader.transfer.register import Register
from uploader.transfer.watch import Watch
from uploader.tree.errors import ManifestUnusable
from uploader.tree.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubles:
    register: Register
    watch: Watch

    def befell(self, row: Row, exc: UploaderError, began_at: float) -> None:
        """
        :param began_at: its first attempt, on the monotonic clock: if anything was sent since, the store is not away.
        """
        match exc:
            case FileChanged():
                self.register.changed(row, exc.session_id)
            case SessionLost() if is_lost(exc.state):
                self.register.lost(row, exc.code, exc.message)
            case WaitTimedOut():
                self.register.late(row)
            case CopiesMissing() if exc.is_late:
                self.register.late(row)
            case CopiesMissing() if exc.exit_code == EXIT_UNREACHABLE:
                self.register.stumbled(row, exc)
            case BrokerAway() | ManifestUnusable():
                self.watch.stop(exc)
            case Unreachable() if self.watch.sent_at > began_at:
                self.register.stumbled(row, exc)
            case Unreachable():
                self.watch.stop(exc)
            case BrokerRefused():
                self._refused(row, exc)
            case StoreRefused():
                self.register.broke(row, exc)
                self.watch.refused(exc)
            case _:
                self.register.broke(row, exc)

    def _refused(self, row: Row, exc: BrokerRefused) -> None:
        refusal = refusal_of(exc.problem)
        if exc.problem.code == "session-not-found":
            self.register.lost(row, exc.code, exc.message)
        elif refusal is Refusal.KEY:
            self.register.redeclared(row, exc)
        elif refusal is Refusal.RUN:
            self.watch.stop(exc)
        else:
            self.register.broke(row, exc)
