"""Dates, amounts, currencies and yes/no as CRMs and people write them. What cannot be read is None; nothing raises."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from msgspec import Struct

Order = Literal["dmy", "mdy", "iso"]
LONGEST = 60  # characters of anything that is a date or an amount

ZONE = r"(Z|UTC|GMT|[+-]\d{2}:?\d{2})"
CLOCK = rf"(?:,?[T ]\s*(\d{{1,2}}):(\d{{2}})(?::(\d{{2}})(?:[.,]\d{{1,9}})?)?\s*([AaPp])?(?:\.?[Mm]\.?)?\s*{ZONE}?)?"
NUMERIC = re.compile(r"(\d{1,4})([./-])(\d{1,2})\2(\d{2}|\d{4})" + CLOCK)
DAY_NAME = r"(?:[A-Za-z]{2,9}\.?,?\s+)?"
DAY_FIRST = re.compile(DAY_NAME + r"(\d{1,2})(?:st|nd|rd|th|\.)?[\s-]+([^\W\d]{3,9})\.?,?[\s-]+(\d{2}|\d{4})" + CLOCK)
MONTH_FIRST = re.compile(DAY_NAME + r"([^\W\d]{3,9})\.?\s+(\d{1,2})(?:st|nd|rd|th)?,?\s+(\d{4})" + CLOCK)
EPOCH_MS = re.compile(r"\d{13}")
MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan",
            "feb fév",
            "mar mär mrz",
            "apr avr",
            "may mai",
            "jun",
            "jul",
            "aug aoû",
            "sep",
            "oct okt",
            "nov",
            "dec dez déc",
        ),
        start=1,
    )
    for name in names.split()
}

SYMBOLS = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "₩": "KRW", "₺": "TRY", "zł": "PLN", "Kč": "CZK"}
SYMBOLS |= {"US$": "USD", "A$": "AUD", "AU$": "AUD", "C$": "CAD", "CA$": "CAD", "NZ$": "NZD", "HK$": "HKD", "S$": "SGD"}
SYMBOLS |= {"R$": "BRL", "MX$": "MXN", "Fr.": "CHF", "SFr.": "CHF", "₪": "ILS"}
KNOWN = (
    "USD EUR GBP JPY CHF CAD AUD NZD SEK NOK DKK PLN CZK HUF RON BGN TRY ILS INR CNY HKD SGD KRW TWD THB MYR IDR PHP"
    " BRL MXN ARS CLP COP PEN ZAR AED SAR EGP NGN KES UAH"
)
CODES = frozenset(KNOWN.split())
SIZES = {"k": 3, "tsd": 3, "m": 6, "mm": 6, "mn": 6, "mio": 6, "million": 6, "b": 9, "bn": 9, "mrd": 9}
SIGN = "|".join(re.escape(sign) for sign in sorted(SYMBOLS, key=len, reverse=True)) + "|[A-Z]{3}"
SIZE = "|".join(sorted(SIZES, key=len, reverse=True))
AMOUNT = re.compile(rf"({SIGN})?\s*(-)?\s*({SIGN})?\s*(\d[\d.,' ]*)\s*({SIZE})?\.?\s*({SIGN})?")
BARE_SIZE = re.compile(rf"(?<=[\d ])({SIZE})\b", re.IGNORECASE)
SPACES = str.maketrans({"\xa0": " ", "\u2009": " ", "\u202f": " ", "’": "'", "−": "-"})

YES = frozenset(("true", "yes", "y", "t", "1", "1.0", "x", "ja", "oui", "vrai", "si", "sí", "wahr"))
NO = frozenset(("false", "no", "n", "f", "0", "0.0", "nein", "non", "faux", "falsch"))


# ---- dates ----------------------------------------------------------------------------------------------------------


class Reading(Struct, frozen=True):
    """How a column's dates are read: `sure` where at least one cell allows no other order of day and month."""

    order: Order
    sure: bool
    unread: int  # cells that are no date in this order


def read_order(cells: Iterable[str], usual: Order = "mdy") -> Reading:
    """The order of day and month by the whole column; `usual` where every cell could be either."""
    cells = list(cells)
    pairs = [(int(found[1]), int(found[3])) for cell in cells if (found := _either(cell))]
    day_first = sum(first > 12 for first, _ in pairs)
    month_first = sum(second > 12 for _, second in pairs)
    order: Order = "iso" if not pairs else usual
    if day_first != month_first:
        order = "dmy" if day_first > month_first else "mdy"
    unread = sum(to_iso(cell, order) is None for cell in cells)
    return Reading(order, not pairs or day_first + month_first > 0, unread)


def _either(cell: str) -> re.Match[str] | None:
    """A date whose day and month might be either way round by its form."""
    found = NUMERIC.fullmatch(cell) if len(cell) <= LONGEST else None
    return found if found and len(found[1]) <= 2 and found[2] != "." else None


@lru_cache(maxsize=100_000)
def to_iso(cell: str, order: Order) -> str | None:
    """ "2026-03-05", or with its time "2026-03-05T14:30:00" and its zone, if it names one."""
    cell = cell.strip()
    if len(cell) > LONGEST:
        return None
    if EPOCH_MS.fullmatch(cell):
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(cell))).strftime("%Y-%m-%dT%H:%M:%SZ")
    if found := NUMERIC.fullmatch(cell):
        first, sign, second, third, *clock = found.groups()
        if len(first) == 4:
            return _iso(first, second, third, clock) if len(third) == 2 else None
        if len(first) == 3 or (sign != "." and order == "iso"):
            return None
        day, month = (second, first) if sign != "." and order == "mdy" else (first, second)
        return _iso(third, month, day, clock)
    if found := DAY_FIRST.fullmatch(cell):
        day, name, year, *clock = found.groups()
    elif found := MONTH_FIRST.fullmatch(cell):
        name, day, year, *clock = found.groups()
    else:
        return None
    number = MONTHS.get(name.lower()[:3])
    return _iso(year, str(number), day, clock) if number else None


def _iso(year: str, month: str, day: str, clock: list[str]) -> str | None:
    """`clock`: hour, minute, second, "a" or "p", zone; each may be None."""
    full = int(year) + (0 if len(year) == 4 else 2000 if int(year) < 70 else 1900)
    hour, minute, second, half, zone = clock
    try:
        text = date(full, int(month), int(day)).isoformat()
        hours = int(hour or 0) % 12 + 12 * (half.lower() == "p") if half else int(hour or 0)
        at = time(hours, int(minute or 0), int(second or 0))
    except ValueError:
        return None
    if not 1900 <= full <= 2200:
        return None
    if not any((at.hour, at.minute, at.second)):
        return text
    ours = "" if not zone else "Z" if zone.isalpha() else zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
    return f"{text}T{at.isoformat()}{ours}"


# ---- amounts --------------------------------------------------------------------------------------------------------


def decimal_mark(cells: Iterable[str]) -> str | None:
    """ "." or ",", where the column's cells prove it; None where none does."""
    proven = {".": 0, ",": 0}
    for cell in cells:
        found = _amount(cell)
        marks = [letter for letter in found[4] if letter in ".,"] if found else []
        if found and len(set(marks)) == 2:
            proven[marks[-1]] += 1
        elif found and len(marks) == 1 and not found[5] and len(found[4].strip().rpartition(marks[0])[2]) != 3:
            proven[marks[0]] += 1
        elif len(marks) > 1:
            proven["," if marks[0] == "." else "."] += 1
    return None if proven["."] == proven[","] else max(proven, key=lambda mark: proven[mark])


def amount(cell: str, mark: str | None = None) -> tuple[Decimal, str | None] | None:
    """An exact amount and the currency that the cell names. `mark` is the column's decimal mark, if that is known."""
    found = _amount(cell)
    if found is None:
        return None
    before, minus, behind, digits, size, after = found.groups()
    signs = [sign for sign in (before, behind, after) if sign]
    currencies = {SYMBOLS.get(sign, sign) for sign in signs}
    if len(currencies) > 1 or not all(sign in SYMBOLS or sign in CODES for sign in signs):
        return None
    plain = _plain(digits.strip(), mark, sized=bool(size))
    if plain is None:
        return None
    number = Decimal(plain).scaleb(SIZES[size] if size else 0)
    return (-number if minus or cell.strip().startswith("(") else number), next(iter(currencies), None)


def written(number: Decimal) -> str:
    """As text without an exponent and without needless zeros: "12345", "12345.50"."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text and not text.partition(".")[2].strip("0") else text


def _amount(cell: str) -> re.Match[str] | None:
    cell = " ".join(cell.translate(SPACES).split())
    if len(cell) > LONGEST:
        return None
    if cell.startswith("(") and cell.endswith(")"):
        cell = cell[1:-1]
    return AMOUNT.fullmatch(BARE_SIZE.sub(lambda size: size[0].lower(), cell))


def _plain(digits: str, mark: str | None, *, sized: bool) -> str | None:
    """The digits as Decimal takes them."""
    if re.search("[ ']", digits):
        if not re.fullmatch(r"\d{1,3}(?:[ ']\d{3})+(?:[.,]\d+)?", digits):
            return None
        digits = re.sub("[ ']", "", digits)
        return digits.replace(",", ".")
    marks = [letter for letter in digits if letter in ".,"]
    if not marks:
        return digits
    last = marks[-1]
    if len(set(marks)) == 2:
        group = "," if last == "." else "."
        grouped = rf"\d{{1,3}}(?:\{group}\d{{2,3}})+\{last}\d+"
        return digits.replace(group, "").replace(last, ".") if re.fullmatch(grouped, digits) else None
    if len(marks) > 1:
        grouped = rf"\d{{1,3}}(?:\{last}\d{{2,3}})*\{last}\d{{3}}"
        return digits.replace(last, "") if re.fullmatch(grouped, digits) else None
    thousands = re.fullmatch(r"[1-9]\d{0,2}[.,]\d{3}", digits) and mark != last and not sized
    return digits.replace(last, "") if thousands else digits.replace(last, ".").rstrip(".")


# ---- the rest -------------------------------------------------------------------------------------------------------


def currency(cell: str) -> str | None:
    """The ISO code of a currency: "EUR" of "eur", "€" and "EUR - Euro"."""
    cell = cell.strip()
    if cell in SYMBOLS:
        return SYMBOLS[cell]
    words = re.findall(r"[A-Za-z]+", cell[:LONGEST].upper())
    named = [word for word in words if word in CODES]
    return named[0] if len(named) == 1 and (len(words) == 1 or cell[:3].upper() == named[0]) else None


def header_currency(column: str) -> str | None:
    """The currency that a column's name tells: "Amount (EUR)", "Value in €"."""
    found = re.findall(rf"(?<![A-Za-z])(?:{SIGN})(?![A-Za-z])", column)
    known = {SYMBOLS.get(sign, sign) for sign in found if sign in SYMBOLS or sign in CODES}
    return known.pop() if len(known) == 1 else None


def flag(cell: str) -> bool | None:
    word = cell.strip().lower()
    return True if word in YES else False if word in NO else None
