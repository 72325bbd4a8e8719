"""Budgets of projects and agents that several processes draw on at once; kept in the run store.

    catp budgets set project:demo 5 --per day --warn 50%,80%

From then on every run of the project, in any process, holds the money of each call in the store before it makes it.
"""

from catp.budgets.desk import BudgetDesk
from catp.budgets.transactions import transactions_of

__all__ = ["BudgetDesk", "transactions_of"]
