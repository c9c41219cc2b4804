"""The sender of large files, through the gate that holds for all."""

from dataclasses import dataclass, replace

from broker.contract import SignedRequest
from uploader.events import Meter
from uploader.means import Means
from uploader.sender import Answer, Sender
from uploader.source import Source
from uploader.transfer.gate import Gate
from uploader.transfer.watch import Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedSender(Sender):
    gate: Gate
    watch: Watch

    @classmethod
    def of(cls, sender: Sender, gate: Gate, watch: Watch) -> "GatedSender":
        return cls(
            session=sender.session,
            executor=sender.executor,
            stall=sender.stall,
            connect_timeout=sender.connect_timeout,
            answer_timeout=sender.answer_timeout,
            gate=gate,
            watch=watch,
        )

    async def send(self, request: SignedRequest, source: Source, meter: Meter) -> Answer:
        await self.gate.enter()
        answer = None
        try:
            answer = await Sender.send(self, request, source, meter)
        finally:
            self.gate.leave(answer, source.size_bytes)
        if 200 <= answer.status < 400:
            self.watch.took_bytes()
        return answer


def gated(means: Means, gate: Gate, watch: Watch) -> Means:
    """The same means, whose senders go through the gate."""
    return replace(
        means,
        sender=GatedSender.of(means.sender, gate, watch),
        sender_to=lambda destination: GatedSender.of(means.sender_to(destination), gate, watch),
    )
