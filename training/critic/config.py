"""The configuration of a critic: every key checked, and the digest that a run is resumed by."""

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["Algorithm", "CriticConfig"]

Algorithm = Literal["cql", "bcq", "bc", "dqn", "dt"]


class CriticConfig(BaseModel):
    """How a critic is trained. `seed` decides initial weights, held-out tasks, batches and dropout.

    algorithm     cql and dqn learn values, bcq values of likely actions, bc and dt (Decision Transformer) actions
    network       `slots` scores each tool and value slot by one shared network, so that their order does not matter;
                  `flat` is a plain perceptron over the whole observation
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    algorithm: Algorithm = "cql"
    network: Literal["slots", "flat"] = "slots"
    seed: int = Field(default=0, ge=0)
    steps: int = Field(default=300, ge=1)
    every: int = Field(default=50, ge=1)
    """Gradient steps between two evaluations; each one saves the run. Divides `steps`."""
    patience: int = Field(default=3, ge=1)
    """Evaluations without a lower regret on the held-out tasks before training stops."""
    batch: int = Field(default=128, ge=1)
    """Decisions per gradient step; of `dt`, a sixteenth as many whole plans."""
    learning_rate: float = Field(default=1e-3, gt=0)
    hidden: tuple[int, ...] = Field(default=(64, 64), min_length=1)
    n_critics: int = Field(default=2, ge=1)
    conservatism: float = Field(default=0.1, ge=0)
    """Weight of CQL's penalty on values of actions that were not logged."""
    flexibility: float = Field(default=0.3, ge=0, lt=1)
    """BCQ leaves out actions less likely than this share of the likeliest one."""
    n_steps: int = Field(default=3, ge=1)
    """Decisions that a target looks ahead: three are one step of a plan with one link."""
    ends: float = Field(default=0.25, ge=0, le=1)
    """Share of the decisions of a batch that are STOP: there the score is seen."""
    target_every: int = Field(default=20, ge=1)
    """Gradient steps between two copies to the target network."""
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)
    """Of the Decision Transformer."""
    alphas: tuple[float, ...] = Field(default=(0.5, 0.8, 0.9, 0.95, 1.0), min_length=1)
    """Weights of quality that plans are relabelled with: outcomes are logged apart from the weight."""
    eval_alphas: tuple[float, ...] = Field(default=(0.5, 0.8, 0.95), min_length=1)
    """Weights at which the regret on held-out tasks is measured; its mean decides."""
    decode: Literal["greedy", "end"] = "greedy"
    """How a plan is chosen in evaluations: see `catp.training.critic.decoding`."""
    max_sets: int | None = Field(default=600, ge=1)
    """Most inputs that are learned from, drawn evenly over tasks."""
    holdout: float = Field(default=0.15, gt=0, lt=1)
    """Share of the tasks that decide when to stop."""
    max_holdout: int = Field(default=40, ge=1)
    """Most inputs of those tasks."""
    tools: int = Field(default=24, ge=1)
    slots: int = Field(default=16, ge=2)
    """Tool slots and value slots of an observation; inputs whose plans need more are left out."""

    @field_validator("alphas", "eval_alphas")
    @classmethod
    def _weights(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        wrong = [value for value in values if not 0 <= value <= 1]
        if wrong:
            raise ValueError(f"alpha is a weight from 0 to 1, not {wrong[0]}")
        return values

    @model_validator(mode="after")
    def _fits(self) -> "CriticConfig":
        if self.steps % self.every:
            raise ValueError(f"steps ({self.steps}) must be a multiple of every ({self.every}): runs are saved there")
        if self.decode == "end" and self.algorithm in ("bc", "dt"):
            raise ValueError(f"{self.algorithm} has no values: decode 'end' needs cql, dqn or bcq")
        if self.algorithm == "dt" and self.hidden[-1] % self.heads:
            raise ValueError(f"the last of hidden ({self.hidden[-1]}) must be a multiple of heads ({self.heads})")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of everything but `steps`: a run may be made longer, not different."""
        data: dict[str, Any] = self.model_dump(mode="json", exclude={"steps"})
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
