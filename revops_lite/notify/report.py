"""Reports: pages for people, one HTML file each in `var/reports`."""

from __future__ import annotations

import os
import re
from hashlib import blake2b
from pathlib import Path

from revops_lite.errors import ChannelError
from revops_lite.models import OutNotice

ADDRESS = "report:"  # a notice to "report:forecast" is the page `forecast.html`
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


class ReportChannel:
    """Writes a notice's body to `<folder>/<name>.html`, in the place of an older page of that name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def send(self, notice: OutNotice) -> None:
        """Put the page there whole or not at all. Raises ChannelError when the folder cannot be written."""
        path = self.folder / file_name(notice.to.removeprefix(ADDRESS))
        draft = path.with_name(f".{path.name}.new")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(handle, "wb") as file:
                file.write(notice.body.encode("utf-8", "xmlcharrefreplace"))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            raise ChannelError(f"report {path} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Nothing is kept open."""


def file_name(report: str) -> str:
    """A plain file name for a report's name; names that had to be changed stay different from each other."""
    stem = report.removesuffix(".html")
    fit = _UNFIT.sub("-", stem)[:100].strip("-.")
    if not fit or fit != stem:
        fit = f"{fit or 'report'}-{blake2b(stem.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}"
    return f"{fit}.html"
