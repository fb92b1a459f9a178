"""Whatever stands in the file: settings, or findings with lines; never another error."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from revops_lite.config import examine, seconds, spell
from revops_lite.config.positions import Key, lines_of

EXAMPLE = Path(__file__).with_name("example.toml").read_text()
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
WORDS = sorted(
    {word.strip(" {}\",'=[]") for line in EXAMPLE.splitlines() for word in line.partition("#")[0].split()} - {""}
)
BARE = st.sampled_from([word for word in WORDS if word.replace("_", "").isalnum()])
QUOTED = st.sampled_from(['"deal.amount"', "'lit'", '"a\\"]#b"', '"\\u00e9"'])
KEYS = st.one_of(BARE, QUOTED)
SCALARS = st.sampled_from(
    ["1", "-2.5", "true", "nan", "inf", "1979-05-27", "07:32:00", '"x"', "'y#]'", '"""a\n"b""""', "'''\n]'''", '"90s"']
)


def containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.lists(st.tuples(KEYS, inner), max_size=3, unique_by=lambda pair: pair[0])
    return st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ", # c ]\n ".join(items) + "\n]"),
        pairs.map(lambda items: "{ " + ", ".join(f"{key} = {value}" for key, value in items) + " }"),
    )


VALUES = st.recursive(SCALARS, containers, max_leaves=6)
DOTTED = st.lists(KEYS, min_size=1, max_size=3).map(" . ".join)
LINES = st.one_of(
    st.tuples(DOTTED, VALUES).map(" = ".join),
    DOTTED.map("[{}]".format),
    DOTTED.map("[[ {} ]] # c".format),
    st.sampled_from(["", "# = [ {"]),
)
TOML = st.lists(LINES, max_size=8).map("\n".join)


@CALM
@given(text=st.one_of(st.text(), TOML, TOML.map(lambda text: 'timezone = "UTC"\n' + text)))
def test_any_text_gives_settings_or_findings_and_no_other_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode(errors="replace"))
    found = examine(path, agents=False)
    assert (found.settings is None) == bool(found.findings)
    assert all("\n" not in str(finding) for finding in found.findings)


@CALM
@given(
    cut=st.lists(st.integers(0, EXAMPLE.count("\n")), max_size=3),
    swaps=st.lists(st.tuples(st.integers(0, EXAMPLE.count("\n")), BARE, SCALARS), max_size=3),
)
def test_the_example_with_lines_lost_and_values_changed_gives_findings_inside_the_file(
    tmp_path: Path, cut: list[int], swaps: list[tuple[int, str, str]]
) -> None:
    lines = EXAMPLE.split("\n")
    for at, key, value in swaps:
        lines[at] = f"{key} = {value}"
    text = "\n".join(line for at, line in enumerate(lines) if at not in cut)
    (tmp_path / "config.toml").write_text(text)
    for finding in examine(tmp_path / "config.toml", agents=False).findings:
        assert finding.line is None or 1 <= finding.line <= text.count("\n") + 1


@CALM
@given(text=TOML)
def test_every_key_of_valid_toml_has_the_line_on_which_it_stands(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = lines_of(text)
    assert set(lines) == set(keys_of(data))
    written = text.split("\n")
    for key, line in lines.items():
        if isinstance(key[-1], str):
            assert any(form in written[line - 1] for form in (key[-1], '"a\\"]#b"', '"\\u00e9"'))


def keys_of(value: Any, key: Key = ()) -> list[Key]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [each for part, inner in items for each in [(*key, part), *keys_of(inner, (*key, part))]]


def test_lines_are_found_through_every_form_that_toml_has_for_a_key() -> None:
    text = (
        "a.b . c = 1\n\n"  # 1
        "[x.'y z']  # [no.table]\n"  # 3
        "t = '''\n[not]\n'''\n"  # 4
        'list = [ # ]\n  1, { k = "]" },\n  [\n2]]\n'  # 7
        "[[many]]\nn = 1\n"  # 11
        "[[many]]\nn = 2\n[many.inner]\nq.r = 3.5\n"  # 13
        'inline = { a = 1, "b.c" = [ { d = 1 } ] }'  # 17
    )
    assert lines_of(text) == {
        ("a",): 1,
        ("a", "b"): 1,
        ("a", "b", "c"): 1,
        ("x",): 3,
        ("x", "y z"): 3,
        ("x", "y z", "t"): 4,
        ("x", "y z", "list"): 7,
        ("x", "y z", "list", 0): 8,
        ("x", "y z", "list", 1): 8,
        ("x", "y z", "list", 1, "k"): 8,
        ("x", "y z", "list", 2): 9,
        ("x", "y z", "list", 2, 0): 10,
        ("many",): 11,
        ("many", 0): 11,
        ("many", 0, "n"): 12,
        ("many", 1): 13,
        ("many", 1, "n"): 14,
        ("many", 1, "inner"): 15,
        ("many", 1, "inner", "q"): 16,
        ("many", 1, "inner", "q", "r"): 16,
        ("many", 1, "inner", "inline"): 17,
        ("many", 1, "inner", "inline", "a"): 17,
        ("many", 1, "inner", "inline", "b.c"): 17,
        ("many", 1, "inner", "inline", "b.c", 0): 17,
        ("many", 1, "inner", "inline", "b.c", 0, "d"): 17,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20s", 20),
        ("5m", 300),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("30d", 2592000),
        (90, 90),
        (0.5, 0.5),
        ("1 h 5 m", 3900),
    ],
)
def test_durations_are_read_as_people_write_them(text: object, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "soon", "5", "5x", "s", "-5s", "1h30", "5 m s", True, None, [], "٣s", "1" * 400 + "s"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match='write it like "90s"'):
        seconds(text)


@given(st.integers(1, 10**12))
def test_a_duration_in_words_reads_back_as_the_same(milliseconds: int) -> None:
    assert seconds(spell(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=1e-6)
