"""A thousand calls that are refused one after the other: the slots must not nest once per refusal."""

from catp.planlang.money import usd
from catp.runtime.clock import VirtualClock
from catp.runtime.ledger import Ledger
from catp.runtime.run import execute
from catp.runtime.testing import FakeCatalogue, compiled


async def test_a_thousand_refusals_in_a_row_do_not_nest() -> None:
    clock = VirtualClock()
    tools = FakeCatalogue(clock)
    tools.add("t")
    lines = "\n".join(f"s{n} = t({n})" for n in range(1000))
    plan = compiled(f"{lines}\nout {', '.join(f's{n}' for n in range(1000))}", tools)
    outcome = await execute(plan, {}, tools, ledger=Ledger(usd("0.001")), clock=clock)
    assert outcome.status == "failed"
    assert {step.status for step in outcome.steps.values()} == {"refused"}
    assert len(outcome.refusals) == 1000
    refused = outcome.refusals[0].refused
    assert (refused.needed, refused.available, refused.short, refused.cause) == (
        usd("0.01"), usd("0.001"), usd("0.009"), "spent",
    )  # fmt: skip
