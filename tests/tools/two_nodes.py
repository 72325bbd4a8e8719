"""Run by `test_ray_pool.py` in a process of its own: a cluster of two nodes, one of which is lost during a call."""

import asyncio
import json
import sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from catp.agent import Agent
from catp.planlang.parser import parse
from catp.tools.adapters.ray_pool import RayPool
from tests.tools import on_ray

PLAN = 'in m: text\na = stay_once(m) @retry(1)\nb = count(a) @pin("local")\nout b\n'


async def main(mark: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    lost = cluster.add_node(num_cpus=1)
    pools = {"default": RayPool(cluster.address)}
    async with Agent(on_ray.CATALOGUE, pools=pools) as agent:
        running = asyncio.ensure_future(agent.run(parse(PLAN), {"m": str(mark)}))
        while not mark.exists() and not running.done():  # noqa: ASYNC110, ASYNC240  a file has no event
            await asyncio.sleep(0.02)
        cluster.remove_node(lost, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        result = await running
    ray.shutdown()
    cluster.shutdown()  # type: ignore[no-untyped-call]  # else every Ray program of this machine finds its address
    rows = [(row.step, row.attempt, row.kind, row.amount, row.source) for row in result.ledger]
    settled = [(e.step, e.attempt, e.data["outcome"]) for e in result.trace if e.type == "node.settled"]
    print(json.dumps({"outputs": dict(result.outputs), "spent": result.spent, "rows": rows, "settled": settled}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
