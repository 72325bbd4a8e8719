"""d3rlpy's algorithms on plan decisions, behind one small face: an update, and a score for every action of a state.

`Learner.scores` are values (cql, dqn), values of likely actions (bcq) or log probabilities (bc, dt); in all of them
what the mask forbids is below what it allows. Updates call `algo.update`, so d3rlpy writes no logs and no pickles.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from catp.training.critic.batches import Decisions, plans_at, steps_at
from catp.training.critic.config import CriticConfig
from catp.training.critic.decisions import Ints, Space
from catp.training.critic.libraries import libraries, one_thread
from catp.training.critic.masked import (
    FORBIDDEN,
    encoder_factory,
    mask_into_transformer,
    masked_policy,
    masked_q_factory,
)
from catp.training.evaluate.candidates import Floats

__all__ = ["Learner"]

Floats32 = NDArray[np.float32]

_ROWS: Final = 2048
"""States that are scored at a time."""


class Learner:
    """An algorithm with its networks and optimiser, on the CPU.

    Raises:
        ImportError: torch or d3rlpy is not installed.
    """

    def __init__(self, config: CriticConfig, space: Space) -> None:
        torch, _ = libraries()
        self.config, self.space = config, space
        self.context = 4 * space.layout.slots
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.algo = _MADE[config.algorithm](config, space, self.context)

    @property
    def has_values(self) -> bool:
        """Whether `values` may be asked for."""
        return self.config.algorithm in ("cql", "dqn", "bcq")

    @property
    def step(self) -> int:
        """Gradient steps taken."""
        return int(self.algo.grad_step)

    def update(self, data: Decisions) -> tuple[Mapping[str, float], Any]:
        """Take a gradient step; return the losses and the batch, which depend on seed and step only."""
        torch, _ = libraries()
        if self.config.algorithm == "dt":
            batch = plans_at(data, self.config, self.step)
        else:
            batch = steps_at(data, self.config, self.step)
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed * 1_000_003 + self.step + 1)  # dropout: no state to save
            return self.algo.update(batch), batch

    def values(self, states: Floats32) -> tuple[Floats, Floats]:
        """Return mean and standard deviation over the critics of the value of every action, [S, A] each.

        Raises:
            ValueError: the algorithm learns no values.
        """
        if not self.has_values:
            raise ValueError(f"{self.config.algorithm} learns no values: use cql, dqn or bcq")
        networks = self.algo.impl.modules.q_funcs
        found = np.stack([self._forward(lambda x, one=one: one(x).q_value, states) for one in networks])
        return found.mean(axis=0), found.std(axis=0)

    def scores(self, states: Floats32) -> Floats:
        """Return how much the policy wants every action, [S, A]."""
        if self.config.algorithm in ("cql", "dqn"):
            return self.values(states)[0]
        likely = self._forward(lambda x: self.algo.impl.modules.imitator(x).logits, states)
        if self.config.algorithm == "bc":
            return likely
        kept = likely - likely.max(axis=1, keepdims=True) > np.log(max(self.config.flexibility, 1e-12))
        return np.where(kept, self.values(states)[0], FORBIDDEN + likely / 1e6)  # unlikely ones by their likelihood

    def along(self, plans: Sequence[tuple[Floats32, Ints, Floats]]) -> list[Floats]:
        """Return the Decision Transformer's scores in each state of some plans, [T, A] each.

        A plan is its observations (T, D), its actions (T,), and what is still to be returned in each state (T,).
        """
        torch, _ = libraries()
        count, context = len(plans), max(len(actions) for _, actions, _ in plans)
        x = np.zeros((count, context, self.space.width), dtype=np.float32)
        columns = np.zeros((4, count, context), dtype=np.float32)  # action, return to go, timestep, is there
        for row, (observations, actions, to_go) in enumerate(plans):
            n = len(actions)
            x[row, context - n :] = observations
            columns[:, row, context - n :] = (actions, to_go, np.arange(n) + 1, np.ones(n))
        action, returns, timesteps, there = map(torch.from_numpy, columns)
        transformer = self.algo.impl.modules.transformer
        transformer.eval()
        with one_thread(), torch.no_grad():
            _, logits = transformer(
                torch.from_numpy(x), action[..., None], returns[..., None], timesteps.long(), 1 - there
            )
            found = torch.log_softmax(logits, dim=2).numpy().astype(np.float64)
        return [found[row, context - len(actions) :] for row, (_, actions, _) in enumerate(plans)]

    def _forward(self, network: Any, states: Floats32) -> Floats:
        torch, _ = libraries()
        self.algo.impl.modules.set_eval()
        with one_thread(), torch.no_grad():
            parts = [network(torch.from_numpy(states[at : at + _ROWS])).numpy() for at in range(0, len(states), _ROWS)]
        return np.concatenate(parts).astype(np.float64)


def _common(config: CriticConfig, space: Space) -> dict[str, Any]:
    return {
        "learning_rate": config.learning_rate,
        "batch_size": config.batch,
        "encoder_factory": encoder_factory(space, config.hidden, config.network),
    }


def _q_common(config: CriticConfig, space: Space) -> dict[str, Any]:
    return {
        **_common(config, space),
        "gamma": 1.0,
        "n_critics": config.n_critics,
        "target_update_interval": config.target_every,
        "q_func_factory": masked_q_factory(space, config.hidden, config.network),
    }


def _created(made: Any, space: Space) -> Any:
    made.create_impl((space.width,), space.layout.actions)
    return made


def _cql(config: CriticConfig, space: Space, _: int) -> Any:
    _, d3rlpy = libraries()
    settings = d3rlpy.algos.DiscreteCQLConfig(alpha=config.conservatism, **_q_common(config, space))
    return _created(settings.create(), space)


def _dqn(config: CriticConfig, space: Space, _: int) -> Any:
    _, d3rlpy = libraries()
    return _created(d3rlpy.algos.DoubleDQNConfig(**_q_common(config, space)).create(), space)


def _bcq(config: CriticConfig, space: Space, _: int) -> Any:
    """d3rlpy's imitator is a linear layer without a mask; ours takes its place, with an optimiser that knows it."""
    from d3rlpy.algos.qlearning.torch.bcq_impl import DiscreteBCQModules

    _, d3rlpy = libraries()
    settings = d3rlpy.algos.DiscreteBCQConfig(
        action_flexibility=config.flexibility, beta=0.0, share_encoder=False, **_q_common(config, space)
    )
    algo = _created(settings.create(), space)
    old, imitator = algo.impl.modules, masked_policy(space, config.hidden, config.network)
    modules = [*old.q_funcs.named_modules(), *imitator.named_modules()]
    optim = settings.optim_factory.create(modules, lr=config.learning_rate, compiled=False)
    algo.impl._modules = DiscreteBCQModules(
        q_funcs=old.q_funcs, targ_q_funcs=old.targ_q_funcs, imitator=imitator, optim=optim
    )
    return algo


def _bc(config: CriticConfig, space: Space, _: int) -> Any:
    from d3rlpy.algos.qlearning.torch.bc_impl import DiscreteBCModules

    _, d3rlpy = libraries()
    settings = d3rlpy.algos.DiscreteBCConfig(beta=0.0, **_common(config, space))
    algo = _created(settings.create(), space)
    imitator = masked_policy(space, config.hidden, config.network)
    optim = settings.optim_factory.create(imitator.named_modules(), lr=config.learning_rate, compiled=False)
    algo.impl._modules = DiscreteBCModules(optim=optim, imitator=imitator)
    return algo


def _dt(config: CriticConfig, space: Space, context: int) -> Any:
    """The optimiser is made anew, because it must know the head that reads slots."""
    from d3rlpy.algos.transformer.torch.decision_transformer_impl import DiscreteDecisionTransformerModules

    _, d3rlpy = libraries()
    settings = d3rlpy.algos.DiscreteDecisionTransformerConfig(
        learning_rate=config.learning_rate, batch_size=config.batch, context_size=context, max_timestep=context + 1,
        encoder_factory=encoder_factory(space, config.hidden, f"{config.network}-dt"), num_heads=config.heads,
        num_layers=config.layers, warmup_tokens=2048, position_encoding_type=d3rlpy.PositionEncodingType.SIMPLE,
    )  # fmt: skip
    algo = _created(settings.create(), space)
    transformer = algo.impl.modules.transformer
    mask_into_transformer(transformer, space, config.hidden, config.network)
    optim = settings.optim_factory.create(transformer.named_modules(), lr=config.learning_rate, compiled=False)
    algo.impl._modules = DiscreteDecisionTransformerModules(transformer=transformer, optim=optim)
    return algo


_MADE: Final = {"cql": _cql, "dqn": _dqn, "bcq": _bcq, "bc": _bc, "dt": _dt}
