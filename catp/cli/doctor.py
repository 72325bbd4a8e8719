"""`catp doctor`: what works on this machine, what does not, and what to do about it."""

import os
import platform
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import typer

from catp.cli.config import settings_or_fail
from catp.cli.options import JsonOption
from catp.cli.output import EXIT_FAILED, EXIT_UNREACHABLE, emit_json, emit_text

__all__ = ["doctor"]


class Finding(NamedTuple):
    """One line of the report: `ok`, `warn` (works with less) or `fail`."""

    state: str
    what: str
    detail: str


def doctor(json_: JsonOption = False) -> None:
    """Check the installation: packages, tools, settings, the run store. Exit 1 or 6 if something is broken."""
    settings = settings_or_fail()
    findings = [
        _python(), _metering(), *_packages(), _planner(settings.planner), *_tools(settings.tools),
        _store(settings.store),
    ]  # fmt: skip
    if json_:
        emit_json("catp.doctor/1", {"findings": [f._asdict() for f in findings]})
    else:
        emit_text("\n".join(f"{f.state:5} {f.what:22} {f.detail}" for f in findings))
    if any(f.state == "fail" for f in findings):
        raise typer.Exit(EXIT_UNREACHABLE if findings[-1].state == "fail" else EXIT_FAILED)


def _python() -> Finding:
    ok = sys.version_info >= (3, 11)
    return Finding("ok" if ok else "fail", "python", f"{platform.python_version()} on {platform.system()}")


def _metering() -> Finding:
    if Path("/proc/self/clear_refs").exists() and os.access("/proc/self/clear_refs", os.W_OK):
        return Finding("ok", "metering", "CPU time and peak memory per call")
    return Finding("warn", "metering", "CPU time only: peak memory per call needs Linux /proc/self/clear_refs")


def _packages() -> list[Finding]:
    found = []
    for package, extra in (
        ("rapidocr", "tools"),
        ("opencv-python-headless", "tools"),
        ("fastapi", "dashboard"),
        ("mcp", "mcp"),
    ):
        try:
            found.append(Finding("ok", package, package_version(package)))
        except PackageNotFoundError:
            found.append(
                Finding("warn", package, f"not installed: pip install 'catp[{extra}]' (in a clone: '.[{extra}]')")
            )
    return found


def _planner(wanted: str | None) -> Finding:
    """Whether the planner of the settings can plan; without its policy, plans are searched for."""
    if wanted is not None and (wanted == "search" or wanted.startswith("openai:")):
        return Finding("ok", "planner", wanted)
    missing = [name for name in ("torch", "transformers", "safetensors", "tokenizers") if find_spec(name) is None]
    if missing:
        fix = "pip install 'catp[policy]' (in a clone: '.[policy]')"
        return Finding("warn", "planner", f"search; the policy needs {', '.join(missing)}: {fix}")
    models = import_module("catp.training.policy.models")
    name = models.DEFAULT if wanted in (None, "policy") else wanted
    try:
        found = models.show_model(name)
    except ValueError as error:
        return Finding("warn", "planner", f"search; {error}")
    if found.problem is not None:
        return Finding("warn", "planner", f"search; {found.problem}")
    return Finding("ok", "planner", f"policy {found.name} ({found.origin}, {found.bytes / 1e6:.1f} MB)")


def _tools(spec: str) -> list[Finding]:
    from catp.cli.catalogues import all_tools, load_catalogue

    catalogue = load_catalogue(spec)
    missing = [(tool.name, reason) for tool in all_tools(spec) if (reason := tool.unavailable())]
    found = [Finding("ok" if len(catalogue) else "fail", "tools", f"{len(catalogue)} available ({spec})")]
    return found + [Finding("warn", name, reason) for name, reason in missing]


def _store(target: Path | str) -> Finding:
    from catp.store.store import RunStore, StoreError

    store = RunStore(target)
    try:
        runs = len(store.list(limit=1000))
    except StoreError as error:
        return Finding("fail", "run store", str(error))
    finally:
        store.close()
    return Finding("ok", "run store", f"{store.name} ({runs}{'+' if runs == 1000 else ''} runs)")
