"""How good is a planner? Regret, Pareto fronts and off-policy estimates over measured candidate plans.

    from catp.training.evaluate import candidate_sets, evaluate

Names are loaded on first use: the harness needs the baselines, and they need this package's contracts.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catp.training.evaluate.candidates import CandidateSet, candidate_sets
    from catp.training.evaluate.harness import evaluate
    from catp.training.evaluate.logged import Logged
    from catp.training.evaluate.ope import Estimate, Refused, estimate
    from catp.training.evaluate.planning import evaluate_planner
    from catp.training.evaluate.regret import Regret
    from catp.training.evaluate.result import Evaluation

__all__ = [
    "CandidateSet", "Estimate", "Evaluation", "Logged", "Refused", "Regret", "candidate_sets", "estimate", "evaluate",
    "evaluate_planner",
]  # fmt: skip

_HOME = {
    "CandidateSet": "catp.training.evaluate.candidates",
    "Estimate": "catp.training.evaluate.ope",
    "Evaluation": "catp.training.evaluate.result",
    "Logged": "catp.training.evaluate.logged",
    "Refused": "catp.training.evaluate.ope",
    "Regret": "catp.training.evaluate.regret",
    "candidate_sets": "catp.training.evaluate.candidates",
    "estimate": "catp.training.evaluate.ope",
    "evaluate": "catp.training.evaluate.harness",
    "evaluate_planner": "catp.training.evaluate.planning",
}


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(module), name)
