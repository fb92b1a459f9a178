"""Strings that somebody might put into a CRM to harm whoever reads a notice about it."""

from __future__ import annotations

import random
import re
import unicodedata

PIECES = [
    "\x00",
    "\x07",
    "\x08\x08\x08",
    "\x1b[2J\x1b[H",
    "\x1b]0;owned\x07",
    "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "\x1b[31m",
    "\x1bP$q\x1b\\",
    "\x9b31m",
    "\x9d0;owned\x9c",
    "\x7f",
    "\x85",
    "\r",
    "\r\n",
    "\n",
    "\t",
    "\x0b",
    "\x0c",
    "\u202eevil\u202c",
    "\u2066x\u2069",
    "\u200e",
    "\u200f",
    "\u061c",
    "\u200b",
    "\u200d",
    "\ufeff",
    "\u2028",
    "\u2029",
    "\u00ad",
    "\u034f",
    "\u3164",
    "\ufe0f",
    "\ufff9",
    "\U000e0041\U000e0042",
    "\U000e0100",
    "\U0001d173",
    "\ud800",
    "\udfff",
    "<!channel>",
    "<!here|x>",
    "<@U123>",
    "<#C1|general>",
    "<!subteam^S1>",
    "<http://evil.example|your bank>",
    "@here",
    "@CHANNEL",
    "@everyone",
    "&lt;!channel&gt;",
    "&amp;",
    "<script>alert(1)</script>",
    '" onload="x',
    "'; drop table--",
    "=1+1",
    '=HYPERLINK("http://evil")',
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    " =1",
    "\uff1d1",
    "\r\nBcc: victim@example.com",
    "\n.\n",
    ".\r\n",
    "a" * 5000,
    "é" * 200,
    "漢字",
    "👩‍👩‍👧",
    "❤️",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "%s%n",
    "[bold red]x[/]",
    "*b* _i_ ~s~ `c` ```d```",
]


def strings(count: int = 300, seed: int = 7) -> list[str]:
    """The pieces themselves, then mixtures of them and plain words: always the same for one seed."""
    chosen = random.Random(seed)
    found = list(PIECES)
    while len(found) < count:
        parts = [chosen.choice([*PIECES, "Acme Ltd", " ", "42"]) for _ in range(chosen.randint(2, 6))]
        found.append("".join(parts))
    return found


_EMOJI_SELECTOR = re.compile("(?<=[\u203c-\u3299\U0001f000-\U0001faff])\ufe0f")


def raw_harm(text: str, keep: str = "\n\t") -> str:
    """Every character of `text` that a terminal would not simply print, judged by Unicode's own tables."""
    text = _EMOJI_SELECTOR.sub("", text)
    bad = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    drawn_as_nothing = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
    return "".join(
        character
        for character in text
        if (unicodedata.category(character) in bad and character not in keep)
        or character in drawn_as_nothing
        or "\ufe00" <= character <= "\ufe0f"
        or "\U000e0000" <= character <= "\U000e0fff"
    )
