"""What a checkpoint gets when its training is over: a forest that corrects its ratings, and the shares of both.

    quality = composed + trust * difference the network predicts + share * correction of the forest

The network is not touched. The forest is grown on the training side; trust and share are those with the least regret on
the validation side, 0 included: a forest that does not help is not stored.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from catp.training.caorl.methods import decides_by
from catp.training.caorl.rating import SHARES, Rated
from catp.training.critic.forest import FOREST, Forest, write_forest
from catp.training.critic.grow import correction, grow
from catp.training.digest import file_digest
from catp.training.policy.checkpoint import load
from catp.training.policy.manifest import MANIFEST, Manifest, read_manifest

if TYPE_CHECKING:
    from catp.training.caorl.algorithm import PlanLearning

__all__ = ["WithForest"]


class WithForest:
    """Completes checkpoints of one training.

    Args:
        learning: with the cases the checkpoints were trained on.
        progress: told what is being done.
    """

    def __init__(self, learning: "PlanLearning", progress: Callable[[str], None] = lambda text: None) -> None:
        self._learning, self._progress = learning, progress

    def __call__(self, folder: Path) -> Manifest:
        """Complete the checkpoint in a folder and return its manifest.

        A policy that decides by likelihood, and data without choices to learn from, leave it as it is.

        Raises:
            CheckpointError: the folder holds no policy.
            ImportError: scikit-learn is not installed.
        """
        manifest = read_manifest(folder)
        forest = self._forest if decides_by(manifest.config.method.name) == "rating" else None
        if forest is None or not self._learning.val:
            return manifest
        figures = manifest.figures
        rated = self._learning.rated(figures)
        if rated is None:
            self._progress(f"rating {len(self._learning.val)} inputs of the validation side")
            figures = dict(self._learning.evaluate(load(folder).model))
            rated = self._learning.rated(figures)
            assert rated is not None
        return _written(folder, manifest, forest, self._shares(forest, rated), figures)

    @cached_property
    def _forest(self) -> Forest | None:
        learning = self._learning
        vocabulary = learning.tokens.vocabulary
        return grow(learning.train, vocabulary, seed=learning.config.seed, progress=self._progress)

    def _shares(self, forest: Forest, rated: Sequence[Rated]) -> dict[str, float]:
        """The regret of every mixture that is tried, and trust and share of the best one."""
        learning = self._learning
        both = [
            replace(one, forest=correction(forest, case, learning.tokens.vocabulary)[: len(one.quality)])
            for one, case in zip(rated, learning.val, strict=True)
        ]
        found = {
            (trust, share): float(np.mean(list(learning.regrets(both, trust, share).values())))
            for trust, share in product(SHARES, SHARES)
        }
        trust, share = min(found, key=lambda shares: (found[shares], shares))
        return {
            "mixed_trust": trust, "mixed_share": share, "mixed_regret": found[trust, share],
            "forest_regret": min(regret for (trust, _), regret in found.items() if trust == 0),
        }  # fmt: skip


def _written(
    folder: Path, manifest: Manifest, forest: Forest, shares: Mapping[str, float], figures: Mapping[str, float | None]
) -> Manifest:
    """Store the forest and what is made of it; the manifest is replaced last."""
    weights = {name: digest for name, digest in manifest.weights.items() if name != FOREST}
    path = folder / FOREST
    path.unlink(missing_ok=True)
    if shares["mixed_share"]:
        write_forest(path, forest)
        weights[FOREST] = file_digest(path)
    known = {name: value for name, value in figures.items() if value is not None and math.isfinite(value)}
    found = manifest.updated(
        weights=weights, trust=shares["mixed_trust"], forest=shares["mixed_share"], figures={**known, **shares}
    )
    new = folder / f".{MANIFEST}.new"
    new.write_text(found.text(), encoding="utf-8")
    os.replace(new, folder / MANIFEST)
    return found
