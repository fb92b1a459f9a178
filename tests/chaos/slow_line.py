"""A line to a server that takes its time: whatever the server answers arrives later by a fixed time."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self


class SlowLine:
    """Listens at `at` and passes everything on to `server`, both unix sockets. Answers are late by `delay` seconds.

    What is under way may overtake nothing, but a second answer does not wait for the first to arrive: a line is slow,
    not narrow. `carried` counts pieces of answers.
    """

    def __init__(self, at: Path, server: Path, delay: float) -> None:
        self.at = at
        self.delay = delay
        self.carried = 0
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(at))
        self._listener.listen(64)
        self._ends: list[socket.socket] = []

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # closed
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(str(self._server))
            except OSError:
                near.close()
                continue
            self._ends += [near, far]
            late: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
            for body, words in ((_pass_on, (near, far)), (self._hold_up, (far, late)), (_deliver, (late, near))):
                threading.Thread(target=body, args=words, daemon=True).start()

    def _hold_up(self, far: socket.socket, late: SimpleQueue[tuple[float, bytes]]) -> None:
        data = b"first"
        while data:
            data = _received(far)
            self.carried += 1
            late.put((time.monotonic() + self.delay, data))

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in (self._listener, *self._ends):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(1 << 16)
    except OSError:
        return b""


def _pass_on(near: socket.socket, far: socket.socket) -> None:
    while data := _received(near):
        try:
            far.sendall(data)
        except OSError:
            break
    _hang_up(far)


def _deliver(late: SimpleQueue[tuple[float, bytes]], near: socket.socket) -> None:
    while True:
        due, data = late.get()
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            near.sendall(data)
        except OSError:
            return
        if not data:
            _hang_up(near)
            return


def _hang_up(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
