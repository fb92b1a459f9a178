"""The command line: parse, one call, print. One file per noun; heavy imports happen inside the commands."""

from __future__ import annotations

import atexit
import errno
import gc
import sys

# What is imported stays, and what a decision makes is no ring, or is kept for long: looking through all of it often
# takes a tenth of a start, and of `up`'s work.
GC_THRESHOLDS = (20_000, 20, 50)


def main() -> None:
    """The `revops` program: exit codes as CONTRACT says, and never a traceback for what a user can mend."""
    gc.set_threshold(*GC_THRESHOLDS)
    atexit.register(gc.freeze)  # a program that ends need not look for rings: up to a fifth of a command's time
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
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f"{error.filename}: " if error.filename else ""
        complain(f"{where}{error.strerror}. Mend: make room on the disk of the installation, then try again")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
