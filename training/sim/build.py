"""Building the shipped simulated data: `datasets/catp-sim`, the same bytes for the same seed and calibration.

    calibration.json          what the simulator was fitted to, and how well simulated calls agree with it
    worlds.json               every world: seed, size, split, price tables, tasks; enough to make it again
    toolsets/ID.json          the tools of each world (and price table)
    logged/SPLIT.jsonl.gz     one plan per input, drawn by the behaviour mixture, with its propensity
    sets/SPLIT.jsonl.gz       4 to 20 plans per input
    digests.json              SHA-256 of every file's uncompressed content

Splits: `train`, `val` and `test` have worlds of their own, so that tools and tasks of val and test were never seen;
`prices` has worlds of train under a price table that was not (its records are on the `test` side, as other groups).
"""

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catp.training.data.files import read, write
from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import Policy, Split, SplitName, ToolsetRef, Trajectory
from catp.training.sim.behaviour import Pool
from catp.training.sim.calibrate import Calibration, fit_calls
from catp.training.sim.calls import Call, calls_of
from catp.training.sim.defaults import profile_calls, tool_calls
from catp.training.sim.families import tasks
from catp.training.sim.goodness import goodness
from catp.training.sim.run import Simulation, toolset_id
from catp.training.sim.task import Case, Task
from catp.training.sim.world import World

__all__ = ["HELD_OUT_TABLE", "LOGGED", "SETS", "build", "logged", "measured_calls", "shipped_worlds"]

LOGGED, SETS = "catp-sim/logged", "catp-sim/sets"
HELD_OUT_TABLE = 9
"""The price table of the `prices` split."""
_SETS_FROM = 100_000
"""Cases of candidate sets are numbered from here on, so that no input is in both data sets."""
_TASKS = 12
_POOL = 24


@dataclass(frozen=True)
class Plot:
    """One world's share of a split."""

    world: World
    split: str
    table: int = 0

    @property
    def side(self) -> SplitName:
        """The side of the main split."""
        return "val" if self.split == "val" else "train" if self.split == "train" else "test"


def build(
    out: Path, seed: int = 1, *, inputs: int = 4_000, worlds: int = 40, measured: Path | None = None,
    fitted: Path | None = None, progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """Write the data set; return what `digests.json` holds.

    Args:
        out: The folder, made if it is missing; files of an earlier build are replaced.
        seed: Decides everything but the calibration.
        inputs: Requests in all; two fifths get candidate sets.
        worlds: Worlds in all, from 5 to 500 tools.
        measured: A folder of measured trajectories to calibrate on; by default the zoo's shipped profiles.
        fitted: A `calibration.json` of an earlier build to use as it is; nothing is fitted then.
        progress: Called with a line per step.
    """
    calls, source = ([], "") if fitted is not None else measured_calls(measured)
    kept = fitted.read_bytes() if fitted is not None else None  # `fitted` may lie where this build writes its own
    calibration = Calibration.load(fitted) if fitted is not None else fit_calls(calls, source=source)
    plots = shipped_worlds(seed, worlds, calibration)
    (out / "toolsets").mkdir(parents=True, exist_ok=True)
    toolsets: dict[str, Toolset] = {}
    for plot in plots:
        name = toolset_id(Case(tasks(plot.world, 1)[0], 0, (), (), (), plot.table, None, 0.5, "", ""))
        toolsets[name] = Toolset.of(plot.world.catalogue(table=plot.table), name)
        toolsets[name].save(out / "toolsets" / f"{name}.json")
    share = inputs / len(plots)
    files: list[Path] = []
    rng = np.random.default_rng([seed, 9])
    # like is compared with like: plans of candidate sets with such plans, single calls with single calls
    simulated = [] if measured or fitted else [c for p in plots for c in tool_calls(p.world, rng)]
    for kind, portion in (("logged", 0.6), ("sets", 0.4)):
        (out / kind).mkdir(exist_ok=True)
        for split in ("train", "val", "test", "prices"):
            records = [
                record
                for plot in plots
                if plot.split == split
                for record in _records(plot, kind, round(share * portion), toolsets)
            ]
            if kind == "sets" and split == "train" and measured is not None:
                simulated = calls_of(records, toolsets)
            files.append(out / kind / f"{split}.jsonl.gz")
            progress(f"{kind}/{split}: {write(files[-1], records)} records")
    if kept is None:
        calibration.save(out / "calibration.json", goodness(calls, simulated))
    else:
        (out / "calibration.json").write_bytes(kept)
    _write_json(out / "worlds.json", _worlds(plots, seed, inputs))
    return _digests(out)


def measured_calls(folder: Path | None) -> tuple[list[Call], str]:
    """Return the calls to calibrate on, and what they are."""
    if folder is None:
        from catp.tools.builtin import shipped_profiles, zoo
        from catp.tools.catalogue import Catalogue

        calls = profile_calls(Catalogue(zoo()), shipped_profiles())
        return calls, "profiles of the built-in tools as shipped (datasets/profiles/zoo.json)"
    places = [
        folder / "toolset.json",
        folder.parent / "toolset.json",
        *sorted((folder.parent / "toolsets").glob("*.json")),
    ]
    toolsets = {toolset.id: toolset for toolset in (Toolset.load(path) for path in places if path.is_file())}
    return calls_of(read(folder), toolsets), f"measured trajectories ({folder.parent.name}/{folder.name})"


def shipped_worlds(seed: int, count: int, calibration: Calibration | None = None) -> list[Plot]:
    """The worlds of a build: sizes evenly spaced on a logarithmic scale; train, val and test have all sizes."""
    sizes = [round(5 * 100 ** (place / max(1, count - 1))) for place in range(count)]
    sides = ("train", "train", "test", "train", "val", "train", "train", "test", "train", "train")
    plots = [
        Plot(World(seed * 1_000 + place, size, calibration), sides[place % len(sides)])
        for place, size in enumerate(sizes)
    ]
    again = [plot.world for plot in plots if plot.split == "train" and 10 <= plot.world.size <= 200][::3]
    return plots + [Plot(world, "prices", HELD_OUT_TABLE) for world in again]


def logged(case: Case, *, split: Split | None = None, toolset: ToolsetRef | None = None) -> Trajectory:
    """Draw a plan for a case as the behaviour mixture does, and run it."""
    pool = Pool(case, _POOL)
    choice = pool.draw(case.rng(6))
    policy = Policy(
        name="catp-sim/mixture", version="1", decoding=choice.part, propensity=choice.propensity,
        candidates_offered=len(pool.plans),
    )  # fmt: skip
    return Simulation(pool.space).trajectory(
        pool.plans[choice.index], id=f"{case.id}-0", dataset=LOGGED, policy=policy, split=split,
        toolset=toolset if toolset is not None else ToolsetRef(id=toolset_id(case)),
    )  # fmt: skip


def _records(plot: Plot, kind: str, count: int, toolsets: dict[str, Toolset]) -> Iterator[Trajectory]:
    found = tasks(plot.world, _TASKS)
    split = Split(name=plot.side)
    for number in range(count):
        case = _case(found, number, kind, plot.table)
        name = toolset_id(case)
        ref = ToolsetRef(id=name, sha256=toolsets[name].sha256)
        if kind == "logged":
            yield logged(case, split=split, toolset=ref)
        else:
            yield from _set(case, split, ref)


def _case(found: list[Task], number: int, kind: str, table: int) -> Case:
    first = _SETS_FROM if kind == "sets" else 0
    return found[number % len(found)].case(first + number // len(found), table=table)


def _set(case: Case, split: Split, toolset: ToolsetRef) -> Iterator[Trajectory]:
    """Some plans of the pool: those by habit, others at random; no policy drew them, so there are no propensities."""
    pool = Pool(case, _POOL)
    rng = case.rng(7)
    size = min(len(pool.plans), 20, 4 + int(rng.geometric(0.25)) - 1)
    order = [*dict.fromkeys([*pool.habits.values(), *(int(i) for i in rng.permutation(len(pool.plans)))])][:size]
    simulation = Simulation(pool.space)
    policy = Policy(name="catp-sim/set", version="1", candidates_offered=len(pool.plans))
    for place, index in enumerate(order):
        yield simulation.trajectory(
            pool.plans[index], id=f"{case.id}-{place}", dataset=SETS, policy=policy, split=split, toolset=toolset
        )


def _worlds(plots: list[Plot], seed: int, inputs: int) -> dict[str, Any]:
    return {
        "schema": "catp.sim-worlds/1",
        "simulated": "worlds of catp-sim, a simulator: World(seed, tools, calibration) makes each again",
        "seed": seed,
        "inputs": inputs,
        "worlds": [
            {
                "id": plot.world.id, "seed": plot.world.seed, "tools": plot.world.size, "split": plot.split,
                "table": plot.table, "capabilities": len(plot.world.capabilities),
                "tasks": [{"id": t.id, "shape": t.shape, "inputs": [[n, str(type_)] for n, type_ in t.inputs],
                           "wanted": [str(w.type) for w in t.wanted]} for t in tasks(plot.world, _TASKS)],
            }
            for plot in plots
        ],
    }  # fmt: skip


def _digests(out: Path) -> dict[str, Any]:
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.name != "digests.json" and path.suffix in (".json", ".gz"):
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            found[str(path.relative_to(out).as_posix())] = hashlib.sha256(data).hexdigest()
    digests = {"schema": "catp.digests/1", "sha256": found}
    _write_json(out / "digests.json", digests)
    return digests


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
