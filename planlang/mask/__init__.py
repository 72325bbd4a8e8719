"""The decode mask: an incremental automaton over plan token ids that never dead-ends and never goes over budget."""

from catp.planlang.mask.automaton import PlanMask, State
from catp.planlang.mask.context import Infeasible, MaskContext

__all__ = ["Infeasible", "MaskContext", "PlanMask", "State"]
