"""The manifest of an order: a new one, or the one that an earlier run has left."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from uploader.resume import state_directory
from uploader.transfer.order import TreeOrder
from uploader.tree.errors import ManifestUnusable
from uploader.tree.identity import Identity
from uploader.tree.manifest import Manifest

Pathish = str | bytes | os.PathLike[str]


@contextmanager
def opened(
    broker: str, paths: Sequence[Pathish], order: TreeOrder, path: Path | None
) -> Iterator[tuple[Manifest, Path, TreeOrder]]:
    """The manifest, where it lies, and the order as it is meant: without paths it is of what the manifest has.

    :param path: by default in the user's state directory, by broker, destinations, batch and paths.
    :raises ValueError: no paths and no manifest; or one path lies in another.
    :raises ManifestUnusable: it is of another upload, somebody is at work on it, or it cannot be written.
    """
    if paths or path is None:
        identity = Identity.of(broker, order.destinations, order.batch or "", [os.fsencode(each) for each in paths])
        place = path or identity.manifest(state_directory(os.environ))
        with Manifest.open(place, identity) as manifest:
            yield manifest, place, order
        return
    with Manifest.open(path) as manifest:
        yield manifest, path, _as_before(manifest, broker, order)


def _as_before(manifest: Manifest, broker: str, order: TreeOrder) -> TreeOrder:
    about = manifest.about
    if about.broker != broker.rstrip("/"):
        raise ManifestUnusable(f"the manifest is of an upload to the broker {about.broker}")
    if order.destinations and tuple(sorted(order.destinations)) != about.destinations:
        raise ManifestUnusable(f"the manifest is of an upload to {', '.join(about.destinations) or 'default'}")
    if order.batch is not None and order.batch != about.batch:
        raise ManifestUnusable(f"the manifest is of batch {about.batch!r}")
    return replace(order, destinations=about.destinations, batch=about.batch or None)
