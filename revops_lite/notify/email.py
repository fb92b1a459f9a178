"""Notices by e-mail over SMTP, encrypted unless the configuration says otherwise; a report is attached."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from hashlib import blake2b
from pathlib import Path

from msgspec import Struct

from revops_lite.clean import clean
from revops_lite.errors import ChannelError
from revops_lite.models import OutNotice
from revops_lite.notify.message import report_path
from revops_lite.notify.report import file_name

TIMEOUT = 10.0  # seconds per answer of the server
SUBJECT_LIMIT = 200
WITHOUT_REPORT = 3  # tries that waited for the report; the next one goes without it


class Mailbox(Struct, frozen=True):
    """Where to hand in mail, and for whom. `tls`: "starttls" (usually port 587), "ssl" (465) or "none"."""

    host: str
    sender: str
    to: Sequence[str]
    port: int = 587
    tls: str = "starttls"
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:  # never with the password
        return f"Mailbox({self.sender} to {', '.join(self.to)} by {self.host}:{self.port}, tls {self.tls})"


class EmailChannel:
    """One connection per notice: notices are few, and servers drop idle connections."""

    def __init__(self, name: str, mailbox: Mailbox, reports: Path | None = None) -> None:
        """`reports` is the folder that the notices' reports are taken from; without it they are only named."""
        self.name = name
        self.mailbox = mailbox
        self.reports = reports

    def send(self, notice: OutNotice) -> None:
        """Raises ChannelError; final for answers of 5xx and for a server without the wanted encryption."""
        try:
            self._hand_in(notice)
        except smtplib.SMTPNotSupportedError as error:
            mend = f"set tls in [notify.channels.{self.name}]"
            raise ChannelError(f"channel {self.name}: {clean(str(error))}; {mend}", final=True) from error
        except smtplib.SMTPRecipientsRefused as error:
            code, said = next(iter(error.recipients.values()))
            raise self._refused(code, said, all(c >= 500 for c, _ in error.recipients.values())) from error
        except smtplib.SMTPResponseException as error:
            raise self._refused(error.smtp_code, error.smtp_error, error.smtp_code >= 500) from error
        except (smtplib.SMTPException, OSError) as error:
            raise ChannelError(f"channel {self.name}: {clean(str(error), limit=200)}") from error

    def close(self) -> None:
        """No connection is kept."""

    def _page(self, notice: OutNotice) -> bytes | None:
        """The notice's report. Raises ChannelError while it may still come: it is written by a lane of its own."""
        if not notice.report or self.reports is None:
            return None
        path = self.reports / file_name(notice.report)
        try:
            return path.read_bytes()
        except OSError as error:
            if notice.tries >= WITHOUT_REPORT:
                return None
            raise ChannelError(f"channel {self.name}: {path} cannot be attached: {error.strerror}") from error

    def _hand_in(self, notice: OutNotice) -> None:
        server = self._connect()
        try:
            if self.mailbox.username is not None:
                server.login(self.mailbox.username, self.mailbox.password or "")
            # The report is looked for last: it was planned with the notice, and by now its lane may have written it.
            mail = compose(notice, self.name, self.mailbox, self._page(notice))
            server.send_message(mail, self.mailbox.sender, list(self.mailbox.to))
            with suppress(smtplib.SMTPException, OSError):  # it has been taken, however the goodbye goes
                server.quit()
        finally:
            server.close()

    def _connect(self) -> smtplib.SMTP:
        box = self.mailbox
        if box.tls == "ssl":
            return smtplib.SMTP_SSL(box.host, box.port, timeout=TIMEOUT, context=ssl.create_default_context())
        server = smtplib.SMTP(box.host, box.port, timeout=TIMEOUT)
        if box.tls == "starttls":
            try:
                server.starttls(context=ssl.create_default_context())
            except Exception:
                server.close()
                raise
        return server

    def _refused(self, code: int, said: bytes | str, final: bool) -> ChannelError:
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        return ChannelError(f"channel {self.name}: SMTP {code}: {clean(text, limit=200)}", final=final)


def compose(notice: OutNotice, channel: str, mailbox: Mailbox, page: bytes | None = None) -> EmailMessage:
    """Plain text, and `page` (the report's HTML) as an attachment.

    The Message-ID follows from the notice, so that a repeat can be told from a second message.
    """
    mail = EmailMessage()
    mail["From"] = mailbox.sender
    mail["To"] = ", ".join(mailbox.to)
    mail["Subject"] = clean(notice.subject.strip() or notice.key, limit=SUBJECT_LIMIT)
    mail["Date"] = format_datetime(datetime.fromtimestamp(notice.at, UTC))
    digest = blake2b(f"{notice.id}|{notice.at!r}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    mail["Message-ID"] = f"<{digest}@revops-lite.invalid>"
    mail["Auto-Submitted"] = "auto-generated"
    to = "" if notice.to == channel else f"To: {clean(notice.to)}\n\n"
    mail.set_content(to + clean(notice.body, newlines=True) + told_of_report(notice, page))
    if page is not None:
        charset, name = {"charset": "utf-8"}, file_name(notice.report)
        mail.add_attachment(page, maintype="text", subtype="html", filename=name, params=charset)
    return mail


def told_of_report(notice: OutNotice, page: bytes | None) -> str:
    """The last line of a mail that has a report, or should have one."""
    if not notice.report:
        return ""
    fate = "attached" if page is not None else "not attached: it could not be read when this was sent"
    return f"\n\nReport: {report_path(notice)} ({fate})"
