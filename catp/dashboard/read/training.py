"""Training runs from the files they leave: `metrics.jsonl`, `config.toml`, checkpoints; training is never imported.

A run is a folder in the folder of runs, or a shipped model with its `training.jsonl`. A name is looked up among those
that are there, so it cannot lead anywhere else; what a link leads out of the folder is not there.
"""

import gzip
import importlib.resources
import json
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from catp.dashboard.forms import iso
from catp.dashboard.read.curves import Told, curves, read_events

__all__ = ["Folder", "find_run", "list_runs", "run_details", "training_dir"]

_SILENT_S = 120.0
"""A run that has told nothing for so long does not run any more (or as long as five of its evaluations took)."""

_HOW = (
    "Utility lost against the best measured plan, by the spread of utilities, on the validation side; less is better."
)
_MOST_TEXT = 200_000
_SUMMARY = (
    ("method", "method", "name"), ("data", "data", "paths"), ("base", "model", "base"), ("hidden", "model", "hidden"),
    ("layers", "model", "layers"), ("rank", "lora", "rank"), ("lr", "optim", "lr"), ("batch", "optim", "batch"),
)  # fmt: skip


@dataclass(frozen=True)
class Folder:
    """One run: its name in the API, its folder, and whether it came with catp."""

    name: str
    path: Path
    shipped: bool = False

    @property
    def metrics(self) -> Path:
        """What it told."""
        return self.path / ("training.jsonl" if self.shipped else "metrics.jsonl")

    @property
    def config(self) -> Path:
        """What it was told."""
        return self.path / ("training.toml" if self.shipped else "config.toml")


def training_dir(given: Path | None) -> Path | None:
    """Return the folder of runs: the given one, else `runs` in the working directory if that is there."""
    if given is not None:
        return given
    usual = Path.cwd() / "runs"
    return usual if usual.is_dir() else None


def list_runs(root: Path | None) -> list[dict[str, Any]]:
    """Return all runs, those that run first, then the newest."""
    found = [_row(folder, read_events(folder.metrics)) for folder in _folders(root)]
    return sorted(found, key=lambda row: (row["state"] != "running", row["shipped"], -row["_at"]))


def find_run(root: Path | None, name: str) -> Folder:
    """Return a run by its name; raise `KeyError` if there is none."""
    for folder in _folders(root):
        if folder.name == name:
            return folder
    raise KeyError(f"there is no training run {name[:100]!r} in {root or 'runs'}")


def run_details(folder: Folder) -> dict[str, Any]:
    """Return everything about a run but its weights."""
    told = read_events(folder.metrics)
    manifests = {place: _json(path / "catp.json") for place, path in _checkpoints(folder)}
    manifest = next((one for one in manifests.values() if one), {})
    return {
        **_row(folder, told), "curves": curves(told.events), "points": _points(told),
        "checkpoints": [_checkpoint(place, path, manifests[place]) for place, path in _checkpoints(folder)],
        "data": _data(told, manifest), "config": _config(folder.config), "card": _card(manifest),
        "folder": str(folder.path), "how": _HOW,
    }  # fmt: skip


def _folders(root: Path | None) -> Iterator[Folder]:
    """Runs, then shipped models."""
    if root is not None and root.is_dir():
        real = root.resolve()
        for path in sorted(root.iterdir()):
            if not path.name.startswith(".") and _inside(path / "metrics.jsonl", real):
                yield Folder(path.name, path)
    models = Path(str(importlib.resources.files("catp") / "datasets" / "models"))
    for path in sorted(models.iterdir()) if models.is_dir() else ():
        if (path / "training.jsonl").is_file():
            yield Folder(f"shipped:{path.name}", path, shipped=True)


def _inside(path: Path, root: Path) -> bool:
    """Whether a file is there, and in a folder also when links are followed."""
    try:
        return path.is_file() and path.resolve().is_relative_to(root)
    except OSError:
        return False


def _row(folder: Folder, told: Told) -> dict[str, Any]:
    last = told.events[-1] if told.events else {}
    step = max((event["step"] for event in told.events), default=0)
    best = next((event for event in reversed(told.measured) if event.get("best") is True), None)
    return {
        "name": folder.name, "shipped": folder.shipped, "state": _state(told, last), "step": step,
        "steps": next((event["steps"] for event in reversed(told.events) if isinstance(event.get("steps"), int)), None),
        "reason": last.get("reason") if last.get("event") == "stopped" else None, "told": iso(round(told.at * 1e9)),
        "device": told.started.get("device"), "examples": told.started.get("examples"),
        "parameters": told.started.get("parameters"), "trainable": told.started.get("trainable"),
        "summary": _summary(folder.config), "best": None if best is None else {
            "step": best["step"], "figures": _figures(best)},
        "skipped": told.skipped, "truncated": told.truncated, "_at": told.at,
    }  # fmt: skip


def _state(told: Told, last: Mapping[str, Any]) -> str:
    if last.get("event") == "stopped":
        return "interrupted" if last.get("reason") == "interrupted" else "finished"
    slow = max((float(event["seconds"]) for event in told.measured if _is_number(event.get("seconds"))), default=0.0)
    return "running" if time.time() - told.at < max(_SILENT_S, 5 * min(slow, 3600.0)) else "stopped"


def _points(told: Told) -> list[dict[str, Any]]:
    """Evaluations: figures by name, whether it was the best so far."""
    return [
        {"step": event["step"], "best": event.get("best") is True, "figures": _figures(event)}
        for event in told.measured
    ]


def _figures(event: Mapping[str, Any]) -> dict[str, float | None]:
    figures = event.get("figures")
    return {
        str(name)[:100]: float(value) if _is_number(value) else None
        for name, value in (figures.items() if isinstance(figures, dict) else ())
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def _checkpoints(folder: Folder) -> list[tuple[str, Path]]:
    if folder.shipped:
        return [("shipped", folder.path)]
    real = folder.path.resolve()
    return [(name, folder.path / name) for name in ("best", "last") if _inside(folder.path / name / "catp.json", real)]


def _checkpoint(place: str, path: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    files = []
    with suppress(OSError):  # it may be replaced just now
        files = [file.stat() for file in path.iterdir() if file.is_file()]
    return {
        "place": place, "step": manifest.get("step"), "figures": _figures(manifest),
        "bytes": sum(file.st_size for file in files),
        "written": iso(round(max(file.st_mtime for file in files) * 1e9)) if files else None,
    }  # fmt: skip


def _data(told: Told, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What was learned from; `share` is of the trajectories whose number is known."""
    config = manifest.get("config")
    data = config.get("data") if isinstance(config, dict) else None
    named = manifest.get("data")
    files = sorted(named.items()) if isinstance(named, dict) else []
    known = {name: _records(str(name)) for name, _ in files}
    total = sum(n for n in known.values() if n is not None)
    return {
        "examples": told.started.get("examples"), "asked": data if isinstance(data, dict) else {},
        "split": manifest.get("split") or {},
        "files": [
            {"file": str(name)[:200], "sha256": str(digest)[:64], "records": (n := known[name]),
             "share": None if n is None else n / total}
            for name, digest in files
        ],
    }  # fmt: skip


def _records(name: str) -> int | None:
    """How many trajectories a file of a shipped data set has, None for any other."""
    shipped = Path(str(importlib.resources.files("catp") / "datasets")).resolve()
    try:
        path = (shipped / name).resolve()
        return _lines(path, path.stat().st_mtime_ns) if path.is_relative_to(shipped) and path.is_file() else None
    except (OSError, ValueError, EOFError):
        return None


@lru_cache(maxsize=64)
def _lines(path: Path, mtime_ns: int) -> int:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return sum(1 for _ in file)


def _card(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of the model card, without the configuration."""
    known = ("name", "base", "license", "seed", "step", "quality", "kappa", "margin", "trust", "forest", "versions")
    return {name: manifest[name] for name in known if name in manifest}


def _summary(path: Path) -> dict[str, Any]:
    """The settings by which runs are told apart; those that are not there are left out."""
    try:
        found = tomllib.loads(_config(path) or "")
    except tomllib.TOMLDecodeError:
        return {}
    parts = ((name, key, found.get(part)) for name, part, key in _SUMMARY)
    return {name: part[key] for name, key, part in parts if isinstance(part, dict) and key in part}


def _config(path: Path) -> str | None:
    return _text(path) if _inside(path, path.parent.resolve()) else None


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_TEXT).decode("utf-8", "replace")
    except OSError:
        return None


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(path) or "")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
