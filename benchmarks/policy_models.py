"""The policies that `policy.py` measures: each remembers what it rated, and folders of one name are seeds of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catp.training.baselines import LISTED, Chooser, Prices
from catp.training.caorl.methods import decides_by, tells_return
from catp.training.caorl.rating import Rated
from catp.training.evaluate import CandidateSet
from catp.training.policy.chooser import PolicyChooser
from catp.training.policy.manifest import Manifest
from catp.training.policy.models import find_model

Floats = np.ndarray[Any, np.dtype[np.float64]]
Key = tuple[str, tuple[tuple[str, float], ...], float, float | None]


class Rater(PolicyChooser):
    """A policy that remembers what it rated: a plan's rating depends on its input, not on the plans beside it."""

    def __init__(
        self, folder: Path, trust: float | None = None, share: float | None = None,
        known: "dict[Key, dict[str, Any]] | None" = None,
    ) -> None:  # fmt: skip
        super().__init__(folder, trust=trust, share=share)
        self.known: dict[Key, dict[str, Any]] = {} if known is None else known
        self.method = self.policy.manifest.config.method.name

    def _rate(self, one: CandidateSet, prices: Prices, alpha: float = 0.8) -> Rated:
        factors = tuple(sorted((tool, factor) for tool, factor in prices.factors.items() if factor != 1))
        returns = self._returns if tells_return(self.method) == "always" else None
        target = None if returns is None else returns.best(alpha)
        rows = self.known.setdefault((one.id, factors, alpha, target), {})
        if any(option.id not in rows for option in one.options):
            rated = super()._rate(one, prices, alpha)
            forest = np.broadcast_to(rated.forest, rated.quality.shape)
            found = np.stack([rated.quality, rated.composed, rated.sd, rated.logpi, forest], axis=1)
            rows.update(zip((option.id for option in one.options), found, strict=True))
        return Rated(*np.stack([rows[option.id] for option in one.options], axis=1))


class Seeds:
    """One of several policies, drawn by lot: its regret is the mean of theirs."""

    name = "policy"

    def __init__(self, raters: Sequence[Chooser]) -> None:
        self.raters = raters

    def fit(self, sets: Sequence[CandidateSet]) -> None:
        for rater in self.raters:
            rater.fit(sets)

    def choose(self, set: CandidateSet, alpha: float, prices: Prices = LISTED) -> Floats:
        found: Floats = np.mean([rater.choose(set, alpha, prices) for rater in self.raters], axis=0)
        return found

    def predict(self, set: CandidateSet) -> Floats | None:
        found = [guess for rater in self.raters if (guess := rater.predict(set)) is not None]
        return np.mean(found, axis=0) if found else None


@dataclass(frozen=True)
class Model:
    """Policies of one name: seeds of the same training."""

    name: str
    folders: tuple[Path, ...]
    raters: tuple[Rater, ...]

    @property
    def without(self) -> frozenset[str]:
        """Tools it never saw."""
        return frozenset.intersection(
            *(frozenset(rater.policy.manifest.config.data.without_tools) for rater in self.raters)
        )

    @property
    def rates(self) -> bool:
        return all(decides_by(rater.method) == "rating" for rater in self.raters)

    def told(self) -> dict[str, Any]:
        manifests = [rater.policy.manifest for rater in self.raters]
        return {
            "seeds": [one.seed for one in manifests], "steps": [one.step for one in manifests],
            "trust": [one.trust for one in manifests], "forest": [one.forest for one in manifests],
            "kappa": [one.kappa for one in manifests], "validation": [validation(one) for one in manifests],
            "method": manifests[0].config.method.name, "without_tools": sorted(self.without),
            "parameters": sum(p.numel() for p in self.raters[0].policy.model.parameters()),
            "config_sha256": [one.config_sha256 for one in manifests],
        }  # fmt: skip


def validation(manifest: Manifest) -> dict[str, float | None]:
    """Mean regrets on the validation side: of profiles, of network and forest alone beside them, and of all three."""
    named = {"composed": "composed_regret", "network": "regret", "forest": "forest_regret", "both": "mixed_regret"}
    return {name: r4(manifest.figures.get(figure)) for name, figure in named.items()}


def models_of(named: Sequence[str]) -> list[Model]:
    folders: dict[str, list[Path]] = {}
    for text in named:
        name, _, folder = text.rpartition("=")
        folders.setdefault(name or Path(folder).name, []).append(find_model(folder))
    return [Model(name, tuple(some), tuple(Rater(one) for one in some)) for name, some in folders.items()]


def r4(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 4)
