"""A Redis proxy on a unix socket that counts the commands which change something, and can strike at any of them.

Each such command is a *boundary*. A `Strike` names one by its number and says what happens there:

| how          | what                                                                                       |
|--------------|--------------------------------------------------------------------------------------------|
| kill before  | the client process is killed (SIGKILL); Redis never sees the command                       |
| kill after   | Redis has carried the command out; the client process is killed without its reply          |
| cut before   | the connection is cut; Redis never sees the command; the client lives                      |
| reply lost   | Redis has carried the command out; the connection is cut without the reply; the client lives |
| half a reply | the same, after half of the reply's bytes                                                  |
| delay        | the command waits for `seconds`                                                            |
| call         | the proxy calls `then()` first, then goes on: something else happens right before          |

Reads are no boundaries: a crash at one leaves what the boundary before it has left. Nor is what a subscriber hears: it
is lost with its connection, as in life.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

HOWS = ("kill before", "kill after", "cut before", "reply lost", "half a reply", "delay", "call")
READS = frozenset(
    b"GET MGET HGET HMGET HGETALL HLEN HEXISTS HKEYS ZRANGE ZRANGEBYSCORE ZCARD ZSCORE ZCOUNT XRANGE XREVRANGE XLEN "
    b"XREAD XINFO LRANGE LLEN LINDEX SMEMBERS SISMEMBER SCARD EXISTS TTL TYPE SCAN KEYS INFO PING CONFIG HELLO CLIENT "
    b"AUTH SELECT SCRIPT DBSIZE MEMORY COMMAND EVAL_RO EVALSHA_RO SUBSCRIBE UNSUBSCRIBE TIME ECHO".split()
)


@dataclass(slots=True)
class Strike:
    """What happens at the `at`-th boundary (from 1) of those whose label contains `label`."""

    at: int
    how: str
    label: str = ""
    seconds: float = 0.0
    then: Callable[[], None] | None = None
    fired: bool = False
    seen: int = 0

    def __post_init__(self) -> None:
        assert self.how in HOWS, self.how


class _Cut(Exception):
    """The connection ends here."""


@dataclass
class Proxy:
    """Listens at `front`, forwards to `back`. `label(words)` names a command for `Strike.label` and for `seen`."""

    front: Path
    back: Path
    label: Callable[[list[bytes]], str] = lambda words: words[0].decode("latin-1")
    strikes: list[Strike] = field(default_factory=list)
    boundaries: int = 0
    commands: int = 0
    seen: list[str] = field(default_factory=list)
    fired: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.front))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def begin(self, *strikes: Strike) -> None:
        """Count from 1 again, with these strikes."""
        with self._lock:
            self.strikes, self.boundaries, self.commands, self.seen = list(strikes), 0, 0, []

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.front.unlink(missing_ok=True)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        pid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        with client, server, contextlib.suppress(_Cut, OSError):
            server.connect(str(self.back))
            talk = _Talk(client, server, pid)
            while True:
                self._exchange(talk)

    def _exchange(self, talk: _Talk) -> None:
        """One or several commands that came together, one after the other, and then their replies."""
        replies, subscribed = b"", False
        for raw, words in talk.requests():
            subscribed = subscribed or words[0].upper() == b"SUBSCRIBE"
            strike = self._count(words)
            if strike is not None:
                self._before(strike, talk)
            talk.server.sendall(raw)
            reply = talk.reply()
            if strike is not None:
                self._after(strike, talk, reply)
            replies += reply
        talk.client.sendall(replies)
        if subscribed:
            talk.listen()

    def _count(self, words: list[bytes]) -> Strike | None:
        with self._lock:
            self.commands += 1
            name = self.label(words)
            if words[0].upper() in READS:
                return None
            self.boundaries += 1
            self.seen.append(name)
            for strike in self.strikes:
                if not strike.fired and strike.label in name:
                    strike.seen += 1
                    if strike.seen == strike.at:
                        strike.fired = True
                        self.fired[strike.how] += 1
                        return strike
        return None

    def _before(self, strike: Strike, talk: _Talk) -> None:
        match strike.how:
            case "kill before":
                kill(talk.pid)
                raise _Cut
            case "cut before":
                raise _Cut
            case "delay":
                time.sleep(strike.seconds)
            case "call":
                assert strike.then is not None
                strike.then()

    def _after(self, strike: Strike, talk: _Talk, reply: bytes) -> None:
        match strike.how:
            case "kill after":
                kill(talk.pid)
                raise _Cut
            case "reply lost":
                raise _Cut
            case "half a reply":
                talk.client.sendall(reply[: len(reply) // 2])
                raise _Cut


class _Talk:
    """One client's connection and its own to the server, with what of both has been read too far."""

    def __init__(self, client: socket.socket, server: socket.socket, pid: int) -> None:
        self.client, self.server, self.pid = client, server, pid
        self._asked = b""
        self._answered = b""

    def requests(self) -> Iterator[tuple[bytes, list[bytes]]]:
        """The next command, and all that have come whole together with it."""
        first = True
        while True:
            end, words = _command(self._asked)
            if end:
                raw, self._asked = self._asked[:end], self._asked[end:]
                yield raw, words
                first = False
            elif not first and not self._asked:
                return
            else:
                self._asked += _received(self.client)

    def reply(self) -> bytes:
        while not (end := _reply_end(self._answered, 0)):
            self._answered += _received(self.server)
        reply, self._answered = self._answered[:end], self._answered[end:]
        return reply

    def listen(self) -> None:
        """From now on the server speaks without being asked."""
        self.client.sendall(self._answered)
        self._answered = b""
        while True:
            for side in select.select([self.client, self.server], [], [])[0]:
                other = self.server if side is self.client else self.client
                other.sendall(_received(side))


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _received(side: socket.socket) -> bytes:
    data = side.recv(1 << 18)
    if not data:
        raise _Cut
    return data


def _command(data: bytes) -> tuple[int, list[bytes]]:
    """Where the first command ends and its words; (0, []) where it is not all there."""
    head = data.find(b"\r\n")
    if head < 0:
        return 0, []
    words, at = [], head + 2
    for _ in range(int(data[1:head])):
        end = data.find(b"\r\n", at)
        if end < 0:
            return 0, []
        size = int(data[at + 1 : end])
        at = end + 2 + size + 2
        if len(data) < at:
            return 0, []
        words.append(data[end + 2 : at - 2])
    return at, words


def _reply_end(data: bytes, at: int) -> int:
    """Where the reply that begins at `at` ends; 0 where it is not all there."""
    head = data.find(b"\r\n", at)
    if head < 0:
        return 0
    kind, rest = data[at : at + 1], head + 2
    if kind == b"$":
        size = int(data[at + 1 : head])
        end = rest if size < 0 else rest + size + 2
        return end if end <= len(data) else 0
    if kind == b"*":
        for _ in range(max(0, int(data[at + 1 : head]))):
            rest = _reply_end(data, rest)
            if not rest:
                return 0
    return rest
