"""Notices in Slack, by an incoming webhook or a bot token. Texts are escaped and sent as they are: no mention, no link.

`verbatim` and `parse: none` keep Slack from making mentions and links out of plain words.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx

from revops_lite.clean import clean, json_line, slack_cut, slack_text
from revops_lite.errors import ChannelError
from revops_lite.models import OutNotice
from revops_lite.notify.http import client, expect_success, post, retry_after
from revops_lite.notify.message import report_path

API = "https://slack.com/api"
HEADER_LIMIT = 150  # Slack's, in characters
SECTION_LIMIT = 3000
SECTIONS = 12  # so much of a long body is sent; Slack takes 50 blocks
TEMPORARY = frozenset(
    {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}
)


class SlackWebhook:
    """An incoming webhook: `url` is the secret."""

    def __init__(self, name: str, url: str, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self._url = httpx.URL(url)
        self._clock = clock
        self._http = client()

    def send(self, notice: OutNotice) -> None:
        """Raises ChannelError; final when Slack will never take it (403, 404, 410, an invalid token or payload)."""
        answer = post(self._http, self.name, self._url, json_line(message(notice, self.name)).encode(), {})
        expect_success(self.name, answer, self._clock())

    def close(self) -> None:
        self._http.close()


class SlackBot:
    """chat.postMessage with a bot's `token` to `channel` ("#sales" or an id)."""

    def __init__(
        self, name: str, token: str, channel: str, base_url: str = API, clock: Callable[[], float] = time.time
    ) -> None:
        self.name = name
        self._channel = channel
        self._url = httpx.URL(f"{base_url.rstrip('/')}/chat.postMessage")
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json; charset=utf-8"}
        self._clock = clock
        self._http = client()

    def send(self, notice: OutNotice) -> None:
        """Raises ChannelError; final for errors that only a person can mend (not_in_channel, invalid_auth, ...)."""
        body = {"channel": self._channel, "parse": "none", "link_names": False, **message(notice, self.name)}
        answer = post(self._http, self.name, self._url, json_line(body).encode(), self._headers)
        expect_success(self.name, answer, self._clock())
        self._expect_ok(answer.text, answer.headers)

    def close(self) -> None:
        self._http.close()

    def _expect_ok(self, text: str, headers: httpx.Headers) -> None:
        try:
            said = json.loads(text)
            ok, error = said["ok"], str(said.get("error", ""))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as broken:
            raise ChannelError(f"channel {self.name}: the answer is not one of Slack's") from broken
        if ok is not True:
            why = f"channel {self.name}: Slack says {clean(error, limit=100) or 'no'}"
            raise ChannelError(why, retry_after(headers, self._clock()), final=error not in TEMPORARY)


def message(notice: OutNotice, channel: str) -> dict[str, Any]:
    """The notice in Block Kit, within Slack's limits; names its addressee where that is not the channel itself."""
    subject = notice.subject.strip() or notice.key or "notice"
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(subject, HEADER_LIMIT)}]
    blocks += [{"type": "section", "text": _verbatim(part)} for part in parts(slack_text(notice.body.strip()))]
    if notice.report:  # a block of its own: it stays where a long body is cut
        blocks.append({"type": "section", "text": _verbatim(slack_text(f"Report: {report_path(notice)}"))})
    if notice.to != channel:
        blocks.append({"type": "context", "elements": [_verbatim(slack_text(f"to {notice.to}", limit=200))]})
    fallback = slack_text(clean(subject), limit=SECTION_LIMIT)
    return {"text": fallback, "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


def parts(escaped: str) -> list[str]:
    """Escaped text in pieces that fit a section each, cut at line ends where there are any, never within an escape."""
    pieces: list[str] = []
    while escaped and len(pieces) < SECTIONS:
        piece = escaped
        if len(escaped) > SECTION_LIMIT:
            line_end = escaped.rfind("\n", SECTION_LIMIT // 2, SECTION_LIMIT)
            piece = escaped[:line_end] if line_end > 0 else slack_cut(escaped, SECTION_LIMIT)
        escaped = escaped[len(piece) :].lstrip("\n")
        pieces.append(piece)
    if escaped:
        pieces[-1] = slack_cut(pieces[-1], SECTION_LIMIT - 1) + "…"
    return [piece for piece in pieces if piece.strip()]


def _plain(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": slack_text(clean(text), limit=limit), "emoji": False}


def _verbatim(escaped: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": escaped, "verbatim": True}
