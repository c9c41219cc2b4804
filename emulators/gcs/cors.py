"""Which pages may use what: the preflight's answer, and the headers that let a page read a response.

Sources, under https://cloud.google.com/storage/docs/: cross-origin ("Cloud Storage CORS considerations"),
configuring-cors. The XML API obeys the bucket's configuration, whose `responseHeader` names both what a page may send
and what it may read. The JSON API lets every page ask; only a resumable session is for the one origin that was named
when it was opened. A preflight that fits nothing gets a 200 without headers, and the browser refuses by itself.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from emulators.gcs.context import Store
from emulators.gcs.request import GcsRequest

METHODS: Final = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH")
EXPOSED: Final = (
    "Content-Length, Content-Type, Date, ETag, Location, Range, Server, Transfer-Encoding, X-Goog-Generation, "
    "X-Goog-Hash, X-Goog-Metageneration, X-Goog-Stored-Content-Length, X-GUploader-UploadID, "
    "X-HTTP-Status-Code-Override"
)
_SIMPLE: Final = frozenset({"accept", "accept-language", "content-language"})
_VARY: Final = {"Vary": "Origin"}


def response_headers(store: Store, request: GcsRequest) -> Mapping[str, str]:
    """Headers for an actual request from a page; none when it is not let in."""
    origin = request.origin
    if origin is None:
        return {}
    if request.api == "json" or request.upload_id is not None:
        return _open(origin, EXPOSED) if _is_let_in(store, request, origin) else _VARY
    for rule in _rules(store, request):
        if _fits(rule, origin, request.method, ()):
            return _open(origin, ", ".join(rule.get("responseHeader", ())))
    return _VARY


def preflight(store: Store, request: GcsRequest) -> Mapping[str, str]:
    origin, method = request.origin, request.header("access-control-request-method")
    if origin is None or method is None:
        return {}
    asked = [each.strip() for each in (request.header("access-control-request-headers") or "").split(",")]
    names = [each.lower() for each in asked if each]
    if request.api == "json" or request.upload_id is not None:
        return _allowed(origin, METHODS, names, 3600) if _is_let_in(store, request, origin) else _VARY
    for rule in _rules(store, request):
        if _fits(rule, origin, method, names):
            return _allowed(origin, rule["method"], names, rule.get("maxAgeSeconds", 3600))
    return _VARY


def _is_let_in(store: Store, request: GcsRequest, origin: str) -> bool:
    if request.upload_id is None:
        return True
    session = store.catalogue.session(request.upload_id)
    return session is not None and session.origin == origin


def _rules(store: Store, request: GcsRequest) -> Iterable[Mapping[str, Any]]:
    """The bucket's own, else what the command line lets every bucket do."""
    bucket = store.catalogue.bucket(request.target.bucket)
    if bucket is not None and bucket.cors:
        return bucket.cors
    if bucket is None or not store.settings.origins:
        return ()
    return ({"origin": store.settings.origins, "method": METHODS, "responseHeader": ("*", *EXPOSED.split(", "))},)


def _fits(rule: Mapping[str, Any], origin: str, method: str, names: Iterable[str]) -> bool:
    allowed = [each.lower() for each in rule.get("responseHeader", ())]
    return (
        any(each in {"*", origin} for each in rule.get("origin", ()))
        and any(each in {"*", method} for each in rule.get("method", ()))
        and all(name in _SIMPLE or any(_is_like(each, name) for each in allowed) for name in names)
    )


def _is_like(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _open(origin: str, exposed: str) -> Mapping[str, str]:
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": exposed, **_VARY}


def _allowed(origin: str, methods: Iterable[str], names: Iterable[str], max_age: int) -> Mapping[str, str]:
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": ", ".join(methods),
        "Access-Control-Allow-Headers": ", ".join(names),
        "Access-Control-Max-Age": str(max_age),
        **_VARY,
    }
