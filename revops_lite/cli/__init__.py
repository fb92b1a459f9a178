"""The command line: parse, one call, print. One file per noun; heavy imports happen inside the commands."""

from __future__ import annotations

import sys


def main() -> None:
    """The `revops` program: exit codes as CONTRACT says, and never a traceback for what a user can mend."""
    from revops_lite.cli.app import app
    from revops_lite.cli.out import complain
    from revops_lite.errors import RevopsError

    try:
        app()
    except RevopsError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `revops run list | head` is no error
        sys.stderr.close()
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
