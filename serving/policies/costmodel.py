"""How long a step takes: one linear model for the engine's token budget, for policies, for prices and the simulator.

    t = fixed + token * tokens + attend * sum(chunk * (offset + chunk / 2)) + sequence * decodes + kv * kv_tokens

(the form of DistServe's and Vidur's fits). Coefficients are seconds; they are fitted to the engine's own log of steps
(`fit`), and none is below zero.
"""

from dataclasses import dataclass

__all__ = ["CostModel", "Load"]


@dataclass(frozen=True, slots=True)
class Load:
    """The work of a step: tokens in all, query-key pairs of chunks, decoding rows, and keys that those read."""

    tokens: int = 0
    attended: float = 0.0
    decodes: int = 0
    kv_tokens: int = 0


@dataclass(frozen=True, slots=True)
class CostModel:
    """Seconds per unit of work; the defaults are of a 5M-parameter model on one CPU core."""

    fixed: float = 2e-3
    token: float = 1.5e-4
    attend: float = 1e-8
    sequence: float = 1e-4
    kv: float = 1e-8

    def step(self, load: Load) -> float:
        """Return the seconds of a step."""
        return (
            self.fixed + self.token * load.tokens + self.attend * load.attended
            + self.sequence * load.decodes + self.kv * load.kv_tokens
        )  # fmt: skip
