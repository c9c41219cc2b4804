"""What every upload of one program works with."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from uploader.client import BrokerClient
from uploader.retry import RetryPolicy
from uploader.sender import Sender
from uploader.window import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """
    :ivar sender_to: who sends to one of several destinations: one that hangs holds no thread of another.
    :ivar budget: memory for files that go to several destinations.
    """

    broker: BrokerClient
    sender: Sender
    sender_to: Callable[[str], Sender]
    executor: Executor
    retry: RetryPolicy
    budget: Budget
