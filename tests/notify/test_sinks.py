"""What is particular to one channel."""

from __future__ import annotations

import io
import json
import logging
import re
import socket
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
from notify import certificate
from notify.hostile import strings
from notify.loopback import HttpServer, Reply, SmtpServer

from revops_lite.errors import ChannelError
from revops_lite.models import OutNotice
from revops_lite.notify import webhook
from revops_lite.notify.console import ConsoleChannel
from revops_lite.notify.email import EmailChannel, Mailbox
from revops_lite.notify.file import FileChannel
from revops_lite.notify.http import retry_after
from revops_lite.notify.report import ReportChannel, file_name
from revops_lite.notify.slack import SlackBot, SlackWebhook
from revops_lite.notify.webhook import WebhookChannel, is_public
from revops_lite.values import replace

NOW = 1_750_000_000.0
NOTICE = OutNotice("n1", "key-1", "sales", "Deal slipped", "Acme\nmoved to May", NOW, "r1")


@pytest.fixture
def http() -> Iterator[HttpServer]:
    server = HttpServer()
    yield server
    server.stop()


# ---- console, file, report ---------------------------------------------------------------------------------------


def test_the_console_shows_one_line_and_the_body_below_it() -> None:
    stream = io.StringIO()
    ConsoleChannel("sales", stream).send(replace(NOTICE, to="owner"))
    assert stream.getvalue() == ("2025-06-15T15:06:40.000Z notice to owner: Deal slipped\n    Acme\n    moved to May\n")


def test_a_stranger_cannot_write_a_line_that_looks_like_a_notice() -> None:
    stream = io.StringIO()
    faked = "x\n2025-01-01T00:00:00.000Z notice: all is well"
    ConsoleChannel("sales", stream).send(replace(NOTICE, subject=faked, body=faked))
    assert len([line for line in stream.getvalue().splitlines() if not line.startswith("    ")]) == 1


def test_a_terminal_with_few_letters_still_shows_the_notice() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="strict")
    ConsoleChannel("sales", stream).send(replace(NOTICE, subject="café"))
    assert b"caf\\xe9" in raw.getvalue()


def test_the_console_without_a_stream_is_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleChannel("sales").send(NOTICE)
    shown = capsys.readouterr()
    assert "Deal slipped" in shown.err
    assert shown.out == ""


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "notices.jsonl"
    FileChannel("sales", path).send(NOTICE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_torn_line_stays_apart_from_the_next(tmp_path: Path) -> None:
    path = tmp_path / "notices.jsonl"
    path.write_text('{"at": "2025')
    FileChannel("sales", path).send(NOTICE)
    first, second = path.read_text().splitlines()
    assert first == '{"at": "2025'
    assert json.loads(second)["key"] == "key-1"


def test_a_report_is_a_page_that_its_next_edition_replaces(tmp_path: Path) -> None:
    channel = ReportChannel(tmp_path / "reports")
    for body in ("<p>old</p>", "<p>new \ud800</p>"):
        channel.send(replace(NOTICE, to="report:forecast", body=body))
    [page] = (tmp_path / "reports").iterdir()
    assert page.name == "forecast.html"
    assert page.read_text() == "<p>new &#55296;</p>"


def test_no_name_of_a_report_leads_out_of_its_folder() -> None:
    names = [file_name(text) for text in [*strings(), "../../etc/passwd", "/etc/passwd", "..", ".", "", "a/b", "a\\b"]]
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,120}\.html", name) for name in names)
    assert file_name("a/b") != file_name("a-b")


# ---- Slack -------------------------------------------------------------------------------------------------------


def test_a_slack_message_keeps_to_slacks_limits_and_loses_nothing_of_a_long_body(http: HttpServer) -> None:
    body = "\n".join(f"line {n} <&>" for n in range(1500))
    channel = SlackWebhook("sales", http.url)
    channel.send(replace(NOTICE, subject="&" * 400, body=body))
    channel.close()
    sent = json.loads(http.requests[0].body)
    header, *sections = sent["blocks"]
    assert header["text"]["type"] == "plain_text"
    assert len(header["text"]["text"]) <= 150
    assert all(0 < len(one["text"]["text"]) <= 3000 and one["text"]["verbatim"] for one in sections)
    shown = "\n".join(one["text"]["text"] for one in sections)
    assert shown == body.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def test_a_body_beyond_all_measure_is_cut_and_says_so(http: HttpServer) -> None:
    channel = SlackWebhook("sales", http.url)
    channel.send(replace(NOTICE, body="<" * 50_000))
    channel.close()
    blocks = json.loads(http.requests[0].body)["blocks"]
    assert len(blocks) <= 50
    assert blocks[-1]["text"]["text"].endswith("&lt;…")
    assert len(blocks[-1]["text"]["text"]) <= 3000


def test_no_hostile_string_mentions_anybody_in_slack(http: HttpServer) -> None:
    channel = SlackWebhook("sales", http.url)
    for text in strings():
        channel.send(replace(NOTICE, to=text, subject=text, body=text))
    channel.close()
    assert len(http.requests) == 300
    for request in http.requests:
        sent = json.loads(request.body)
        texts = [sent["text"], *(b["text"]["text"] for b in sent["blocks"] if "text" in b)]
        assert not any(re.search(r"[<>]|(?<![\w.])@(here|channel|everyone)\b", text, re.IGNORECASE) for text in texts)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("30", 30.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("1000000000", 3600.0),
        ("9" * 5000, 3600.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("٣", None),
        (format_datetime(datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(datetime.fromtimestamp(NOW, UTC) - timedelta(days=1), usegmt=True), 0.0),
        (format_datetime(datetime.fromtimestamp(NOW, UTC) + timedelta(days=9), usegmt=True), 3600.0),
        ("Fri, 31 Feb 2025 25:00:00 GMT", None),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_understood_in_every_form(given: str, seconds: float | None) -> None:
    assert retry_after(httpx.Headers({"Retry-After": given.encode()}), NOW) == seconds


@pytest.mark.parametrize(
    ("status", "body", "final"),
    [
        (429, b"rate_limited", False),
        (500, b"rollup_error", False),
        (503, b"", False),
        (408, b"", False),
        (400, b"invalid_payload", True),
        (403, b"invalid_token", True),
        (404, b"no_service", True),
        (410, b"channel_is_archived", True),
        (302, b"", True),
    ],
)
def test_an_answer_says_whether_another_try_makes_sense(
    http: HttpServer, status: int, body: bytes, final: bool
) -> None:
    http.usual = Reply(status, body, {"Retry-After": "17"} if status == 429 else {})
    channel = SlackWebhook("sales", http.url)
    with pytest.raises(ChannelError, match=str(status)) as caught:
        channel.send(NOTICE)
    channel.close()
    assert caught.value.final is final
    assert body.decode() in str(caught.value)
    assert caught.value.retry_after == (17.0 if status == 429 else None)


def test_no_redirect_is_followed(http: HttpServer) -> None:
    http.usual = Reply(307, headers={"Location": f"{http.url}/elsewhere"})
    channel = WebhookChannel("sales", http.url, allow_private=True)
    with pytest.raises(ChannelError, match="redirects are not followed"):
        channel.send(NOTICE)
    channel.close()
    assert len(http.requests) == 1


@pytest.mark.parametrize(
    ("body", "final"),
    [
        (b'{"ok": false, "error": "not_in_channel"}', True),
        (b'{"ok": false, "error": "invalid_auth"}', True),
        (b'{"ok": false, "error": "internal_error"}', False),
        (b'{"ok": false}', True),
        (b"<html>maintenance</html>", False),
        (b"[]", False),
        (b"[" * 100_000, False),
        (b"", False),
    ],
)
def test_slacks_own_errors_are_told_apart(http: HttpServer, body: bytes, final: bool) -> None:
    http.usual = Reply(body=body)
    channel = SlackBot("sales", "token", "#sales", http.url)
    with pytest.raises(ChannelError) as caught:
        channel.send(NOTICE)
    channel.close()
    assert caught.value.final is final


def test_a_bot_posts_to_its_channel_with_its_token(http: HttpServer) -> None:
    http.usual = Reply(body=b'{"ok": true}')
    channel = SlackBot("sales", "the-token", "#sales", http.url)
    channel.send(NOTICE)
    channel.close()
    [request] = http.requests
    assert request.path == "/chat.postMessage"
    assert request.headers["Authorization"] == "Bearer the-token"
    assert json.loads(request.body)["channel"] == "#sales"


def test_a_slack_address_never_reaches_the_log(http: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        channel = SlackWebhook("sales", f"{http.url}/services/canary")
        channel.send(NOTICE)
        channel.close()
    assert len(http.requests) == 1
    assert "canary" not in caplog.text


# ---- webhook -----------------------------------------------------------------------------------------------------


def test_a_webhook_gets_the_notice_as_json_with_token_and_key(http: HttpServer) -> None:
    channel = WebhookChannel("sales", http.url, "the-token", allow_private=True)
    channel.send(NOTICE)
    channel.send(NOTICE)
    channel.close()
    first, second = http.requests
    assert json.loads(first.body)["key"] == "key-1"
    assert first.headers["Authorization"] == "Bearer the-token"
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "0"])
def test_a_private_address_is_refused_however_it_is_written(http: HttpServer, host: str) -> None:
    channel = WebhookChannel("sales", f"http://{host}:{http.port}")
    with pytest.raises(ChannelError, match=r"allow_private = true in \[notify.channels.sales\]") as caught:
        channel.send(NOTICE)
    channel.close()
    assert caught.value.final
    assert http.requests == []


def test_the_address_that_was_looked_at_is_the_one_connected_to_under_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, context = certificate.make(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    looked_at: list[str] = []
    monkeypatch.setattr(webhook, "is_public", lambda address: looked_at.append(address) is None)
    known = socket.getaddrinfo("127.0.0.1", 0, type=socket.SOCK_STREAM)
    lookup = socket.getaddrinfo  # machines differ in whether localhost is 127.0.0.1 or ::1 first
    monkeypatch.setattr(socket, "getaddrinfo", lambda *at, **how: known if at[0] == "localhost" else lookup(*at, **how))
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    server = HttpServer(tls=context)
    channel = WebhookChannel("sales", f"https://localhost:{server.port}/in")
    try:
        channel.send(NOTICE)
    finally:
        channel.close()
        server.stop()
    assert looked_at == ["127.0.0.1"]
    assert names == ["localhost"]
    [request] = server.requests
    assert (request.path, request.headers["Host"]) == ("/in", f"localhost:{server.port}")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("::", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::5db8:d822", True),
        ("2002:a00:1::", False),
    ],
)
def test_what_is_public(address: str, public: bool) -> None:
    assert is_public(address) is public


# ---- e-mail ------------------------------------------------------------------------------------------------------


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    server = SmtpServer()
    yield server
    server.stop()


def _box(server: SmtpServer, tls: str = "none") -> Mailbox:
    return Mailbox("127.0.0.1", "revops@example.com", ["ann@example.com", "bob@example.com"], server.port, tls)


def test_a_mail_has_its_headers_and_the_same_id_each_time(smtp: SmtpServer) -> None:
    channel = EmailChannel("sales", _box(smtp))
    channel.send(NOTICE)
    channel.send(NOTICE)
    first, second = smtp.mails
    assert first["To"] == "ann@example.com, bob@example.com"
    assert first["Date"] == "Sun, 15 Jun 2025 15:06:40 +0000"
    assert first["Message-ID"] == second["Message-ID"]


def test_no_hostile_string_adds_a_header_or_a_recipient(smtp: SmtpServer) -> None:
    channel = EmailChannel("sales", _box(smtp))
    for text in strings():
        channel.send(replace(NOTICE, to=text, subject=text, body=text, key=text))
    headers = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"]
    body = ["Content-Type", "Content-Transfer-Encoding", "MIME-Version", "X-Peer", "X-MailFrom", "X-RcptTo"]
    assert len(smtp.mails) == 300
    assert all(set(mail.keys()) <= {*headers, *body} for mail in smtp.mails)


def test_a_mail_carries_its_report_as_a_page(smtp: SmtpServer, tmp_path: Path) -> None:
    page = "<!doctype html><p>Größe 漢字 ❤️</p>\r\n.\nFrom me"
    ReportChannel(tmp_path).send(replace(NOTICE, to="report:week", body=page))
    EmailChannel("sales", _box(smtp), tmp_path).send(replace(NOTICE, report="week"))
    [mail] = smtp.mails
    assert isinstance(mail, EmailMessage)
    body, attached = mail.get_body(), [*mail.iter_attachments()]
    assert body is not None
    assert body.get_content().splitlines()[-1] == "Report: var/reports/week.html (attached)"
    assert [(one.get_filename(), one.get_content_type()) for one in attached] == [("week.html", "text/html")]
    assert attached[0].get_content() == page


def test_a_mail_waits_for_its_report_but_not_for_ever(smtp: SmtpServer, tmp_path: Path) -> None:
    channel = EmailChannel("sales", _box(smtp), tmp_path / "reports")
    for tries in range(3):
        with pytest.raises(ChannelError, match=r"week\.html cannot be attached: No such file") as caught:
            channel.send(replace(NOTICE, report="week", tries=tries))
        assert not caught.value.final
    assert smtp.mails == []
    channel.send(replace(NOTICE, report="week", tries=3))
    [mail] = smtp.mails
    assert not mail.is_multipart()
    assert "Report: var/reports/week.html (not attached" in mail.get_payload()


def test_a_mail_waits_only_where_reports_are_kept(smtp: SmtpServer) -> None:
    EmailChannel("sales", _box(smtp)).send(replace(NOTICE, report="week"))
    assert "Report: var/reports/week.html (not attached" in smtp.mails[0].get_payload()


def test_no_name_of_a_report_adds_a_header_or_leads_out_of_the_folder(smtp: SmtpServer, tmp_path: Path) -> None:
    outside, channel = tmp_path / "outside.html", EmailChannel("sales", _box(smtp), tmp_path / "reports")
    outside.write_text("secret")
    for text in ["../outside", "../outside.html", str(outside), *strings()[:60]]:
        ReportChannel(tmp_path / "reports").send(replace(NOTICE, to=f"report:{text}", body="page"))
        channel.send(replace(NOTICE, report=text))
    attached = [part for mail in smtp.mails for part in mail.walk() if part.get_filename()]
    assert {part.get_payload(decode=True) for part in attached} == {b"page"}
    assert len(attached) == 63
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,120}\.html", str(p.get_filename())) for p in attached)


def test_a_report_is_named_in_slack_also_below_a_body_that_is_cut(http: HttpServer) -> None:
    channel = SlackWebhook("sales", http.url)
    channel.send(replace(NOTICE, body="x" * 50_000, report="week"))
    channel.close()
    blocks = json.loads(http.requests[0].body)["blocks"]
    assert blocks[-1]["text"]["text"] == "Report: var/reports/week.html"


@pytest.mark.parametrize(("answer", "final"), [("451 later", False), ("554 never", True)])
def test_a_refused_mail_is_final_only_with_5xx(smtp: SmtpServer, answer: str, final: bool) -> None:
    for smtp.answer, smtp.rcpt_answer in ((answer, ""), ("250 OK", answer)):
        with pytest.raises(ChannelError, match=answer[:3]) as caught:
            EmailChannel("sales", _box(smtp)).send(NOTICE)
        assert caught.value.final is final
    assert smtp.mails == []


def test_nothing_is_sent_unencrypted_to_a_server_without_encryption(smtp: SmtpServer) -> None:
    with pytest.raises(ChannelError, match="set tls") as caught:
        EmailChannel("sales", _box(smtp, "starttls")).send(NOTICE)
    assert caught.value.final
    assert smtp.mails == []


def test_mail_is_encrypted_and_logged_in_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, context = certificate.make(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    server = SmtpServer(context, ("revops", "right"))
    try:
        box = replace(_box(server, "starttls"), username="revops", password="right")
        EmailChannel("sales", box).send(NOTICE)
        with pytest.raises(ChannelError, match="535") as caught:
            EmailChannel("sales", replace(box, password="wrong")).send(NOTICE)
        assert caught.value.final
        assert "wrong" not in str(caught.value)
    finally:
        server.stop()
    assert len(server.mails) == 1
    assert server.logins[0] == ("revops", "right")


def test_a_mail_server_that_cannot_prove_its_name_gets_nothing(tmp_path: Path) -> None:
    _, context = certificate.make(tmp_path)
    server = SmtpServer(context)
    try:
        with pytest.raises(ChannelError, match="CERTIFICATE_VERIFY_FAILED"):
            EmailChannel("sales", _box(server, "starttls")).send(NOTICE)
    finally:
        server.stop()
    assert server.mails == []
