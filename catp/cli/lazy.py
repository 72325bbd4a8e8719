"""A command group that imports a sub-command's module only when that sub-command is used.

`catp --help` must answer at once; the modules behind `plan`, `tools` and `runs` pull in networkx and SQLAlchemy.
"""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

__all__ = ["DefaultCommandGroup", "LazyGroup"]

_LAZY = {
    "plan": ("catp.cli.plan", "Plan a task without running it, or check, format, show and convert plan files."),
    "tools": ("catp.cli.tools", "List, show, price and measure tools."),
    "runs": ("catp.cli.runs", "List and show saved runs; go on with them, fork and replay them."),
    "budgets": ("catp.cli.budgets", "Set and show budgets that all runs of a project or agent share."),
    "cache": ("catp.cli.cache", "Show and forget kept results of calls."),
    "data": ("catp.training.cli.data", "Check, show, split and convert files of trajectories."),
    "bench": ("catp.training.cli.bench", "Build CATP-Bench, and measure planners on it."),
    "train": ("catp.training.cli.train", "Train a policy from logged plans, with live progress; resumable."),
    "eval": ("catp.training.cli.eval", "Measure a policy on held-out inputs."),
    "export": ("catp.training.cli.export", "Write a policy as a Hugging Face folder, merged or as an adapter."),
    "models": ("catp.training.cli.models", "List, show and fetch policies."),
    "critic": ("catp.training.cli.critic:critic_app", "Train critics of plans, and judge policies on logged choices."),
    "serve": ("catp.serving.cli.serve", "Serve a policy or any Llama to many clients: OpenAI's API and /v1/plans."),
    "sim": ("catp.serving.cli.sim", "Try queue policies on traces of real traffic, with the real scheduler."),
    "dashboard": ("catp.cli.dashboard", "Show runs as they happen, plans, prices and budgets in the browser."),
    "db": ("catp.cli.db", "Look after the store of saved runs: check, rebuild, prune, back up."),
}


class LazyGroup(TyperGroup):
    """Knows the names and help lines of the lazy commands and groups, and imports them on use."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All command names, in the order a newcomer meets them."""
        return [
            "run",
            "plan",
            "tools",
            "runs",
            "dashboard",
            "budgets",
            "cache",
            "db",
            "data",
            "bench",
            "train",
            "eval",
            "export",
            "models",
            "critic",
            "serve",
            "sim",
            "config",
            "doctor",
            "version",
        ]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find a command, importing its module if it is one of the lazy ones."""
        if cmd_name not in _LAZY:
            return super().get_command(ctx, cmd_name)
        module, help_line = _LAZY[cmd_name]
        module, _, name = module.partition(":")
        app = getattr(import_module(module), name or "app")
        if len(app.registered_commands) == 1 and app.registered_callback is None:  # one command, not a group of them
            command = typer.main.get_command(app)
            command.name = cmd_name
            return command
        group = typer.main.get_group(app)
        group.name, group.help = cmd_name, help_line
        return group

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the command list without importing anything."""
        rows = []
        for name in self.list_commands(ctx):
            if name in _LAZY:
                rows.append((name, _LAZY[name][1]))
            elif (command := super().get_command(ctx, name)) is not None:
                rows.append((name, command.get_short_help_str(limit=90)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class DefaultCommandGroup(TyperGroup):
    """A group whose first argument may be something other than a sub-command: `catp plan "read this" ...`."""

    default_command = "task"

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Send anything that is not a sub-command's name to the default command."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = [self.default_command, *args]
        return super().resolve_command(ctx, args)
