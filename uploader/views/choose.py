"""Which view of trees: by what was asked and by what stderr is."""

import sys
from typing import Protocol

from uploader.events import Event, TreeEvent, TreeObserver
from uploader.progress import View, is_live
from uploader.views.plain import PlainTreeView
from uploader.views.scripted import JsonTreeView


class TreeView(View, TreeObserver, Protocol):
    """Looks on an upload of trees, and wants to be called now and then."""

    def on_event(self, event: Event | TreeEvent) -> None: ...


def choose_tree_view(*, is_json: bool) -> TreeView:
    if is_json:
        return JsonTreeView(sys.stdout)
    if not is_live(sys.stderr):
        return PlainTreeView(sys.stderr)
    from rich.console import Console  # noqa: PLC0415 - only where it is seen

    from uploader.views.live import LiveTreeView  # noqa: PLC0415

    return LiveTreeView(Console(stderr=True))
