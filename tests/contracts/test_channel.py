"""What every channel promises, tried on each of them with the real counterpart: a stream, a file, a server."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from notify.hostile import raw_harm, strings
from notify.loopback import HttpServer, Reply, SmtpServer

from revops_lite.errors import ChannelError
from revops_lite.models import OutNotice
from revops_lite.notify.console import ConsoleChannel
from revops_lite.notify.email import EmailChannel, Mailbox
from revops_lite.notify.file import FileChannel
from revops_lite.notify.slack import SlackBot, SlackWebhook
from revops_lite.notify.webhook import WebhookChannel
from revops_lite.ports import Channel
from revops_lite.values import replace

SECRET = "canary-7f3a"
NOTICE = OutNotice("n1", "key-1", "sales", "Deal slipped", "Acme\nmoved to May", 1_750_000_000.0, "r1")


@dataclass
class Case:
    """A channel named "sales", what its sink got (one raw text a notice), and the same channel with the sink gone."""

    channel: Channel
    arrived: Callable[[], list[str]]
    broken: Channel


def _dead_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def http() -> Iterator[HttpServer]:
    server = HttpServer()
    yield server
    server.stop()


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    server = SmtpServer()
    yield server
    server.stop()


def _console(_: pytest.FixtureRequest) -> Case:
    stream, closed = io.StringIO(), io.StringIO()
    closed.close()

    def arrived() -> list[str]:
        return re.split(r"^(?=\d{4}-)", stream.getvalue(), flags=re.MULTILINE)[1:]

    return Case(ConsoleChannel("sales", stream), arrived, ConsoleChannel("sales", closed))


def _file(request: pytest.FixtureRequest) -> Case:
    folder: Path = request.getfixturevalue("tmp_path")
    path, blocked = folder / "new" / "notices.jsonl", folder / "blocked"
    blocked.write_text("a file where a folder is needed")

    def arrived() -> list[str]:
        return path.read_text().splitlines()

    return Case(FileChannel("sales", path), arrived, FileChannel("sales", blocked / "notices.jsonl"))


def _http(request: pytest.FixtureRequest, make: Callable[[str], Channel], answer: bytes = b"ok") -> Case:
    server: HttpServer = request.getfixturevalue("http")
    server.usual = Reply(body=answer)
    return Case(
        make(server.url),
        lambda: [sent.body.decode() for sent in server.requests],
        make(f"http://127.0.0.1:{_dead_port()}"),
    )


def _slack_webhook(request: pytest.FixtureRequest) -> Case:
    return _http(request, lambda url: SlackWebhook("sales", f"{url}/services/{SECRET}"))


def _slack_bot(request: pytest.FixtureRequest) -> Case:
    return _http(request, lambda url: SlackBot("sales", SECRET, "#sales", f"{url}/api"), b'{"ok": true}')


def _webhook(request: pytest.FixtureRequest) -> Case:
    return _http(request, lambda url: WebhookChannel("sales", f"{url}/{SECRET}", SECRET, allow_private=True))


def _email(request: pytest.FixtureRequest) -> Case:
    server: SmtpServer = request.getfixturevalue("smtp")
    box = Mailbox("127.0.0.1", "revops@example.com", ["ann@example.com"], server.port, "none")

    def arrived() -> list[str]:
        texts = [f"Subject: {mail['Subject']}\n{mail.get_content()}" for mail in server.mails]
        return [text.replace("\r\n", "\n") for text in texts]  # mail's own line ends

    return Case(EmailChannel("sales", box), arrived, EmailChannel("sales", replace(box, port=_dead_port())))


CASES = (_console, _file, _slack_webhook, _slack_bot, _webhook, _email)


@pytest.fixture(params=CASES, ids=lambda make: make.__name__.strip("_"))
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    found: Case = request.param(request)
    yield found
    found.channel.close()
    found.broken.close()


def test_a_notice_arrives_with_subject_and_body(case: Case) -> None:
    case.channel.send(NOTICE)
    [seen] = case.arrived()
    assert "Deal slipped" in seen
    assert "Acme" in seen
    assert "moved to May" in seen


def test_whom_it_was_meant_for_is_told_where_the_channel_stands_in(case: Case) -> None:
    case.channel.send(replace(NOTICE, to="person:ann"))
    assert "person:ann" in case.arrived()[0]


def test_a_notice_says_where_its_report_is(case: Case) -> None:
    case.channel.send(replace(NOTICE, report="deal-review-2026-06-15"))
    case.channel.send(replace(NOTICE, id="n2", body="", report="a/b"))
    first, second = case.arrived()
    assert "moved to May" in first
    assert "var/reports/deal-review-2026-06-15.html" in first
    assert "var/reports/a-b-" in second


def test_a_notice_without_words_still_arrives(case: Case) -> None:
    case.channel.send(replace(NOTICE, subject="", body=""))
    assert len(case.arrived()) == 1


def test_no_hostile_string_leaves_its_text(case: Case) -> None:
    table = strings()
    for number, text in enumerate(table):
        case.channel.send(replace(NOTICE, id=f"n{number}", to=text, subject=text, body=text, key=text, report=text))
    arrived = case.arrived()
    assert len(arrived) == len(table)
    assert {raw_harm(seen) for seen in arrived} == {""}


def test_notices_from_many_threads_arrive_whole(case: Case) -> None:
    notices = [replace(NOTICE, id=f"n{n}", subject=f"subject-{n:02}", body="x" * 2000) for n in range(12)]
    senders = [threading.Thread(target=case.channel.send, args=(notice,)) for notice in notices]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    arrived = case.arrived()
    assert sorted(re.findall(r"subject-\d\d", seen)[0] for seen in arrived) == [n.subject for n in notices]
    assert all(seen.count("x" * 100) for seen in arrived)


def test_a_sink_that_is_gone_is_tried_again_and_named_without_its_secret(case: Case) -> None:
    with pytest.raises(ChannelError) as caught:
        case.broken.send(NOTICE)
    assert not caught.value.final
    assert "sales" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert raw_harm(str(caught.value), keep="") == ""


def test_closing_twice_does_no_harm(case: Case) -> None:
    case.channel.close()
    case.channel.close()


def test_a_line_of_a_file_is_the_notice_itself(tmp_path: Path) -> None:
    path = tmp_path / "notices.jsonl"
    for text in strings():
        FileChannel("sales", path).send(replace(NOTICE, subject=text))
    lines: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    assert [line["subject"] for line in lines] == strings()
    assert list(lines[0]) == ["at", "to", "subject", "body", "key"]
    assert lines[0]["at"] == "2025-06-15T15:06:40.000Z"


def test_a_line_names_the_report_where_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "notices.jsonl"
    FileChannel("sales", path).send(replace(NOTICE, report="week"))
    line = json.loads(path.read_text())
    assert list(line) == ["at", "to", "subject", "body", "key", "report"]
    assert (line["body"], line["report"]) == (NOTICE.body, "var/reports/week.html")
