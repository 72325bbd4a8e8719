"""Networks of critics: values of actions that a mask forbids are out of reach, and slots are told by their contents.

d3rlpy has no action masks. `MaskedQ` is a Q function that reads the mask (the last A entries of the observation) and
puts `FORBIDDEN` where it is 0. That is below every utility, and adds e^-20 to a log-sum-exp. So targets, CQL's
penalty, greedy actions, and the next actions FQE asks for are masked with no change to d3rlpy (training.md 5.5).

`slots` network: plan features and what is in the slots, pooled, make a context; tool k and value slot j are then
scored by one network each, q_k = f(context, slot k). So permuting slots permutes values (Zaheer et al., Deep Sets,
arXiv 1703.06114), and a tool that was never seen is scored by its features. `flat` is a plain perceptron.

torch is imported when the first network is made, so the classes are made by functions.
"""

from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any, Final

from catp.training.critic.decisions import Space
from catp.training.critic.libraries import libraries

__all__ = ["FORBIDDEN", "encoder_factory", "mask_into_transformer", "masked_policy", "masked_q_factory"]

FORBIDDEN: Final = -20.0
"""The value of an action that the mask forbids."""


def encoder_factory(space: Space, hidden: Sequence[int], network: str) -> Any:
    """Return a d3rlpy encoder factory for observations of a space."""
    return _classes().EncoderFactory(space=space, hidden=tuple(hidden), network=network)


def masked_q_factory(space: Space, hidden: Sequence[int], network: str) -> Any:
    """Return a d3rlpy Q-function factory whose values are masked; to be used with `encoder_factory`."""
    return _classes().QFactory(space=space, hidden=tuple(hidden), network=network)


def masked_policy(space: Space, hidden: Sequence[int], network: str) -> Any:
    """Return a categorical policy (a module) that never does what the mask forbids."""
    made = _classes()
    encoder = encoder_factory(space, hidden, network).create((space.width,))
    return made.MaskedPolicy(encoder, _head(space, hidden, network), space.layout.actions)


def mask_into_transformer(transformer: Any, space: Space, hidden: Sequence[int], network: str) -> None:
    """Make d3rlpy's Decision Transformer score slots by their contents, and mask its logits."""
    made = _classes()
    transformer._output = made.RememberedHead(transformer._encoder, _head(space, hidden, network))


def _head(space: Space, hidden: Sequence[int], network: str) -> Any:
    made = _classes()
    return made.SlotHead(space, hidden) if network == "slots" else made.FlatHead(space, hidden)


@cache
def _classes() -> SimpleNamespace:  # noqa: C901  # a list of small classes
    """Define the modules; once, because d3rlpy compares classes."""
    torch, _ = libraries()
    from dataclasses import dataclass

    from d3rlpy.models.encoders import EncoderFactory as Encoders
    from d3rlpy.models.q_functions import QFunctionFactory
    from d3rlpy.models.torch import DiscreteMeanQFunctionForwarder
    from d3rlpy.models.torch.q_functions.base import DiscreteQFunction, QFunctionOutput

    nn = torch.nn

    def perceptron(width: int, hidden: Sequence[int]) -> Any:
        layers: list[Any] = []
        for wide in hidden:
            layers += [nn.Linear(width, wide), nn.ReLU()]
            width = wide
        return nn.Sequential(*layers)

    def masked(values: Any, observations: Any) -> Any:
        return torch.where(observations[..., -values.shape[-1] :] > 0.5, values, FORBIDDEN)

    class FlatEncoder(nn.Module):  # type: ignore[misc, name-defined]  # torch is imported late
        """[B, D] -> [B, H]"""

        def __init__(self, space: Space, hidden: Sequence[int]) -> None:
            super().__init__()
            self.body = perceptron(space.width, hidden)

        def forward(self, x: Any) -> Any:
            return self.body(x)

    class SlotEncoder(nn.Module):  # type: ignore[misc, name-defined]
        """[B, D] -> [B, (1 + N + K) H]: a context, then a vector for each value slot and each tool slot."""

        def __init__(self, space: Space, hidden: Sequence[int]) -> None:
            super().__init__()
            layout, wide = space.layout, hidden[-1]
            self.sizes = _sizes(space)
            _, value, tool = (width for _, width in self.sizes)
            self.names = nn.Embedding(len(space.tools) + 1, wide // 2, padding_idx=0)
            self.value = perceptron(value + wide // 2, hidden)
            self.tool = perceptron(tool + wide // 2, hidden)
            self.pool = perceptron(self.sizes[0][1] + 3 * wide, hidden)
            self.slots, self.tools, self.actions, self.wide = layout.slots, layout.tools, layout.actions, wide

        def parts(self, x: Any) -> tuple[Any, Any, Any]:
            """Return context [B, H], value slots [B, N, H] and tool slots [B, K, H]."""
            (_, plan), (_, value), (_, tool) = self.sizes
            mask = x.shape[1] - self.actions
            numbers = x[:, mask - self.slots - self.tools : mask].long()
            at = plan + self.slots * value
            values = x[:, plan:at].reshape(-1, self.slots, value)
            tools = x[:, at : at + self.tools * tool].reshape(-1, self.tools, tool)
            values_h = self.value(torch.cat([values, self.names(numbers[:, : self.slots])], dim=2))
            tools_h = self.tool(torch.cat([tools, self.names(numbers[:, self.slots :])], dim=2))
            taken, offered, opened = values[:, :, :1], tools[:, :, :1], tools[:, :, 1:2]
            pooled = [
                (values_h * taken).sum(dim=1) / 4, (tools_h * offered).sum(dim=1) / 16, (tools_h * opened).sum(dim=1),
            ]  # fmt: skip
            return self.pool(torch.cat([x[:, :plan], *pooled], dim=1)), values_h, tools_h

        def forward(self, x: Any) -> Any:
            context, values, tools = self.parts(x)
            return torch.cat([context, values.flatten(1), tools.flatten(1)], dim=1)

    class ContextEncoder(SlotEncoder):
        """[B, D] -> [B, H]; what the slots hold is remembered for the head (Decision Transformer)."""

        def forward(self, x: Any) -> Any:
            context, values, tools = self.parts(x)
            self.seen = values, tools, x
            return context

    class ContextFlatEncoder(FlatEncoder):
        """[B, D] -> [B, H]; the observation is remembered for its mask."""

        def forward(self, x: Any) -> Any:
            self.seen = None, None, x
            return self.body(x)

    class FlatHead(nn.Module):  # type: ignore[misc, name-defined]
        """[B, H] -> [B, A]"""

        def __init__(self, space: Space, hidden: Sequence[int]) -> None:
            super().__init__()
            self.out = nn.Linear(hidden[-1], space.layout.actions)

        def forward(self, h: Any) -> Any:
            return self.out(h)

        def score(self, context: Any, values: Any, tools: Any) -> Any:
            return self.out(context)

    class SlotHead(nn.Module):  # type: ignore[misc, name-defined]
        """[B, (1 + N + K) H] -> [B, A]"""

        def __init__(self, space: Space, hidden: Sequence[int]) -> None:
            super().__init__()
            self.slots, self.wide = space.layout.slots, hidden[-1]
            self.tool = nn.Sequential(perceptron(2 * self.wide, hidden[-1:]), nn.Linear(self.wide, 1))
            self.link = nn.Sequential(perceptron(2 * self.wide, hidden[-1:]), nn.Linear(self.wide, 1))
            self.close = nn.Linear(self.wide, 2)

        def score(self, context: Any, values: Any, tools: Any) -> Any:
            def each(network: Any, slots: Any) -> Any:
                beside = context[:, None, :].expand(-1, slots.shape[1], -1)
                return network(torch.cat([beside, slots], dim=2)).squeeze(2)

            return torch.cat([each(self.tool, tools), each(self.link, values), self.close(context)], dim=1)

        def forward(self, h: Any) -> Any:
            context, rest = h[:, : self.wide], h[:, self.wide :].reshape(len(h), -1, self.wide)
            return self.score(context, rest[:, : self.slots], rest[:, self.slots :])

    class MaskedQ(DiscreteQFunction):  # type: ignore[misc]
        def __init__(self, encoder: Any, head: Any) -> None:
            super().__init__()
            self._encoder, self.head = encoder, head

        def forward(self, x: Any) -> Any:
            return QFunctionOutput(q_value=masked(self.head(self._encoder(x)), x), quantiles=None, taus=None)

        @property
        def encoder(self) -> Any:
            return self._encoder

    class MaskedPolicy(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, encoder: Any, head: Any, actions: int) -> None:
            super().__init__()
            self._encoder, self.head, self.actions = encoder, head, actions

        def forward(self, x: Any) -> Any:
            logits = masked(self.head(self._encoder(x)), x)
            return torch.distributions.Categorical(logits=logits, validate_args=False)

    class RememberedHead(nn.Module):  # type: ignore[misc, name-defined]
        """[B, T, H] -> [B, T, A] with what the encoder remembers of the same B T observations."""

        def __init__(self, encoder: Any, head: Any) -> None:
            super().__init__()
            object.__setattr__(self, "remembering", encoder)  # not a part: it is saved with the transformer
            self.head = head

        def forward(self, h: Any) -> Any:
            values, tools, x = self.remembering.seen
            found = self.head.score(h.reshape(-1, h.shape[-1]), values, tools)
            return masked(found, x).view(*h.shape[:2], -1)

    @dataclass
    class EncoderFactory(Encoders):  # type: ignore[misc]
        space: Space
        hidden: tuple[int, ...]
        network: str

        def create(self, observation_shape: Sequence[int]) -> Any:
            kinds = {
                "slots": SlotEncoder,
                "flat": FlatEncoder,
                "slots-dt": ContextEncoder,
                "flat-dt": ContextFlatEncoder,
            }
            return kinds[self.network](self.space, self.hidden)

    @dataclass
    class QFactory(QFunctionFactory):  # type: ignore[misc]
        space: Any = None
        hidden: tuple[int, ...] = ()
        network: str = "slots"

        def create_discrete(self, encoder: Any, hidden_size: int, action_size: int) -> Any:
            q_func = MaskedQ(encoder, _head(self.space, self.hidden, self.network))
            return q_func, DiscreteMeanQFunctionForwarder(q_func, action_size)

        @staticmethod
        def get_type() -> str:
            return "catp_masked"

    return SimpleNamespace(
        EncoderFactory=EncoderFactory, QFactory=QFactory, MaskedPolicy=MaskedPolicy, RememberedHead=RememberedHead,
        FlatHead=FlatHead, SlotHead=SlotHead,
    )  # fmt: skip


def _sizes(space: Space) -> tuple[tuple[str, int], ...]:
    """Features of the plan, of one value slot and of one tool slot."""
    features = space.layout.features
    count = {name: sum(one.startswith(f"{name}.") for one in features) for name in ("slot0", "tool0")}
    slots, tools = space.layout.slots * count["slot0"], space.layout.tools * count["tool0"]
    plan = len(features) - slots - tools - space.layout.actions
    return ("plan", plan), ("slot", count["slot0"]), ("tool", count["tool0"])
