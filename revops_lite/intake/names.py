"""What a deal has, which field holds it, and how CRMs and people head such a column. The order is that of the table
that is shown; the first of several spellings that a file has wins.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from msgspec import Struct

Content = Literal["id", "text", "date", "amount", "currency", "flag", "percent", "count"]


class Role(Struct, frozen=True):
    """`field` is HubSpot's name, which the agents know; "" for what is only read to tell open from closed deals."""

    name: str
    field: str
    content: Content
    spellings: str  # separated by ", "
    without: str = ""  # what it means that no column has it


ROLES = (
    Role(
        "id",
        "",
        "id",
        "record id, deal id, opportunity id, opp id, potential id, deal record id, opportunity record id, id, dealid,"
        " opportunityid, deal number, number, deal no, no, nr, uuid, guid, key, hs object id",
    ),
    Role(
        "name",
        "dealname",
        "text",
        "deal name, dealname, opportunity name, potential name, lead name, name, title, deal title, deal, opportunity,"
        " subject, topic, bezeichnung, titel",
        "deals are called by their ids",
    ),
    Role(
        "stage",
        "dealstage",
        "text",
        "deal stage, dealstage, stage, stage name, opportunity stage, pipeline stage, sales stage, phase,"
        " current stage, status label, etappe, etape, etapa",
        "stage_age cannot be checked, and forecasts know no stage",
    ),
    Role(
        "status",
        "",
        "text",
        "deal status, close outcome, outcome, opportunity status, status, status type, result, state, won lost",
    ),
    Role("closed flag", "", "flag", "is closed, is closed numeric, hs is closed, closed, isclosed, is deal closed"),
    Role("won flag", "", "flag", "is closed won, hs is closed won, won, is won, iswon, closed won"),
    Role(
        "amount",
        "amount",
        "amount",
        "amount, deal amount, deal value, value, opportunity amount, opportunity value, est revenue,"
        " estimated acv, acv, tcv, contract value,"
        " total contract value, arr, annual contract value, amount in company currency, total value, deal size, size,"
        " price, revenue, total, mrr, expected revenue, betrag, wert, montant, importe, valor",
        "every deal is flagged amount_missing",
    ),
    Role(
        "currency",
        "deal_currency_code",
        "currency",
        "currency, deal currency code, currency code, deal currency, currency of value, amount currency,"
        " currency iso code, opportunity currency, value currency, wahrung, waehrung, devise, moneda",
        "amounts count in the currency of the pay plan",
    ),
    Role(
        "close date",
        "closedate",
        "date",
        "close date, closedate, expected close date, expected close, expected closing date, closing date,"
        " estimated close date, est close date, estimated close, expected close at, target close date, target close,"
        " projected close date, forecast close date, close, closes, due date, abschlussdatum, date de cloture,"
        " fecha de cierre",
        "slipped_close cannot be checked, and forecasts have no month",
    ),
    Role(
        "closed at",
        "closed_at",
        "date",
        "closed at, closed time, closed date, closed on, actual close date, date closed, close time, won time,"
        " date won, won lost date, won date, lost time",
    ),
    Role(
        "create date",
        "createdate",
        "date",
        "create date, createdate, created date, created at, deal created, date created, created, creation date,"
        " created time, created on, add time, date added, opened, open date, erstellt am, erstellt, erstellungsdatum,"
        " date de creation, fecha de creacion",
        "the age of a deal is unknown",
    ),
    Role(
        "stage date",
        "hs_v2_date_entered_current_stage",
        "date",
        "date entered current stage, hs v2 date entered current stage, last stage change date, last stage change,"
        " stage changed, stage change date, stage entered at, stage entered, date entered stage, stage date,"
        " in stage since, stage since, status change date",
        "stage_age compares a deal's whole age with the whole way of won deals",
    ),
    Role(
        "last activity",
        "notes_last_updated",
        "date",
        "last activity date, last activity, last activity at, last activity time, notes last updated, last contacted,"
        " last contact, last contact date, last touched, last touch, last engagement date, last engagement,"
        " last communication date, last communication, last interaction, letzte aktivitat",
        "stale_activity counts from the create date",
    ),
    Role(
        "next step",
        "hs_next_step",
        "text",
        "next step, next steps, hs next step, nextstep, next action, next activity, next activity subject, next task,"
        " next activity date, todo, nachster schritt",
        "every deal is flagged no_next_step",
    ),
    Role(
        "owner",
        "hubspot_owner_id",
        "text",
        "deal owner, opportunity owner, owner, owner name, owner full name, hubspot owner id, deal owner id, owner id,"
        " owner email, owner rep id, sales rep, rep, account executive, ae, seller, salesperson, sales person,"
        " sales owner, owned by, user responsible,"
        " assigned to, assigned user, responsible, user, verantwortlich, zustandig, proprietaire, propietario",
        "summaries and pay cannot be told apart by person",
    ),
    Role(
        "company",
        "company",
        "text",
        "company, company name, account name, account, organization, organization name, organisation,"
        " associated company, associated company primary, primary associated company, primary company, customer,"
        " customer name, client, lead, firma, kunde, unternehmen",
    ),
    Role("probability", "probability", "percent", "probability, deal probability, win probability, confidence"),
    Role("moves of the close date", "close_date_moves", "count", "push count, close date push count, close date moves"),
)
BY_NAME = {role.name: role for role in ROLES}
OBJECT = {"deal", "opportunity", "opp", "potential", "lead"}  # what some CRMs put in front of every name


def plain(column: str) -> str:
    """For comparing names: "deal expected close date" of "Deal - Expected close date" and "Deal_ExpectedCloseDate"."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", column)
    letters = unicodedata.normalize("NFKD", split.replace("%", " pct ")).encode("ascii", "ignore").decode().lower()
    return " ".join(re.findall(r"[a-z0-9]+", letters))


def variants(column: str) -> tuple[str, ...]:
    """A column's name as it may be spelled in ROLES: whole, without what is in brackets, without "deal" in front."""
    found = [plain(column), plain(re.sub(r"[(\[].*?[)\]]", " ", column))]
    words = found[-1].split()
    if len(words) > 1 and words[0] in OBJECT:
        found.append(" ".join(words[1:]))
    return tuple(dict.fromkeys(name for name in found if name))


def field_name(column: str) -> str:
    """The field of a column that no role claims: "amount_in_eur" of "Amount in EUR"."""
    return re.sub(r"[^\w]+", "_", column.strip().lower()).strip("_") or "column"
