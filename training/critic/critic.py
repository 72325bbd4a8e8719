"""A trained critic: what it thinks of plans, and how it is read back from a folder."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from catp.training.baselines.chooser import LISTED, Prices
from catp.training.critic.algorithms import Learner
from catp.training.critic.checkpoint import CheckpointError, read_manifest, read_tensors, restore
from catp.training.critic.config import CriticConfig
from catp.training.critic.decisions import Coder, Space, Tree
from catp.training.critic.decoding import end_values, greedy, quality
from catp.training.data.mdp_layout import Layout
from catp.training.data.toolset import Toolset
from catp.training.evaluate.candidates import CandidateSet, Floats

__all__ = ["Critic"]


@dataclass
class Critic:
    """Networks with what their numbers mean. `regret` is what `best_step` reached on held-out tasks."""

    config: CriticConfig
    learner: Learner
    coder: Coder
    targets: Mapping[float, float]
    """What the Decision Transformer asks for, by weight of quality."""
    regret: float = math.nan
    best_step: int = 0
    _latest: tuple[CandidateSet, Prices, Tree] | None = field(default=None, init=False, repr=False)

    @classmethod
    def load(cls, folder: Path) -> "Critic":
        """Read a critic with its best weights.

        Raises:
            CheckpointError: the folder holds none, or it is damaged.
            ImportError: torch or d3rlpy is not installed.
        """
        manifest = read_manifest(folder)
        try:
            config = CriticConfig.model_validate(manifest["config"])
            sizes: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in manifest["layout"].items()
            }
            layout = Layout(**sizes)
            toolset = None if manifest["toolset"] is None else Toolset.model_validate(manifest["toolset"])
            lines = {tool: (float(base), float(slope)) for tool, (base, slope) in manifest["prices"].items()}
            targets = {float(alpha): float(target) for alpha, target in manifest["targets"].items()}
            coder = Coder(Space(layout, tuple(manifest["tools"])), lines, toolset)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{folder}: the manifest is damaged or of another version: {error}") from error
        learner = Learner(config, coder.space)
        restore(learner, read_tensors(folder, manifest, "best"), {"grad_step": manifest["best_step"], "tokens": 0})
        return cls(config, learner, coder, targets, manifest["regret"], manifest["best_step"])

    @staticmethod
    def meaning(coder: Coder, targets: Mapping[float, float]) -> dict[str, Any]:
        """Return what a manifest must say beside the config, so that tensors can be understood."""
        return {
            "layout": asdict(coder.space.layout),
            "tools": list(coder.space.tools),
            "prices": {tool: list(line) for tool, line in coder.lines.items()},
            "toolset": None if coder.toolset is None else coder.toolset.to_json(),
            "targets": {str(alpha): target for alpha, target in targets.items()},
        }

    def tree(self, one: CandidateSet, prices: Prices = LISTED) -> Tree:
        """Return the plans of a set as decisions; the latest is kept, as a sweep of alpha asks for it many times."""
        if self._latest is None or self._latest[0] is not one or self._latest[1] is not prices:
            self._latest = one, prices, self.coder.tree(one, prices)
        return self._latest[2]

    def weights(self, tree: Tree, alpha: float, price: Floats) -> Floats:
        """Return the probability of choosing each plan, as the config decodes; `price` in shares of the scale."""
        if self.config.decode == "end":
            return quality(self.learner, tree, alpha, price)
        return greedy(self.learner, tree, alpha, self.targets, price)

    def quality(self, tree: Tree) -> tuple[Floats, Floats]:
        """Return mean and standard deviation over critics of the score each plan is expected to earn; nan if unknown.

        It is the value of STOP at alpha 1, clipped to [0, 1].
        """
        mean, spread = end_values(self.learner, tree, 1.0)
        return np.clip(mean, 0.0, 1.0), spread
