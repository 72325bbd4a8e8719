"""What `--planner NAME` may be.

cheapest, gbm, ...          a baseline
search                      the search planner
cql, bcq, bc, dt, critic    offline RL with d3rlpy, trained before it is measured (minutes); not part of `all`
policy, policy:MODEL        the learned policy, choosing among measured plans; MODEL is a name or a folder
policy-free[:MODEL]         the planner that `catp run` uses: the policy writes plans itself
package.module:attribute    a chooser or planner of one's own
all                         baselines and search
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catp.cli.output import EXIT_FAILED, EXIT_USAGE, fail
from catp.planners.protocol import Planner
from catp.training.baselines import BASELINES
from catp.training.baselines.chooser import Chooser
from catp.training.evaluate.result import Evaluation

if TYPE_CHECKING:
    from catp.training.caorl.source_files import FileRequests
    from catp.training.cli.bench_policy import PolicyFiles
    from catp.training.policy.manifest import Manifest

__all__ = ["NEED_TASK", "POLICIES", "Contender", "contenders", "told_as"]

NEED_TASK = ("table", "fixed", "gbm-known")
"""Baselines that know nothing of a task they were not fitted on; `all` leaves them out where tasks are held out."""

TASKS_HELD_OUT = ("kfold", "split")

CRITICS = ("cql", "bcq", "bc", "dt", "dqn", "critic")
"""Choosers of `catp.training.critic`."""

POLICIES = ("policy", "policy-free")
"""Names of the learned policy, with or without `:MODEL` behind them."""


@dataclass(frozen=True)
class Contender:
    """One of the two: a maker of choosers among measured plans, or a planner that plans freely.

    `manifest` is that of the learned policy behind it, if there is one.
    """

    name: str
    chooser: Callable[[], Chooser] | None = None
    planner: Planner | None = None
    manifest: "Manifest | None" = None


def contenders(
    names: Sequence[str], protocol: str, *, with_search: bool, files: "PolicyFiles | None" = None
) -> list[Contender]:
    """Return what is to be measured, in the order of the names, each once; end the command if a name is unknown.

    Args:
        names: as given; none means `all`.
        protocol: what is held out.
        with_search: whether there are requests to give the search planner, so that `all` has it.
        files: shows policies data other than CATP-Bench and catp-sim.
    """
    wanted: dict[str, None] = {}
    for name in names or ["all"]:
        if name == "all":
            held = protocol in TASKS_HELD_OUT
            wanted.update((known, None) for known in BASELINES if not (held and known in NEED_TASK))
            wanted.update({"search": None} if with_search else {})
        else:
            wanted[name] = None
    return [_contender(name, files) for name in wanted]


def told_as(one: Contender, found: Evaluation) -> Evaluation:
    """Return the evaluation under the name that was asked for, if several policies would have the same."""
    return replace(found, planner=one.name) if one.name.partition(":")[0] in POLICIES else found


def _contender(name: str, files: "PolicyFiles | None") -> Contender:
    if name in BASELINES:
        return Contender(name, chooser=BASELINES[name])
    if name == "search":
        from catp.planners.search import SearchPlanner

        return Contender(name, planner=SearchPlanner())
    if name in CRITICS:
        from catp.training.critic import choosers

        return Contender(name, chooser=choosers.CRITICS[name])
    kind, _, model = name.partition(":")
    if kind in POLICIES:
        return _policy(name, kind, model or None, files)
    if kind == "openai":
        return _chat(name)
    if ":" not in name:
        known = [*BASELINES, "search", *CRITICS, *POLICIES, "all"]
        close = get_close_matches(name, known, 1)
        guess = f"did you mean {close[0]}? " if close else ""
        fail(
            f"unknown planner {name!r}", EXIT_USAGE,
            help=f"{guess}one of {', '.join(known)}, or package.module:attribute",
        )  # fmt: skip
    return _own(name)


def _chat(name: str) -> Contender:
    """A chat model alone: what it fails at is its result, so nothing plans in its place."""
    from catp.planners.chat import ChatPlanner

    try:
        return Contender(name, planner=ChatPlanner.from_spec(name))
    except ValueError as error:
        fail(str(error), EXIT_USAGE)


def _policy(name: str, kind: str, model: str | None, files: "PolicyFiles | None") -> Contender:
    """The policy is looked up here and not at the first question: without it there is nothing to measure."""
    from catp.training.cli.bench_policy import manifest_of

    try:
        manifest = manifest_of(model)
        if kind == "policy-free":
            from catp.planners.shipped import load_policy

            return Contender(name, planner=load_policy(model), manifest=manifest)
        from catp.training.policy.chooser import PolicyChooser

        shown = None if files is None else _shown(name, files, manifest)
        return Contender(name, chooser=partial(PolicyChooser, model, shown), manifest=manifest)
    except ImportError as error:
        fail(str(error), EXIT_FAILED, help=None if "pip install" in str(error) else "pip install 'catp[train]'")
    except (OSError, ValueError) as error:
        fail(f"planner {name!r}: {error}", EXIT_USAGE, help="catp models list names the policies there are")


def _shown(name: str, files: "PolicyFiles", manifest: "Manifest") -> "FileRequests | None":
    try:
        return files(manifest.tokens.tool_slots)
    except (OSError, ValueError) as error:
        fail(f"planner {name!r}: {error}", EXIT_USAGE, help="name the tools of the data with --toolset")


def _own(name: str) -> Contender:
    found = _imported(name)
    made = _made(name, found) if isinstance(found, type) else found
    if hasattr(made, "choose") and hasattr(made, "fit") and hasattr(made, "predict"):
        return Contender(name, chooser=partial(_made, name, found) if isinstance(found, type) else lambda: made)
    if not hasattr(made, "plan"):
        fail(
            f"planner {name!r} is a {type(made).__name__} without plan(request), and without fit, choose and predict",
            EXIT_USAGE, help="see catp.planners.protocol.Planner and catp.training.baselines.chooser.Chooser",
        )  # fmt: skip
    return Contender(name, planner=made)


def _made(name: str, found: Callable[[], Any]) -> Any:
    try:
        return found()
    except TypeError as error:
        fail(f"planner {name!r}: the class cannot be made without arguments: {error}", EXIT_USAGE,
             help="name an object, or a class whose arguments have defaults")  # fmt: skip


def _imported(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))  # a project's own module, as `python -m` would find it
    try:
        return getattr(import_module(module_name), attribute)
    except AttributeError:
        fail(f"planner {name!r}: {module_name} has no {attribute!r}", EXIT_USAGE)
    except (Exception, SystemExit) as error:  # the module is the user's own: whatever it raises is for its author
        fail(f"planner {name!r}: importing {module_name!r} failed: {type(error).__name__}: {error}", EXIT_USAGE)
    finally:
        sys.path.pop(0)
