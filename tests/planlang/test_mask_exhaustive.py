"""Small requests, completely: all walks of the mask against all valid plans of an independent oracle."""

from itertools import islice
from random import Random

import pytest

from catp.planlang.mask import Infeasible, PlanMask
from catp.planlang.mask.oracle import every_plan, every_walk
from catp.planlang.mask.worlds import small_context
from catp.planlang.token_ids import encode_ids

MOST = 300


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_the_mask_allows_exactly_the_valid_plans(start: int) -> None:
    compared = 0
    for seed in range(start, start + 20):
        context = small_context(Random(seed))
        plans = {tuple(encode_ids(plan, context.tokens)) for plan in islice(every_plan(context), MOST)}
        if len(plans) == MOST:
            continue
        try:
            walks = list(every_walk(PlanMask(context)))
        except Infeasible:
            assert not plans, f"seed {seed}: refused, but there are plans"
            continue
        assert len(set(walks)) == len(walks)
        assert set(walks) == plans, f"seed {seed}"
        compared += len(plans)
    assert compared > 20
