"""The folder of the trail, read from its end."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from bench import DAY, JANUARY, Bench
from revops_lite.audit import folder

LINES = st.lists(st.binary(max_size=40).map(lambda text: text.replace(b"\n", b"\r")), max_size=12)


@given(LINES, st.booleans(), st.integers(1, 60))
def test_lines_from_the_end_are_the_lines_whatever_pieces_they_are_read_in(
    lines: list[bytes], ended: bool, piece: int
) -> None:
    with TemporaryDirectory() as place:
        path = Path(place) / "2026-01.jsonl"
        path.write_bytes(b"\n".join(lines) + b"\n" * ended)
        found = list(folder.reversed_lines(path, piece))
        assert found[::-1] == list(folder.raw_lines(path))


def test_entries_of_several_months_come_newest_first_and_old_months_are_not_opened(bench: Bench) -> None:
    ids = bench.commit(90, step=DAY)
    bench.seal(bench.sealer())
    found = [id_ for id_, _ in folder.newest_before(bench.folder, ids[80], 0.0)]
    assert found == ids[79::-1]
    (bench.folder / "2026-01.jsonl").write_bytes(b"nobody looks here\n")
    since = JANUARY + 40 * DAY
    assert [id_ for id_, _ in folder.newest_before(bench.folder, None, since)] == ids[:30:-1]
