"""The built-in tools on packaged ground truth: price, time, memory, and accuracy by condition.

    .venv/bin/python benchmarks/zoo.py [--quick] [--ship]

Prints the table and writes benchmarks/results/zoo.json, zoo.md and zoo.svg (price against accuracy, one panel per
capability). `--ship` also replaces datasets/profiles/zoo.json, the figures that come with the product. Full run: about
five minutes on a quiet core. CPU time is billed, so a busy machine changes latencies, hardly prices.
"""

import argparse
import asyncio
import json
import os
from pathlib import Path

from catp.tools.bench import BenchReport, run
from catp.tools.builtin import zoo
from catp.tools.catalogue import Catalogue

HERE = Path(__file__).parent
SHIPPED = HERE.parent / "datasets" / "profiles" / "zoo.json"


async def measure(quick: bool) -> BenchReport:
    """Run the bench over every tool that can run here."""
    catalogue = Catalogue(zoo())
    try:
        return await run(catalogue, quick=quick)
    finally:
        await catalogue.close()


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the cases")
    parser.add_argument("--ship", action="store_true", help="replace the profiles that come with the product")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    report = asyncio.run(measure(options.quick))
    results = {**report.to_json(), "load_before": round(before, 2), "load_after": round(os.getloadavg()[0], 2)}
    print(report.table())
    out = HERE / "results"
    out.mkdir(exist_ok=True)
    (out / "zoo.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (out / "zoo.md").write_text(report.table() + "\n", encoding="utf-8")
    (out / "zoo.svg").write_text(report.svg(), encoding="utf-8")
    if options.ship:
        report.profiles.save(SHIPPED)
        SHIPPED.chmod(0o644)
    print(f"{len(report.rows)} tools in {report.seconds:.0f} s")


if __name__ == "__main__":
    main()
