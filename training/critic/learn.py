"""Training a critic: deterministic, resumable, stopped by what it does on tasks it has not seen.

    critic = train_critic(CriticConfig(), sets)                          in memory
    critic = train_critic(config, sets, out=Path("runs/critic"))         saved; `resume=True` goes on

A run of N steps equals a run of N/2 that is resumed, bit for bit on the CPU: batches and dropout depend on the seed and
the step only, Adam's state is saved, and what is saved is checked against the digests of the data and the config.

Early stopping: learning the training tasks by heart is quick (on OpenCATP's chains 60 gradient steps gave a normalised
regret of .172 at alpha 0.5, 800 steps .318; training.md 2.4), so a share of the tasks is held out, and the weights with
the lowest regret there are the critic's.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catp.training.critic.algorithms import Learner
from catp.training.critic.batches import Decisions, targets_of
from catp.training.critic.checkpoint import (
    MANIFEST,
    CheckpointError,
    read_manifest,
    read_tensors,
    restore,
    save,
    snapshot,
)
from catp.training.critic.config import CriticConfig
from catp.training.critic.critic import Critic
from catp.training.critic.decisions import Coder, toolset_of
from catp.training.data.toolset import Toolset
from catp.training.evaluate.candidates import CandidateSet, Floats
from catp.training.evaluate.regret import regret

__all__ = ["NotANumber", "data_digest", "train_critic"]

Progress = Callable[[str], None]


class NotANumber(ArithmeticError):
    """A loss is no number any more; the message names the step and where the batch was saved."""


def train_critic(
    config: CriticConfig,
    sets: Iterable[CandidateSet],
    out: Path | None = None,
    *,
    resume: bool = False,
    toolset: Toolset | None = None,
    progress: Progress | None = None,
) -> Critic:
    """Train a critic on measured sets and return it with its best weights.

    Args:
        sets: with outcomes.
        out: the folder of the run; None keeps everything in memory.
        resume: go on with the run in `out`, if there is one.
        toolset: for types and masks; `toolset_of(sets)` if not given.
        progress: told now and then what is being done.

    Raises:
        CheckpointError: `out` holds a run and `resume` is not set, or its data or config are others.
        NotANumber: a loss is nan or infinite.
        ValueError: the sets leave nothing to learn from, or nothing to hold out.
        ImportError: torch or d3rlpy is not installed.
    """
    known = [one for one in sets if len(one)]
    run = _Run.prepared(config, known, toolset if toolset is not None else toolset_of(known), progress)
    if out is not None and (out / MANIFEST).exists():
        if not resume:
            raise CheckpointError(f"{out} holds a critic already: resume it (--resume), or name another folder")
        run.go_on(out)
    run.train(out)
    return run.critic()


def data_digest(sets: Iterable[CandidateSet]) -> str:
    """Return the SHA-256 of everything a critic learns from."""
    digest = hashlib.sha256()
    for one in sets:
        about = [one.id, one.group, one.dataset, str(one.price_scale), one.wanted, one.input_types, one.sizes]
        plans = [
            [o.id, o.score, o.price, [[step.tool, step.parents, step.price] for step in o.steps]] for o in one.options
        ]
        digest.update(json.dumps([about, one.conditions, plans]).encode())
    return digest.hexdigest()


@dataclass
class _Run:
    """A run in progress. `best` are weights, `kept` the regret they reached, `stale` evaluations since."""

    config: CriticConfig
    learner: Learner
    coder: Coder
    data: Decisions
    judge: "_Judge"
    digest: str
    say: Progress
    best: Mapping[str, Any] | None = None
    kept: float = math.inf
    best_step: int = 0
    stale: int = 0

    @classmethod
    def prepared(
        cls, config: CriticConfig, sets: list[CandidateSet], toolset: Toolset | None, progress: Progress | None
    ) -> "_Run":
        say = progress if progress is not None else lambda text: None
        train, held = _split(config, sets)
        say(f"{config.algorithm}: describing the plans of {len(train)} inputs")
        coder = Coder.fit(train, toolset, tools=config.tools, slots=config.slots)
        data = Decisions.of(coder.tree(one) for one in train)
        targets = targets_of(data, {*config.alphas, *config.eval_alphas})
        judge = _Judge(coder, held, targets, config)
        return cls(config, Learner(config, coder.space), coder, data, judge, data_digest([*train, *held]), say)

    def train(self, out: Path | None) -> None:
        while self.learner.step < self.config.steps and self.stale < self.config.patience:
            for _ in range(self.config.every):
                losses, batch = self.learner.update(self.data)
                wrong = {name: value for name, value in losses.items() if not math.isfinite(value)}
                if wrong:
                    self._not_a_number(wrong, batch, out)
            self._evaluate(losses)
            if out is not None:
                self._save(out)

    def critic(self) -> Critic:
        if self.best is not None:
            restore(self.learner, self.best, {"grad_step": self.best_step, "tokens": 0})
        return Critic(self.config, self.learner, self.coder, self.judge.targets, self.kept, self.best_step)

    def go_on(self, out: Path) -> None:
        manifest = read_manifest(out)
        for what, mine in (("config", self.config.digest), ("data", self.digest)):
            if manifest["digests"][what] != mine:
                raise CheckpointError(
                    f"{out} was trained on other data: the digest is {mine[:12]}, there it is "
                    f"{manifest['digests'][what][:12]}; give it the data it had, or train into another folder"
                    if what == "data"
                    else f"{out} has another config ({_difference(manifest['config'], self.config)}): "
                    "only steps may change; use the config it had, or train into another folder"
                )
        restore(self.learner, read_tensors(out, manifest, "state"), manifest["learner"])
        self.kept, self.best_step, self.stale = manifest["regret"], manifest["best_step"], manifest["stale"]
        self.best = read_tensors(out, manifest, "best")
        self.say(f"{self.config.algorithm}: going on after step {self.learner.step}")

    def _evaluate(self, losses: Mapping[str, float]) -> None:
        found = self.judge.regret(self.learner)
        if found < self.kept:
            self.kept, self.best_step, self.stale = found, self.learner.step, 0
            self.best, _ = snapshot(self.learner, optimiser=False)
        else:
            self.stale += 1
        told = ", ".join(f"{name} {value:.4f}" for name, value in losses.items())
        self.say(
            f"{self.config.algorithm}: step {self.learner.step} of {self.config.steps}, {told}, regret on held-out "
            f"tasks {found:.3f} (best {self.kept:.3f} at step {self.best_step})"
        )

    def _save(self, out: Path) -> None:
        tensors, rest = snapshot(self.learner, optimiser=True)
        files: dict[str, Mapping[str, Any]] = {"state": tensors}
        if self.best_step == self.learner.step:
            assert self.best is not None
            files["best"] = self.best
        before = read_manifest(out)["files"] if (out / MANIFEST).exists() else {}
        manifest = {
            "config": self.config.model_dump(mode="json"), "step": self.learner.step, "learner": rest,
            "digests": {"data": self.digest, "config": self.config.digest}, "files": before,
            "regret": self.kept, "best_step": self.best_step, "stale": self.stale, "left_out": self.coder.left_out,
            **Critic.meaning(self.coder, self.judge.targets),
        }  # fmt: skip
        save(out, manifest, files)

    def _not_a_number(self, wrong: Mapping[str, float], batch: Any, out: Path | None) -> None:
        where = ""
        if out is not None:
            from safetensors.numpy import save_file

            out.mkdir(parents=True, exist_ok=True)
            path = out / f"bad-batch-{self.learner.step:06d}.safetensors"
            columns = ("observations", "actions", "rewards")
            save_file({name: np.ascontiguousarray(getattr(batch, name)) for name in columns}, path)
            where = f"; its batch is in {path}"
        names = ", ".join(f"{name} is {value}" for name, value in wrong.items())
        raise NotANumber(
            f"{self.config.algorithm}, step {self.learner.step}: {names}{where}. Lower learning_rate "
            f"({self.config.learning_rate:g}), or look for prices and scores that are out of proportion"
        )


class _Judge:
    """Measures the regret on held-out sets."""

    def __init__(
        self, coder: Coder, held: Sequence[CandidateSet], targets: Mapping[float, float], config: CriticConfig
    ) -> None:
        self.targets, self._held, self._config = targets, list(held), config
        self._coder = coder
        self._trees = [coder.tree(one.hidden()) for one in held]

    def regret(self, learner: Learner) -> float:
        """The mean over the weights of the normalised regret."""
        critic = Critic(self._config, learner, self._coder, self.targets, math.nan, learner.step)
        found = []
        for alpha in self._config.eval_alphas:
            weights: list[Floats] = [
                critic.weights(tree, alpha, self._coder.expected(one))
                for one, tree in zip(self._held, self._trees, strict=True)
            ]
            found.append(regret(self._held, weights, alpha, draws=1).regret)
        return float(np.mean(found))


def _split(config: CriticConfig, sets: list[CandidateSet]) -> tuple[list[CandidateSet], list[CandidateSet]]:
    """Hold tasks out; of one task only, inputs. Then thin both sides out, evenly over tasks."""
    groups = sorted({one.group for one in sets})
    rng = np.random.default_rng([config.seed, 3, len(groups)])
    if len(groups) > 1:
        count = min(max(1, round(config.holdout * len(groups))), len(groups) - 1)
        out = {groups[place] for place in rng.permutation(len(groups))[:count]}
        train, held = [one for one in sets if one.group not in out], [one for one in sets if one.group in out]
    else:
        chosen = set(rng.permutation(len(sets))[: max(1, round(config.holdout * len(sets)))].tolist())
        train = [one for place, one in enumerate(sets) if place not in chosen]
        held = [one for place, one in enumerate(sets) if place in chosen]
    held = [one for one in held if len(one) > 1]
    if not train or not held:
        raise ValueError(
            f"{len(sets)} inputs of {len(groups)} tasks leave {len(train)} to learn from and {len(held)} with a choice "
            "to stop by: more inputs with two or more measured plans are needed"
        )
    return _thinned(train, config.max_sets, rng), _thinned(held, config.max_holdout, rng)


def _thinned(sets: list[CandidateSet], most: int | None, rng: np.random.Generator) -> list[CandidateSet]:
    """Draw `most` sets, the same number of each task as far as they have so many; in the order they came."""
    if most is None or len(sets) <= most:
        return sets
    seen: dict[str, int] = {}
    turn = {}
    for place in rng.permutation(len(sets)).tolist():
        group = sets[place].group
        turn[place] = seen[group] = seen.get(group, 0) + 1
    return [sets[place] for place in sorted(sorted(turn, key=lambda place: (turn[place], place))[:most])]


def _difference(saved: Mapping[str, Any], config: CriticConfig) -> str:
    mine = config.model_dump(mode="json")
    names = sorted(name for name in {*saved, *mine} - {"steps"} if saved.get(name) != mine.get(name))
    return ", ".join(f"{name} is {mine.get(name)}, was {saved.get(name)}" for name in names)
