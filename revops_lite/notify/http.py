"""One POST, and what a channel may conclude from the answer. A URL can be a secret: none appears in any message."""

from __future__ import annotations

import logging
import math
import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from msgspec import Struct

from revops_lite.clean import clean
from revops_lite.errors import ChannelError

TIMEOUT = 10.0  # seconds to connect, and between two pieces of an answer
ANSWER_LIMIT = 65_536  # bytes of an answer that are read
LONGEST_WAIT = 3600.0  # seconds; whoever asks for more is asked again after that
_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)

# At INFO httpx logs each request with its URL, at DEBUG httpcore does; a Slack webhook's URL is a password.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class Answer(Struct, frozen=True):
    status: int
    headers: httpx.Headers
    text: str


def client(*, trust_env: bool = True) -> httpx.Client:
    """A client that follows no redirect. `trust_env`: whether a proxy named in the environment is used.

    Certificates are checked against SSL_CERT_FILE or SSL_CERT_DIR where set, whatever `trust_env` says.
    """
    headers = {"User-Agent": "revops-lite", "Accept-Encoding": "identity", "Content-Type": "application/json"}
    return httpx.Client(
        timeout=TIMEOUT, follow_redirects=False, trust_env=trust_env, headers=headers, verify=httpx.create_ssl_context()
    )


def post(
    http: httpx.Client, channel: str, url: httpx.URL, content: bytes, headers: dict[str, str], **extensions: Any
) -> Answer:
    """Send `content` (JSON) once. Raises ChannelError, to be tried again, when no answer came."""
    try:
        with http.stream("POST", url, content=content, headers=headers, extensions=extensions) as response:
            return Answer(response.status_code, response.headers, _beginning(response))
    except httpx.TimeoutException as error:
        raise ChannelError(f"channel {channel}: no answer within {TIMEOUT:.0f} s") from error
    except httpx.HTTPError as error:
        raise ChannelError(f"channel {channel}: {type(error).__name__}: {clean(str(error), limit=200)}") from error


def expect_success(channel: str, answer: Answer, now: float) -> None:
    """Raises ChannelError for everything but 2xx: final for what another try cannot change."""
    status = answer.status
    if 200 <= status < 300:
        return
    why = f"channel {channel}: HTTP {status}"
    if 300 <= status < 400:
        raise ChannelError(f"{why}: redirects are not followed; configure the address it leads to", final=True)
    said = clean(answer.text.strip(), limit=200)
    again = status in (408, 425, 429) or status >= 500
    raise ChannelError(f"{why}: {said}" if said else why, retry_after(answer.headers, now), final=not again)


def retry_after(headers: httpx.Headers, now: float) -> float | None:
    """Seconds to wait by the Retry-After header, 0..3600; None where there is none or it makes no sense."""
    given = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(given):
        return min(float(given), LONGEST_WAIT)
    try:
        wait = parsedate_to_datetime(given).timestamp() - now
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(wait, 0.0), LONGEST_WAIT) if math.isfinite(wait) else None


def _beginning(response: httpx.Response) -> str:
    """The first part of the body; a body that breaks off or never ends changes nothing about the status."""
    parts: list[bytes] = []
    size, until = 0, time.monotonic() + TIMEOUT
    try:
        for part in response.iter_raw():
            parts.append(part)
            size += len(part)
            if size > ANSWER_LIMIT or time.monotonic() > until:
                break
    except httpx.HTTPError:
        pass
    return b"".join(parts)[:ANSWER_LIMIT].decode("utf-8", "replace")
