"""A person at a terminal: lines shown, single keys and typed lines read. A dumb terminal gives lines for keys."""

from __future__ import annotations

import io
import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import typer

from revops_lite.clean import clean
from revops_lite.cli import out

WIDEST = 100
AT_ONCE = 4096  # bytes: a whole paste, so that none of its letters is taken for a key
BREATH = 0.5  # seconds of one wait for a key
END = "\x04"  # Ctrl-D where single keys are read
STYLES: dict[str, Callable[[str], str]] = {
    "bold": partial(typer.style, bold=True),
    "dim": partial(typer.style, dim=True),
    "red": partial(typer.style, fg="red"),
    "green": partial(typer.style, fg="green"),
    "yellow": partial(typer.style, fg="yellow"),
}


def is_there() -> bool:
    """Whether a person can be asked: stdin and stdout are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


class Terminal:
    """Reading raises EOFError at the end of input (Ctrl-D) and KeyboardInterrupt on Ctrl-C."""

    def __init__(self, colour: bool = True) -> None:
        dumb = os.environ.get("TERM", "dumb") in ("dumb", "unknown", "")
        self._keys = not dumb
        self._colour = colour and not dumb and not os.environ.get("NO_COLOR")
        self._readline: Any = import_module("readline") if self._keys and find_spec("readline") else None
        if isinstance(sys.stdout, io.TextIOWrapper):  # a letter that the terminal does not know must not end a session
            sys.stdout.reconfigure(errors="backslashreplace")

    @property
    def width(self) -> int:
        return max(40, min(out.width(), WIDEST))

    def paint(self, text: str, style: str) -> str:
        """The text in a style, where there are colours; "" is none."""
        return STYLES[style](text) if self._colour and style else text

    def show(self, lines: Iterable[str]) -> None:
        """Lines that are clean already."""
        sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """One line of text from anywhere."""
        self.show([clean(text)])

    def key(self, prompt: str) -> str:
        """One key; where a terminal cannot do that, the line that was typed. Several characters at once, as an arrow
        or a paste brings, are given as they are."""
        if not self._keys:
            return self.line(prompt).strip()
        try:
            with _single_keys() as stdin:
                sys.stdout.write(self.paint(clean(prompt, newlines=True), "bold"))
                sys.stdout.flush()
                # A Ctrl-C that comes just before a read that blocks would be heard at the next key only.
                while not select.select([stdin], [], [], BREATH)[0]:
                    pass
                pressed = os.read(stdin, AT_ONCE).decode(errors="replace") or END
        except (OSError, ValueError, termios.error):  # the terminal has gone
            pressed = END
        if pressed == END:
            self.say("")
            raise EOFError
        pressed = pressed.strip()
        self.say(pressed if len(pressed) == 1 else "")
        return pressed

    def line(self, prompt: str, prefill: str = "") -> str:
        """A typed line; where lines can be edited it begins as `prefill`. Clean text only, else it is asked again."""
        while True:
            answer = self._line(prompt, prefill)
            with suppress(UnicodeEncodeError):
                answer.encode()
                return answer
            self.say("that is no UTF-8 text")

    def _line(self, prompt: str, prefill: str) -> str:
        prompt = clean(prompt, newlines=True)
        if self._readline is None:
            return input(prompt)
        self._readline.set_startup_hook(lambda: self._readline.insert_text(prefill))
        try:
            return input(prompt)
        finally:
            self._readline.set_startup_hook(None)


@contextmanager
def _single_keys() -> Iterator[int]:
    """Stdin gives each key as it is pressed. What was typed before, and so before the question was seen, is dropped."""
    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    tty.setcbreak(stdin, termios.TCSAFLUSH)
    try:
        yield stdin
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
