"""Four prime counts side by side on a Ray cluster; without an argument it starts a Ray on this machine.

    python examples/on_ray.py [head:6379]

On other machines the tool's module has to be there too: see docs/ray.md.
"""

import asyncio
import os
import sys

from catp import Agent, tool
from catp.tools import RayPool

PLAN = """
in limits: list[int]
counts = count_primes(each limits) @retry(1) @timeout(30s)
home = where_am_i("x") @pin("local")
there = where_am_i("x")
out counts, home, there
"""


@tool
def count_primes(limit: int) -> int:
    """Count the primes below a limit."""
    sieve = bytearray([1]) * limit
    for n in range(2, int(limit**0.5) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(range(n * n, limit, n)))
    return sum(sieve[2:])


@tool
def where_am_i(text: str) -> str:
    """Say which process started this one."""
    with open(f"/proc/{os.getppid()}/cmdline") as file:
        return file.read().partition("\0")[0]


async def main(address: str | None) -> None:
    async with Agent([count_primes, where_am_i], pools={"default": RayPool(address)}) as agent:
        result = await agent.run(PLAN, {"limits": [1_000_000, 2_000_000, 3_000_000, 4_000_000]})
    print(result.status, dict(result.outputs))
    for row in result.ledger:
        print(row.step, row.element, row.kind, f"{row.quantity:.0f} {row.unit}", f"{row.amount} nano-USD")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
