"""Planners: from wanted results to ranked, priced plans. Names are loaded when first used."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from catp.planners.accuracy import AccuracyModel, ConditionModel
    from catp.planners.chat import ChatPlanner
    from catp.planners.intent import Intent, IntentError, read_intent
    from catp.planners.intent_rules import IntentRule
    from catp.planners.protocol import (
        Candidate,
        Objective,
        Planner,
        PlanningFailed,
        PlanRequest,
        Proposal,
        Wanted,
    )
    from catp.planners.search import SearchPlanner
    from catp.planners.terms import Bounds

__all__ = [
    "AccuracyModel",
    "Bounds",
    "Candidate",
    "ChatPlanner",
    "ConditionModel",
    "Intent",
    "IntentError",
    "IntentRule",
    "Objective",
    "PlanRequest",
    "Planner",
    "PlanningFailed",
    "Proposal",
    "SearchPlanner",
    "Wanted",
    "read_intent",
]

_HOMES = {
    "accuracy": ("AccuracyModel", "ConditionModel"),
    "chat": ("ChatPlanner",),
    "intent": ("Intent", "IntentError", "read_intent"),
    "intent_rules": ("IntentRule",),
    "protocol": ("Candidate", "Objective", "PlanRequest", "Planner", "PlanningFailed", "Proposal", "Wanted"),
    "search": ("SearchPlanner",),
    "terms": ("Bounds",),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"catp.planners.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
