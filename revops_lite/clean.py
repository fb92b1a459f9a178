"""Text from outside, made harmless for the place it is shown in. Below everything: imports nothing of ours.

Values from a CRM, an agent or an event are written by strangers. One function per sink:

* `clean`       terminals and logs: what moves the cursor, hides or reorders text becomes visible ("\\x1b", "\\u202e")
* `csv_cell`    spreadsheets: no cell is a formula
* `json_line`   JSON on a terminal or in a file: nothing is lost, and nothing raw is left that `clean` would escape
* `slack_text`  Slack: no mention, no disguised link
* `html_text`   HTML text and quoted attributes

None of them raises for any `str`. rich's own markup is not touched: hand cleaned text to rich as `Text`.
"""

from __future__ import annotations

import html
import json
import logging
import re
from typing import Any

# Line and paragraph separators, every format character (category Cf: bidi controls, zero-width characters, tags, ...),
# what else Unicode calls "default ignorable" (drawn as nothing), and lone surrogates, which no encoder takes.
_INVISIBLE = (
    "\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# The selector that asks for a coloured emoji is common in honest text and harmless right behind one.
_SELECTOR = "(?<![\u203c\u2049\u2100-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff])\ufe0f"

_ONE_LINE = re.compile(f"[\x00-\x1f\x7f-\x9f{_INVISIBLE}]|{_SELECTOR}")
_MANY_LINES = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_INVISIBLE}]|{_SELECTOR}")
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_FORMULA = re.compile(r"\s*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_CALL = re.compile(r"(?<![\w.])@(?=(?:here|channel|everyone|group)\b)", re.IGNORECASE)
_TORN_ENTITY = re.compile(r"&[a-z]{0,3}\Z")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def clean(text: str, *, newlines: bool = False, limit: int | None = None) -> str:
    """`text` with every control, bidi or invisible character spelled out; at most `limit` characters, "…" at a cut.

    With `newlines`, line feeds and tabs stay (and "\\r\\n" becomes a line feed); else they are spelled out as well.
    Cleaning twice changes nothing.
    """
    if newlines and "\r" in text:
        text = text.replace("\r\n", "\n")
    if limit is not None:
        text = text[: limit + 1]
    pattern = _MANY_LINES if newlines else _ONE_LINE
    if pattern.search(text):
        text = pattern.sub(_spelled, text)
    return text if limit is None or len(text) <= limit else text[: max(limit - 1, 0)] + "…"[:limit]


class CleanLines(logging.Formatter):
    """Log records as `clean` shows them: tracebacks and what agents print carry strangers' text, too."""

    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record), newlines=True)


def csv_cell(value: Any) -> str:
    """`value` as the text of one CSV cell (quoting is the csv module's): None is empty, lists and mappings are JSON.

    Text that a spreadsheet could take for a formula gets a `'` in front. Other letters stay as they are, so that an
    export can be imported again; only control characters and surrogates are spelled out.
    """
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    guard = "'" if _FORMULA.match(text) else ""
    return guard + _UNWRITABLE.sub(_spelled, text)


def json_line(value: Any, *, indent: int | None = None) -> str:
    """`value` as JSON in readable letters; what `clean` would spell out is a JSON escape, so the data stay the same.

    Raises ValueError for NaN and infinities, TypeError for what is no JSON value.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    return _MANY_LINES.sub(_escaped, text) if _MANY_LINES.search(text) else text


def slack_text(text: str, *, limit: int | None = None) -> str:
    """`text` for a Slack text object or `text` argument: cleaned, `& < >` escaped, `@here` and its kin disarmed.

    `limit` counts the characters that are sent; an escape is never cut in two.
    """
    text = _CALL.sub("\uff20", clean(text, newlines=True))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if limit is None or len(text) <= limit:
        return text
    return slack_cut(text, limit - 1) + "…"[:limit]


def slack_cut(escaped: str, limit: int) -> str:
    """The first `limit` characters of text that `slack_text` has escaped, less an escape that would be cut in two."""
    return _TORN_ENTITY.sub("", escaped[: max(limit, 0)])


def html_text(text: str) -> str:
    """`text` for HTML, between tags or inside a quoted attribute."""
    return html.escape(clean(text, newlines=True), quote=True)


def _spelled(found: re.Match[str]) -> str:
    character = found.group()
    code = ord(character)
    if code < 0x100:
        return _SHORT.get(character) or f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escaped(found: re.Match[str]) -> str:
    return json.dumps(found.group())[1:-1] if ord(found.group()) > 0x7F else f"\\u{ord(found.group()):04x}"
