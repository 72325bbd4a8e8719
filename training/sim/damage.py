"""Hidden damage: what is really wrong with an input, and what a look at it says.

    state     which kinds of damage an input has, each 0 or 1; never shown to anybody who plans
    label     `clean` or the name of one kind: `InputInfo.condition`, right most of the time

A look names one of the kinds that are there (any of them, all alike), or `clean` if there is none; with probability
`blindness` it names anything at all. So the state given the label is known exactly by Bayes' rule, and a plan's
expected quality is a sum over at most 2^3 states.
"""

import itertools
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from catp.training.evaluate.candidates import Floats

__all__ = ["CLEAN", "DamageModel"]

CLEAN = "clean"


class DamageModel:
    """The kinds of damage that one sort of input can have.

    Args:
        kinds: Their names.
        rates: How often each occurs, independently of the others.
        blindness: How often a look says anything at all.
    """

    def __init__(self, kinds: Sequence[str], rates: Sequence[float], blindness: float) -> None:
        self.kinds = tuple(kinds)
        self.rates = tuple(rates)
        self.blindness = blindness
        self.labels = (CLEAN, *self.kinds)

    @cached_property
    def states(self) -> Floats:
        """Every state: severity by (kind, state), 0 or 1."""
        found = list(itertools.product((0.0, 1.0), repeat=len(self.kinds)))
        return np.array(found, dtype=float).reshape(len(found), len(self.kinds)).T

    @cached_property
    def prior(self) -> Floats:
        """The probability of each state."""
        rates = np.array(self.rates)[:, None]
        found: Floats = np.prod(np.where(self.states > 0, rates, 1.0 - rates), axis=0)
        return found

    @cached_property
    def told(self) -> Floats:
        """The probability of each label (row) given each state (column)."""
        present = self.states.sum(axis=0)
        clean = (present == 0).astype(float)[None, :]
        named = np.concatenate([clean, self.states / np.maximum(present, 1.0)])
        return (1.0 - self.blindness) * named + self.blindness / len(self.labels)

    def posterior(self, label: str) -> Floats:
        """The probability of each state given a label; that of all inputs if `label` is none of ours."""
        if label not in self.labels:
            return self.prior
        joint = self.prior * self.told[self.labels.index(label)]
        found: Floats = joint / joint.sum()
        return found

    def draw(self, rng: np.random.Generator) -> tuple[int, str]:
        """Draw a state and what a look at it says."""
        state = int(rng.choice(len(self.prior), p=self.prior))
        return state, self.labels[int(rng.choice(len(self.labels), p=self.told[:, state]))]
