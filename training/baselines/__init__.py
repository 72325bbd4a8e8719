"""Planners and choosers to beat.

from catp.training.baselines import BASELINES
chooser = BASELINES["gbm"]()

random, cheapest, cheapest-mean, shortest, longest, frequent     rules
accurate, fixed, table                                           averages of measured plans
gbm, ridge, gbm-advantage, gbm-known                             learned quality, estimated prices
oracle, oracle-price, oracle-score, fixed-hindsight, worst       see the outcomes
"""

from collections.abc import Callable, Mapping
from functools import partial

from catp.training.baselines.chooser import LISTED, Chooser, Prices
from catp.training.baselines.learned import QualityModel
from catp.training.baselines.oracles import Oracle
from catp.training.baselines.prices import StepPrices
from catp.training.baselines.rules import ByLength, Cheapest, MostFrequent, RandomValid
from catp.training.baselines.tables import BestFixed, MostAccurate, TaskTable

__all__ = ["BASELINES", "LISTED", "Chooser", "Prices", "StepPrices"]

BASELINES: Mapping[str, Callable[[], Chooser]] = {
    "random": RandomValid,
    "cheapest": Cheapest,
    "cheapest-mean": partial(Cheapest, "mean"),
    "accurate": MostAccurate,
    "shortest": partial(ByLength, "shortest"),
    "longest": partial(ByLength, "longest"),
    "frequent": MostFrequent,
    "gbm": partial(QualityModel, "gbm"),
    "ridge": partial(QualityModel, "ridge", "ridge"),
    "gbm-advantage": partial(QualityModel, "gbm-advantage", target="advantage"),
    "gbm-known": partial(QualityModel, "gbm-known", known_tasks=True),
    "table": TaskTable,
    "fixed": BestFixed,
    "fixed-hindsight": partial(BestFixed, hindsight=True),
    "oracle-price": partial(Oracle, "price"),
    "oracle-score": partial(Oracle, "score"),
    "oracle": Oracle,
    "worst": partial(Oracle, "worst"),
}
"""Every baseline by the name `catp bench eval --planner` knows it by."""
