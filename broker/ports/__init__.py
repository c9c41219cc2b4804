"""Floor 1: what the use cases need of the world, one small Protocol per right. Read this first.

A use case is a frozen dataclass whose fields are the rights it needs; an adapter gives one or several of them. Every
method raises only errors of `broker.domain.errors`. What is where:

- `store` – one right in a destination each: sign a PUT, a GET or a part, HEAD, remove, list; together a `Bucket`.
- `doors` – notifications of the store, and the hints in them.
- `mailboxes` – messages of a queue, lent until they are deleted.
- `sessions` – the records, and the one way to change them; listings, the census, what remains of sessions.
- `looks` – when a session must be looked at next.
- `ledger` – jobs, events, how much waits, whose ledger it is; and `Ledger`, all its rights over the same records.
- `webhooks` – what is still to tell, what was told, the way to a receiver.
- `callers` – API keys, and how often they may ask.
- `process` – the clock, the trace, bells and listeners.

Whoever uses them imports from here.
"""

from broker.ports.callers import ApiKeys, Rates, Taken
from broker.ports.doors import Door, Envelope, Hint, Opened, Pages, PublishedPage
from broker.ports.ledger import Backlog, Checkup, Event, Events, Identity, Jobs, Ledger, Schedule
from broker.ports.looks import DueLook, Looked, Looking, Looks, Stray
from broker.ports.mailboxes import Collected, Collecting, Deletion, Mailbox, Message
from broker.ports.process import Bell, Clock, Listener, Listeners, Trace
from broker.ports.sessions import (
    Census,
    Created,
    Idempotency,
    Listings,
    NewSession,
    Page,
    Position,
    Quota,
    Selection,
    Sessions,
    Tombstones,
    Usage,
)
from broker.ports.store import (
    Bucket,
    Buckets,
    GetSigner,
    ListedObject,
    MultipartRemover,
    MultipartRights,
    MultipartUploads,
    ObjectHead,
    ObjectLister,
    ObjectRemover,
    PartSigner,
    PutSigner,
    ResumableUploads,
    StoreMark,
    UnfinishedUpload,
)
from broker.ports.webhooks import Answer, Deliveries, Delivery, DeliveryLog, Outbox, Sender

__all__ = [
    "Answer",
    "ApiKeys",
    "Backlog",
    "Bell",
    "Bucket",
    "Buckets",
    "Census",
    "Checkup",
    "Clock",
    "Collected",
    "Collecting",
    "Created",
    "Deletion",
    "Deliveries",
    "Delivery",
    "DeliveryLog",
    "Door",
    "DueLook",
    "Envelope",
    "Event",
    "Events",
    "GetSigner",
    "Hint",
    "Idempotency",
    "Identity",
    "Jobs",
    "Ledger",
    "ListedObject",
    "Listener",
    "Listeners",
    "Listings",
    "Looked",
    "Looking",
    "Looks",
    "Mailbox",
    "Message",
    "MultipartRemover",
    "MultipartRights",
    "MultipartUploads",
    "NewSession",
    "ObjectHead",
    "ObjectLister",
    "ObjectRemover",
    "Opened",
    "Outbox",
    "Page",
    "Pages",
    "PartSigner",
    "Position",
    "PublishedPage",
    "PutSigner",
    "Quota",
    "Rates",
    "ResumableUploads",
    "Schedule",
    "Selection",
    "Sender",
    "Sessions",
    "StoreMark",
    "Stray",
    "Taken",
    "Tombstones",
    "Trace",
    "UnfinishedUpload",
    "Usage",
]
