"""What a store says in the body of a refusal, fit for a terminal: its code and its sentence.

S3 API reference, "Error responses" (XML); Google Cloud Storage, "HTTP status and error codes for JSON" (JSON). A store
may repeat the request in its sentence, and with it the secrets of its URL: these are taken out.
"""

import re

import msgspec
from yarl import URL

MAX_TEXT = 400  # ours: of a sentence
SHORTEST_SECRET = 8  # ours: a query value that is shorter hides nothing, and may be a word of the sentence


class _Reason(msgspec.Struct):
    reason: str = ""


class _Error(msgspec.Struct):
    message: str = ""
    errors: list[_Reason] = []


class _Document(msgspec.Struct):
    error: _Error


def read_refusal(document: bytes, url: URL, reason: str) -> tuple[str, str]:
    """Code and sentence; empty where there is none.

    :param reason: the phrase of the status line, which stands in for a code.
    """
    try:
        error = msgspec.json.decode(document, type=_Document).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        code, message = _element(document, b"Code"), _element(document, b"Message")
    else:
        code, message = next((each.reason for each in error.errors), ""), error.message
    return _plain(code or reason, url), _plain(message, url)


def _element(document: bytes, name: bytes) -> str:
    found = re.search(rb"<%b>([^<]{1,%d})</%b>" % (name, MAX_TEXT, name), document)
    return found.group(1).decode("utf-8", "replace") if found else ""


def _plain(text: str, url: URL) -> str:
    text = re.sub(r"https?://\S+", "***", text)
    raw = (pair.partition("=")[2] for pair in url.raw_query_string.split("&"))
    for secret in sorted({url.raw_query_string, *raw, *url.query.values()}, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return "".join(c if c.isprintable() else " " for c in text)[:MAX_TEXT]
