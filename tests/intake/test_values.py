"""Dates, amounts, currencies and flags as they stand in exports."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revops_lite.intake.values import (
    SYMBOLS,
    amount,
    currency,
    decimal_mark,
    flag,
    header_currency,
    read_order,
    to_iso,
    written,
)

DAYS = st.dates(date(1970, 1, 1), date(2069, 12, 31))
MONEY = st.decimals(Decimal("0.00"), Decimal("999999999.99"), places=2)


@pytest.mark.parametrize(
    ("cell", "iso"),
    [
        ("2026-03-05", "2026-03-05"),
        ("2026-03-05 00:00", "2026-03-05"),
        ("2026-03-05 14:30", "2026-03-05T14:30:00"),
        ("2026-03-05T14:30:00.123Z", "2026-03-05T14:30:00Z"),
        ("2026-03-05T14:30:00+0200", "2026-03-05T14:30:00+02:00"),
        ("2026/03/05", "2026-03-05"),
        ("3/5/2026", "2026-03-05"),
        ("03/05/26 2:05 PM", "2026-03-05T14:05:00"),
        ("3/5/2026 12:05 AM", "2026-03-05T00:05:00"),
        ("5.3.2026", "2026-03-05"),
        ("5-Mar-26", "2026-03-05"),
        ("Mar 5, 2026", "2026-03-05"),
        ("Thu, 5 Mar 2026", "2026-03-05"),
        ("5. März 2026", "2026-03-05"),
        ("1772668800000", "2026-03-05T00:00:00Z"),
        ("2026-02-30", None),
        ("13/13/2026", None),
        ("end of the quarter", None),
        ("12/2026", None),
        ("", None),
        ("9" * 5000, None),
    ],
)
def test_a_date_becomes_iso(cell: str, iso: str | None) -> None:
    assert to_iso(cell, "mdy") == iso


@given(DAYS)
def test_every_day_is_read_as_it_was_written(day: date) -> None:
    iso = day.isoformat()
    assert to_iso(f"{day.day}/{day.month}/{day.year}", "dmy") == iso
    assert to_iso(f"{day.month:02}/{day.day:02}/{day.year}", "mdy") == iso
    assert to_iso(f"{day.day:02}.{day.month:02}.{day.year % 100:02}", "mdy") == iso
    assert to_iso(f"{day:%d %B %Y}", "iso") == to_iso(f"{day:%b %d, %Y}", "iso") == iso
    assert to_iso(iso, "iso") == to_iso(iso, "dmy") == iso


@pytest.mark.parametrize(
    ("cells", "order", "sure"),
    [
        (["1/2/2026", "13/2/2026"], "dmy", True),
        (["1/2/2026", "2/13/2026"], "mdy", True),
        (["1/2/2026", "2/1/2026"], "mdy", False),
        (["2026-01-02", "1.2.2026"], "iso", True),
        ([], "iso", True),
        (["soon"], "iso", True),
    ],
)
def test_the_whole_column_decides_between_day_and_month(cells: list[str], order: str, sure: bool) -> None:
    found = read_order(cells)
    assert (found.order, found.sure) == (order, sure)


def test_a_column_that_could_be_either_is_read_as_the_file_does_elsewhere() -> None:
    assert read_order(["1/2/2026"], "dmy").order == "dmy"
    assert read_order(["1/2/2026", "2/1/2026", "nonsense"]).unread == 1


@pytest.mark.parametrize(
    ("cell", "number", "code"),
    [
        ("12345", "12345", None),
        ("$12,345.00", "12345", "USD"),
        ("12.345,00 €", "12345", "EUR"),
        ("EUR 1 234,50", "1234.50", "EUR"),
        ("1'234.50 CHF", "1234.50", "CHF"),
        ("12k", "12000", None),
        ("€1,5 Mio", "1500000", "EUR"),
        ("$1.2B", "1200000000", "USD"),
        ("12,345", "12345", None),
        ("12.345", "12345", None),
        ("12.345.678", "12345678", None),
        ("₹12,34,567", "1234567", "INR"),
        ("0.125", "0.125", None),
        ("(500)", "-500", None),
        ("-$5", "-5", "USD"),
        ("123456789012345678901.55", "123456789012345678901.55", None),
    ],
)
def test_an_amount_is_exact_and_tells_its_currency(cell: str, number: str, code: str | None) -> None:
    found = amount(cell)
    assert found is not None
    assert (written(found[0]), found[1]) == (number, code)


@pytest.mark.parametrize(
    "cell", ["", "about 12k", "tbd", "5 kg", "USD", "1,2,3", "1.234.5", "$5 €", "NaN", "1e5", "=1+1", "1" * 200]
)
def test_what_is_no_amount_is_none(cell: str) -> None:
    assert amount(cell) is None


@given(MONEY, st.sampled_from(["$", "€", "£", "CHF ", ""]))
def test_every_amount_is_read_as_it_was_written(number: Decimal, sign: str) -> None:
    american = f"{sign}{number:,.2f}"
    european = american.replace(",", "_").replace(".", ",").replace("_", ".")
    for cell in (american, european, american.replace(",", "'"), american.replace(",", "\u202f")):
        found = amount(cell)
        assert found is not None
        assert found[0] == number
        assert (found[1] or "") == SYMBOLS.get(sign, sign.strip())


@given(st.lists(MONEY, min_size=1))
def test_the_column_tells_the_decimal_mark(numbers: list[Decimal]) -> None:
    american = [f"{number:,.2f}" for number in numbers]
    assert decimal_mark(american) == "."
    assert decimal_mark([cell.translate(str.maketrans(",.", ".,")) for cell in american]) == ","


def test_a_lone_mark_before_three_digits_is_what_the_column_says() -> None:
    assert amount("12.345", ".") == (Decimal("12.345"), None)
    assert amount("12.345", ",") == (Decimal("12345"), None)
    assert decimal_mark(["12.345", "1"]) is None


@pytest.mark.parametrize(
    ("cell", "code"),
    [("eur", "EUR"), ("€", "EUR"), ("USD - US Dollar", "USD"), ("US Dollar", None), ("", None), ("XXQ", None)],
)
def test_a_currency_is_its_code(cell: str, code: str | None) -> None:
    assert currency(cell) == code


def test_a_columns_name_can_tell_the_currency() -> None:
    assert [header_currency(each) for each in ("Amount (EUR)", "Value in €", "ACV", "USD or EUR")] == [
        "EUR",
        "EUR",
        None,
        None,
    ]


@given(st.text(max_size=100))
def test_nothing_that_stands_in_a_cell_raises(cell: str) -> None:
    for order in ("dmy", "mdy", "iso"):
        to_iso(cell, order)  # type: ignore[arg-type]
    amount(cell)
    currency(cell)
    header_currency(cell)
    flag(cell)
    decimal_mark([cell])
    read_order([cell])
