"""The figures of the dashboard's pages of tools and spend are the same from SQLite and from PostgreSQL."""

import json
from decimal import Decimal
from functools import partial

from catp.dashboard.read.budgets import budgets
from catp.dashboard.read.spend import Group, spend
from catp.dashboard.read.tool_page import tool_page
from catp.dashboard.read.tools import tools
from catp.planlang.money import Money
from catp.store import scores
from catp.store.budgets import set_budget
from catp.store.retention import prune
from catp.store.store import RunStore
from tests.dashboard.calls import DAY, NOON, Call, record, usd

SPAN = ("2026-01-01", "2026-01-31")
GROUPS: tuple[Group, ...] = ("tool", "policy", "project", "agent")


async def test_the_pages_of_tools_and_spend(store: RunStore) -> None:
    ids = [
        record(
            store,
            [
                Call("a", cost=100 * (day + 1), size=3, at_ns=NOON + day * DAY),
                Call("b", cost=None, at_ns=NOON + day * DAY),
                Call("a", cost=7, outcome="error", error="Broken", version="2", at_ns=NOON + day * DAY),
            ],
            project="p", agent="bot", quality=0.5,
        )
        for day in range(4)
    ]  # fmt: skip
    store.close()  # waits for the journal
    write, read = store.database.write, store.database.read
    write(lambda c: scores.put(c, ids[0], 0.9, by="me", now_ns=1))
    write(lambda c: set_budget(c, "project", "p", "month", Money(2000), (0.5,), NOON))
    write(lambda c: set_budget(c, "agent", "bot", "total", Money(2000), (), NOON))
    for kept in (4, 3):
        total = 100 + 200 + 300 + 400 + 4 * 7
        board = {row["name"]: row for row in read(partial(tools, since=SPAN[0], until=SPAN[1]))["items"]}
        assert (board["a"]["cost"], board["b"]["cost"], board["b"]["priced"]) == (usd(total), None, False)
        page = read(partial(tool_page, name="a", since=SPAN[0], until=SPAN[1]))
        assert [day["n"] for day in page["history"]] == [2, 2, 2, 2]
        assert {one["version"]: one["n"] for one in page["versions"]} == {"1": kept, "2": kept}
        assert (page["errors"][0]["n"], page["sizes"][0]["n"]) == (kept, kept)
        for group in GROUPS:
            found = read(partial(spend, group=group, since=SPAN[0], until=SPAN[1]))
            assert (found["total"], found["difference"], found["unpriced"]) == (usd(total), "0.00", kept)
            assert sum(Decimal(one["total"] or 0) for one in found["series"]) == Decimal(usd(total))
        hours = read(partial(spend, group="tool", since="2026-01-02", until="2026-01-03", bucket="hour"))
        assert hours["total"] == usd(200 + 300 + 14)
        assert hours["bucket"] == "hour"
        rows = read(partial(budgets, now_ns=NOON + 4 * DAY))
        assert [(row["title"], row["spent"]) for row in rows] == [
            ("agent:bot", usd(total)), ("project:p (per month)", usd(total)),
        ]  # fmt: skip
        assert rows[1]["forecast"] is not None
        json.dumps([board, page, hours, rows])
        write(partial(prune, run_ids=ids[:1]))
