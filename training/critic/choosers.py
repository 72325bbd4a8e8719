"""Critics as choosers, by the names `catp bench eval --planner` knows them by.

cql, bcq, bc, dt      d3rlpy's algorithms as published, decoded greedily along the measured plans (E2)
dqn                   without conservatism
critic                CQL as it is meant to be used here: its quality at the end of a plan, less the known price

They are not part of `all`: each is trained for minutes. torch and d3rlpy are imported when the first one is fitted.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from catp.training.baselines.chooser import LISTED, Chooser, Prices
from catp.training.baselines.prices import StepPrices
from catp.training.critic.config import CriticConfig
from catp.training.critic.critic import Critic
from catp.training.critic.learn import train_critic
from catp.training.evaluate.candidates import CandidateSet, Floats

__all__ = ["CRITICS", "CriticChooser"]


class CriticChooser:
    """A critic that is trained by `fit`.

    Args:
        progress: told now and then how training goes.
    """

    def __init__(self, name: str, config: CriticConfig, *, progress: Callable[[str], None] | None = None) -> None:
        self.name, self.config = name, config
        self._progress = progress
        self._prices = StepPrices()
        self.critic: Critic | None = None

    def fit(self, sets: Sequence[CandidateSet]) -> None:
        """Train on measured sets."""
        self._prices = StepPrices().fit(sets)
        self.critic = train_critic(self.config, sets, progress=self._progress)

    def choose(self, set: CandidateSet, alpha: float, prices: Prices = LISTED) -> Floats:
        """Return the plan that the critic decodes."""
        critic = self._fitted()
        price = self._prices.price(set, prices) / set.price_scale
        return critic.weights(critic.tree(set, prices), alpha, price)

    def predict(self, set: CandidateSet) -> Floats | None:
        """Return the expected scores; None of what learns no values."""
        critic = self._fitted()
        return critic.quality(critic.tree(set))[0] if critic.learner.has_values else None

    def _fitted(self) -> Critic:
        if self.critic is None:
            raise RuntimeError(f"{self.name} must be fitted before it can choose")
        return self.critic


CRITICS: Mapping[str, Callable[[], Chooser]] = {
    "cql": partial(CriticChooser, "cql", CriticConfig(algorithm="cql")),
    "bcq": partial(CriticChooser, "bcq", CriticConfig(algorithm="bcq")),
    "bc": partial(CriticChooser, "bc", CriticConfig(algorithm="bc")),
    "dt": partial(CriticChooser, "dt", CriticConfig(algorithm="dt")),
    "dqn": partial(CriticChooser, "dqn", CriticConfig(algorithm="dqn")),
    "critic": partial(CriticChooser, "critic", CriticConfig(algorithm="cql", decode="end")),
}
"""Every critic by name."""
