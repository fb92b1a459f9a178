"""A reviewer's seat: `revops review` in a pseudo-terminal of 80 columns, read and typed into as a person does."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pexpect

from installation import Installation

ITEM = r"(?:Accept|What now)\? \[[^\]]*\] "
LAST = r"Nothing else waits\. Send the last [^?]*\? \[y,u,q\] "
ANSWER = r"goes back\)[ :]+|empty ends\): "
TITLE = re.compile(r"\] [a-z_]+, \d+ (?:s|min|h|d)\r\n([a-z]+:[^.\s]+)(?:\.(\w+)| \((\w+)\))")
PATIENCE = 30


def _hears_ctrl_c() -> None:
    """As at a person's terminal; a shell starts what runs in its background deaf to it, and so all below."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Seat:
    """One running session. `shown` is what came before the question that waits now."""

    def __init__(self, site: Installation, *words: str, term: str = "xterm", width: int = 80) -> None:
        env = site.environment() | {"TERM": term, "COLUMNS": str(width), "INPUTRC": "/dev/null"}
        command = site.command("review", *words)
        self.tty: Any = pexpect.spawn(
            command[0],
            command[1:],
            cwd=str(site.root),
            env=env,
            dimensions=(50, width),
            encoding="utf-8",
            timeout=PATIENCE,
            preexec_fn=_hears_ctrl_c,
        )
        self.tty.delaybeforesend = None
        self.all: list[str] = []
        self.shown = ""
        self.after = ""

    def wait(self) -> str:
        """Wait for the next question: "item", "last", or "over" where the session has ended."""
        found = ("item", "last", "over")[self._expect([ITEM, LAST, pexpect.EOF])]
        if found == "over":
            self.tty.close()
        return found

    def record(self) -> str:
        """The record that is being asked about."""
        titles = TITLE.findall(self.shown)
        assert titles, self.shown
        return str(titles[-1][0])

    def key(self, key: str) -> None:
        self.tty.send(key)

    def answer(self, text: str) -> None:
        """Type an answer in place of what stands there."""
        self._expect([ANSWER])
        self.tty.send("\x15" + text + "\r")

    def decide(self, key: str, *answers: str) -> str:
        """A key, its answers, and what is asked next."""
        self.key(key)
        for text in answers:
            self.answer(text)
        return self.wait()

    @property
    def code(self) -> int:
        """The exit code of a session that is over."""
        assert self.tty.signalstatus is None, "\n".join(self.all)
        return int(self.tty.exitstatus)

    @property
    def text(self) -> str:
        """Everything that was shown."""
        return "".join(self.all)

    def _expect(self, patterns: list[Any]) -> int:
        index = self.tty.expect(patterns)
        after = self.tty.after if isinstance(self.tty.after, str) else ""
        self.shown, self.after = self.tty.before, after
        self.all += (self.shown, after)
        assert "Traceback" not in self.shown, self.shown
        return int(index)

    def end(self) -> None:
        if self.tty.isalive():
            self.tty.kill(signal.SIGKILL)
        self.tty.close()


@contextmanager
def seat(site: Installation, *words: str, term: str = "xterm", width: int = 80) -> Iterator[Seat]:
    """A session at its first question; nothing of it runs after the block."""
    taken = Seat(site, *words, term=term, width=width)
    try:
        yield taken
    finally:
        if sys.exc_info()[0] is not None:
            print(taken.text, taken.tty.before)
        taken.end()
