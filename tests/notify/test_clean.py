"""Text from outside in each sink: what must never come out, whatever goes in."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from notify.hostile import PIECES, raw_harm, strings

from revops_lite.clean import clean, csv_cell, html_text, json_line, slack_cut, slack_text

ANY_TEXT = st.text(st.characters(codec=None), max_size=80) | st.lists(st.sampled_from(PIECES), max_size=5).map("".join)


def test_plain_text_comes_back_untouched() -> None:
    text = "Acme Ltd – Renewal 2026 (€ 1,200.50) 漢字 naïve ❤️"
    assert clean(text) is text


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b31m", r"\x9b31m"),
        ("a\x7fb\x00", r"a\x7fb\x00"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("pay\u200bpal", r"pay\u200bpal"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\u2028", r"\u2028"),
        ("x\ufe0f", r"x\ufe0f"),
    ],
)
def test_what_moves_hides_or_reorders_is_spelled_out(given_text: str, shown: str) -> None:
    assert clean(given_text) == shown


def test_lines_and_tabs_stay_only_where_they_are_wanted() -> None:
    assert clean("a\r\nb\n\tc\rd", newlines=True) == "a\nb\n\tc\\rd"


def test_every_character_that_unicode_calls_invisible_is_spelled_out() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert raw_harm(clean(every), keep="") == ""
    assert raw_harm(clean(every, newlines=True), keep="\n\t") == ""


@given(ANY_TEXT, st.booleans(), st.none() | st.integers(0, 100))
def test_cleaned_text_is_harmless_short_and_stays_as_it_is(text: str, newlines: bool, limit: int | None) -> None:
    once = clean(text, newlines=newlines, limit=limit)
    assert raw_harm(once, keep="\n\t" if newlines else "") == ""
    assert limit is None or len(once) <= limit
    assert clean(once, newlines=newlines, limit=limit) == once
    once.encode()


def test_a_cut_is_marked() -> None:
    assert clean("abcdef", limit=4) == "abc…"
    assert clean("abcd", limit=4) == "abcd"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\n=1", "\uff1dcmd", "@"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert csv_cell(text).startswith("'")


def test_values_of_every_type_are_cells() -> None:
    cells = [csv_cell(value) for value in (None, -5, 2.5, True, ["=1"], {"a": None}, "plain")]
    assert cells == ["", "-5", "2.5", "true", '["=1"]', '{"a": null}', "plain"]


@given(ANY_TEXT)
def test_a_cell_survives_csv_and_starts_no_formula(text: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerow([csv_cell(text), "next"])
    [[cell, following]] = list(csv.reader(io.StringIO(out.getvalue(), newline="")))
    assert following == "next"
    assert not re.match(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20\t\r]", cell)
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]", cell)


@given(ANY_TEXT)
def test_json_keeps_every_character_and_shows_none_raw(text: str) -> None:
    line = json_line({"text": text})
    assert json.loads(line) == {"text": text}
    assert raw_harm(line, keep="") == ""


def test_json_takes_no_number_that_json_does_not_have() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_line({"x": float("nan")})


@given(ANY_TEXT, st.none() | st.integers(0, 60))
def test_slack_gets_no_mention_no_link_and_no_torn_escape(text: str, limit: int | None) -> None:
    sent = slack_text(text, limit=limit)
    assert "<" not in sent
    assert ">" not in sent
    assert re.sub(r"&(amp|lt|gt);", "", sent).count("&") == 0
    assert not re.search(r"(?<![\w.])@(here|channel|everyone|group)\b", sent, re.IGNORECASE)
    assert limit is None or len(sent) <= limit
    assert raw_harm(sent) == ""


def test_slack_keeps_e_mail_addresses() -> None:
    assert slack_text("write to ann@here.example & co") == "write to ann@here.example &amp; co"


def test_a_cut_leaves_out_a_whole_escape() -> None:
    assert slack_cut(slack_text("ab<"), 5) == "ab"


@given(ANY_TEXT)
def test_html_text_opens_no_tag_and_leaves_no_attribute(text: str) -> None:
    tags: list[tuple[str, list[tuple[str, str | None]]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append((tag, attrs))

    safe = html_text(text)
    Reader().feed(f'<p title="{safe}">{safe}</p>')
    assert [(tag, [name for name, _ in attrs]) for tag, attrs in tags] == [("p", ["title"])]
    assert raw_harm(safe) == ""


def test_the_hostile_table_is_what_it_claims() -> None:
    assert len(strings()) == 300
    assert sum(bool(raw_harm(text, keep="")) for text in strings()) > 100
