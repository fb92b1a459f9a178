"""What starts fast has to load little."""

from __future__ import annotations

import subprocess
import sys

import pytest

HELP = "import sys; sys.argv = ['revops', '--help']; from revops_lite.cli import main; main()"


def loaded(code: str) -> set[str]:
    """Modules that are loaded when the code has run, without those that an empty program has."""
    told = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); {code}"
    ended = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return set(ended.stderr.split())


@pytest.mark.parametrize(
    ("code", "most", "heavy"),
    [
        ("import revops_lite", 40, {"redis", "rq", "typer", "httpx", "pydantic", "rich", "jinja2", "asyncio"}),
        (HELP, 165, {"redis", "rq", "httpx", "pydantic", "rich", "jinja2", "asyncio"}),
        ("import revops_lite.bootstrap", 560, {"typer", "httpx", "rich", "jinja2"}),
    ],
    ids=["import revops_lite", "revops --help", "what `revops up` is made of"],
)
def test_little_is_loaded(code: str, most: int, heavy: set[str]) -> None:
    modules = loaded(code) - loaded("pass")
    print(f"{len(modules)} modules")
    assert modules & heavy == set()
    assert len(modules) <= most
