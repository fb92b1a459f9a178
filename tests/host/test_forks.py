"""What an agent forks and lets come back does none of our work."""

from __future__ import annotations

import os

import pytest

from revops_lite.host.forks import only_here


@pytest.mark.parametrize("raising", [False, True])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_that_comes_back_ends_where_the_call_ends(raising: bool) -> None:
    child = 0
    with only_here():
        child = os.fork()
        if child == 0 and raising:
            raise SystemExit(7)
    _, status = os.waitpid(child, 0)  # only the parent gets here
    assert os.waitstatus_to_exitcode(status) == 0
