"""One of several processes that run many plans at once under one shared budget; started by `test_processes.py`.

    python -m tests.budgets.crowd DATABASE RUNS SEED MODE [--freeze]

MODE `bounded`: what is held is the most a call can cost. `wild`: calls cost up to three times what is held. With
`--freeze` the process stops for good in the middle of its calls, and is to be killed. Prints what it spent, as JSON.
"""

import asyncio
import json
import random
import sys
import time

from catp.budgets import BudgetDesk, transactions_of
from catp.planlang.compile import compile_plan
from catp.planlang.jsonform import to_json
from catp.planlang.money import usd
from catp.planlang.parser import parse
from catp.planlang.printer import to_text
from catp.runtime.clock import WallClock
from catp.runtime.ids import new_run_id
from catp.runtime.ledger import Ledger
from catp.runtime.run import Run
from catp.runtime.slots import Slots
from catp.runtime.testing import FakeCatalogue
from catp.store.records import NewRun
from catp.store.store import RunStore

EXPECTED, MOST = usd("0.01"), usd("0.03")
CALLS, SLOTS = 20, 16


async def main(path: str, runs: int, seed: int, mode: str, freeze: bool) -> None:
    rng, clock = random.Random(seed), WallClock()
    tools = FakeCatalogue(clock)
    made = 0

    def work(x: int) -> int:
        nonlocal made
        made += 1
        if freeze and made == 30:
            print(json.dumps({"frozen": True}), flush=True)
            time.sleep(600)
        return x

    tools.add(
        "t", work, takes_s=lambda _: rng.uniform(0.001, 0.01), actual=lambda _: rng.randint(EXPECTED // 3, MOST),
        p95=MOST if mode == "bounded" else EXPECTED, expected=EXPECTED,
    )  # fmt: skip
    lines = "\n".join(f"s{n} = t({n}){' @retry(1)' if n % 3 == 0 else ''}" for n in range(CALLS))
    plan = parse(f"{lines}\nout {', '.join(f's{n}' for n in range(CALLS))}")
    compiled = compile_plan(plan, tools.view(), estimator=tools)
    store = RunStore(path, busy_s=60)
    desk, slots = BudgetDesk(transactions_of(store.database), "crowd", ttl_s=5.0), Slots(SLOTS)

    async def one() -> dict[str, int]:
        run_id = new_run_id()
        new = NewRun(run_id, compiled.digest, to_text(plan), to_json(plan), CALLS)
        journal = await asyncio.to_thread(store.begin, new)
        run = Run(
            compiled, {}, tools, ledger=Ledger(shared=desk), clock=clock, slots=slots, run_id=run_id, journal=journal,
            about={"project": "crowd"},
        )  # fmt: skip
        async with desk.alive(run_id):
            outcome = await run.wait()
        assert await journal.close() is None
        over = [(row.amount or 0) - EXPECTED for row in outcome.rows if row.overrun]
        told = [e.data["level"] for e in outcome.events if e.type == "run.budget_warning" and "level" in e.data]
        told += [level.level for level in desk.reached()]
        return {"spent": outcome.spent, "calls": len(outcome.rows), "excess": sum(over), "told": told}  # type: ignore[dict-item]

    found = await asyncio.gather(*(one() for _ in range(runs)))
    desk.close()
    store.close()
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], "--freeze" in sys.argv))
