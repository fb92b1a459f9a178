"""Notices in a file, one JSON object a line: at, to, subject, body, key, report."""

from __future__ import annotations

import os
from pathlib import Path

from revops_lite.clean import json_line
from revops_lite.errors import ChannelError
from revops_lite.models import OutNotice
from revops_lite.notify.message import as_data


class FileChannel:
    """Appends to `path`; the folder is made, the file is its owner's alone. A line that stands there is on the disk."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path

    def send(self, notice: OutNotice) -> None:
        """Append one line in one write. Raises ChannelError when the file cannot be written."""
        line = json_line(as_data(notice)).encode() + b"\n"
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._append(line)
        except OSError as error:
            raise ChannelError(f"channel {self.name}: {self.path} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """The file is opened for each line, so that it may be rotated at any time."""

    def _append(self, line: bytes) -> None:
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if self._torn(handle):  # by a full disk or a lost machine: that line stays apart from ours
                line = b"\n" + line
            if os.write(handle, line) != len(line):
                raise OSError(0, "only a part of the line was written; is the disk full?")
            os.fsync(handle)
        finally:
            os.close(handle)

    @staticmethod
    def _torn(handle: int) -> bool:
        size = os.fstat(handle).st_size
        return size > 0 and os.pread(handle, 1, size - 1) != b"\n"
