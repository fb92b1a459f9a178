"""A plain deals export of any CRM, understood: which column holds what, how dates and amounts are read, which deals
are closed. Pure: a table of text in, records and sentences out.
"""

from revops_lite.intake.columns import Guess, Table, guess
from revops_lite.intake.configuration import deal_review_only
from revops_lite.intake.records import Intake, intake
from revops_lite.intake.report import shown, told

__all__ = ["Guess", "Intake", "Table", "deal_review_only", "guess", "intake", "shown", "told"]
