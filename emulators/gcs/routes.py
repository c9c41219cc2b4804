"""Which operation a request asks for."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from emulators.gcs import buckets, insert, listing, notifications, objects, sessions, xml_objects
from emulators.gcs.context import Call, Reply, Store
from emulators.gcs.errors import GcsError
from emulators.gcs.request import GcsRequest

Operation = Callable[[Store, Call], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Route:
    name: str
    operation: Operation


_ROUTES: Final[Mapping[tuple[str, str], Route]] = {
    ("GET", "b/NAME"): Route("buckets.get", buckets.get),
    ("PATCH", "b/NAME"): Route("buckets.patch", buckets.patch),
    ("GET", "testPermissions"): Route("buckets.testIamPermissions", buckets.test_permissions),
    ("GET", "serviceAccount"): Route("projects.serviceAccount", buckets.service_account),
    ("GET", "notificationConfigs"): Route("notifications.list", notifications.list_configs),
    ("POST", "notificationConfigs"): Route("notifications.insert", notifications.insert),
    ("GET", "notificationConfigs/NAME"): Route("notifications.get", notifications.get),
    ("DELETE", "notificationConfigs/NAME"): Route("notifications.delete", notifications.delete),
    ("GET", "o"): Route("objects.list", listing.list_objects),
    ("GET", "o/NAME"): Route("objects.get", objects.get),
    ("DELETE", "o/NAME"): Route("objects.delete", objects.delete),
    ("PATCH", "o/NAME"): Route("objects.patch", objects.patch),
    ("GET", "download:o/NAME"): Route("objects.download", objects.download),
    ("POST", "upload:o"): Route("objects.insert", insert.insert),
    ("PUT", "xml/NAME"): Route("PutObject", xml_objects.put),
    ("GET", "xml/NAME"): Route("GetObject", xml_objects.get),
    ("HEAD", "xml/NAME"): Route("HeadObject", xml_objects.get),
    ("DELETE", "xml/NAME"): Route("DeleteObject", xml_objects.delete),
    ("POST", "xml/NAME"): Route("PostObjectResumable", xml_objects.post),
}
_SESSIONS: Final[Mapping[str, Route]] = {
    "PUT": Route("session.put", sessions.put),
    "POST": Route("session.put", sessions.put),
    "DELETE": Route("session.cancel", sessions.cancel),
}


def find(request: GcsRequest) -> Route:
    """:raises GcsError: NotImplemented, MethodNotAllowed, NotFound."""
    kind = request.target.kind
    if request.upload_id is not None and kind in {"upload:o", "xml/NAME"}:
        route = _SESSIONS.get(request.method)
    else:
        route = _ROUTES.get((request.method, kind))
        if request.api == "xml":
            xml_objects.refuse_subresources(request)
    if route is not None:
        return route
    if kind.endswith("unknown"):
        raise GcsError("NotFound")
    raise GcsError("MethodNotAllowed")
