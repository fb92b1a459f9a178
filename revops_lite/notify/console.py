"""Notices on a terminal: one line each, the body indented below it."""

from __future__ import annotations

import sys
import threading
from typing import TextIO

from revops_lite.clean import clean
from revops_lite.errors import ChannelError
from revops_lite.models import OutNotice
from revops_lite.notify.message import with_report
from revops_lite.times import stamp


class ConsoleChannel:
    """Writes to `stream`; without one to whatever stderr is at that moment."""

    def __init__(self, name: str, stream: TextIO | None = None) -> None:
        self.name = name
        self._stream = stream
        self._writing = threading.Lock()

    def send(self, notice: OutNotice) -> None:
        """Print it in one piece. Raises ChannelError when the stream is gone."""
        stream = self._stream or sys.stderr
        text = rendered(notice, self.name)
        encoding = stream.encoding or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        try:
            with self._writing:
                stream.write(text)
                stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream has been closed
            raise ChannelError(f"channel {self.name}: the stream cannot be written: {error}") from error

    def close(self) -> None:
        """The stream is not ours to close."""


def rendered(notice: OutNotice, channel: str) -> str:
    """The notice as lines of text; names its addressee where that is not the channel itself."""
    to = "" if notice.to == channel else f" to {clean(notice.to)}"
    lines = [f"{stamp(notice.at)} notice{to}: {clean(notice.subject)}"]
    lines += [f"    {line}".rstrip() for line in clean(with_report(notice), newlines=True).strip("\n").split("\n")]
    return "\n".join(lines).rstrip() + "\n"
