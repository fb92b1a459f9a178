"""What one deal changes in everybody's pay, for thousands of deals.

A rep's payout in a period depends on that rep's own credits alone, in the order of their close dates. A deal that comes
in or goes out moves the credits behind it up or down the quota. A credit that lies inside one tier pays the same
wherever it lies there, and is found in a running sum, one for each tier; only a credit that reaches over the start of a
tier is computed anew, and there is one at most for each. So one deal costs a few searches, not all payouts.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import accumulate

from agents.deals.pay import ZERO, Period, Plan, Sale, commission, paid_for, parts

Place = tuple[date, str]


@dataclass(slots=True)
class Entries:
    """One rep in one period: credits in order with the place of their sale, and what is given back of other periods."""

    places: list[Place] = field(default_factory=list)
    credits: list[Decimal] = field(default_factory=list)
    back: Decimal = ZERO


class Account:
    """A rep's entries with their running sums. `ends` are where each credit ends above zero; credits are never
    negative, so these only rise."""

    def __init__(self, plan: Plan, rep: str, entries: Entries) -> None:
        self.plan, self.quota = plan, plan.quotas.get(rep, plan.quota)
        self.places, self.credits, self.back = entries.places, entries.credits, entries.back
        self.ends = list(accumulate(self.credits))
        self.bounds = [share * self.quota for share, _ in plan.tiers]
        rates = [plan.rate, *(rate for _, rate in plan.tiers)]
        self.sums = [list(accumulate((paid_for(plan, c * rate) for c in self.credits), initial=ZERO)) for rate in rates]

    def start(self, at: int) -> Decimal:
        return self.ends[at - 1] if at else ZERO

    def run(self, at: int, shift: Decimal, past: int) -> Decimal:
        """What the credits from `at` up to `past` pay if all of them lie `shift` higher."""
        paid = ZERO
        for tier, bound in enumerate(self.bounds):
            whole = bisect_right(self.ends, bound - shift, at, past)
            paid += self.sums[tier][whole] - self.sums[tier][at]
            at = whole
            if at < past and (before := self.start(at) + shift) < bound:
                paid += paid_for(self.plan, commission(self.plan, self.quota, before, self.credits[at]))
                at += 1
        return paid + self.sums[-1][past] - self.sums[-1][at]

    def change(self, place: Place, own: Sequence[Decimal], back: Decimal, known: bool) -> Decimal:
        """What the payout is more with a sale's credits and returns than without them; `known`: they are booked."""
        at, past, size = bisect_left(self.places, place), bisect_right(self.places, place), len(self.places)
        before = self.start(at)
        head, moved = self.run(0, ZERO, at), before - self.start(past)
        without = head + self.run(past, moved, size) + self.back - (back if known else ZERO)
        total = head + self.back + (ZERO if known else back)
        for credit in own:
            total += paid_for(self.plan, commission(self.plan, self.quota, before, credit))
            before, moved = before + credit, moved + credit
        total += self.run(past, moved, size)
        return self.plan.rounded(total) - self.plan.rounded(without)


class Ledger:
    """The sales that pay somebody, booked by period and rep. Raises ValueError for a currency without a rate."""

    def __init__(self, plan: Plan, sales: Iterable[Sale]) -> None:
        self.plan = plan
        booked = sorted({sale.id: sale for sale in sales}.values(), key=place)
        self.known = {sale.id for sale in booked}
        self.accounts: list[tuple[Period, dict[str, Account]]] = []
        for period in plan.periods:
            entries: dict[str, Entries] = defaultdict(Entries)
            for sale in booked:
                book(plan, sale, period, entries)
            self.accounts.append((period, {rep: Account(plan, rep, each) for rep, each in entries.items()}))

    def changes(self, sale: Sale) -> dict[str, Decimal]:
        """Rep -> what he is paid more with the sale than without it, where that is anything; it need not be booked."""
        found: dict[str, Decimal] = {}
        for period, accounts in self.accounts:
            entries: dict[str, Entries] = defaultdict(Entries)
            book(self.plan, sale, period, entries)
            for rep, own in entries.items():
                account = accounts.get(rep) or Account(self.plan, rep, Entries())
                change = account.change(place(sale), own.credits, own.back, sale.id in self.known)
                found[rep] = found.get(rep, ZERO) + change
        return {rep: change for rep, change in found.items() if change}


def place(sale: Sale) -> Place:
    """Where a sale stands in the order in which deals are credited."""
    return sale.closed, sale.id


def book(plan: Plan, sale: Sale, period: Period, entries: dict[str, Entries]) -> None:
    """Enter the sale with every rep who is credited or gives back in this period."""
    if not period.has(sale.closed) and not period.has(sale.cancelled):
        return
    for rep, amount, credited in parts(plan, sale, period):
        if credited:
            entries[rep].places.append(place(sale))
            entries[rep].credits.append(amount)
        else:
            entries[rep].back += paid_for(plan, amount * plan.rate)
