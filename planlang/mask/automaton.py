"""The decode mask: which plan tokens may come next, such that the plan can always be finished.

    start -> step boundary -> tool -> arguments -> <end> -> step boundary -> outputs -> done
                               |          ^
                               |          | <alt>, after an optional guard `<if> path op level`
                               +-> ref -> fields

A `State` is an immutable value: what the plan so far offers (`_Progress`), the step in hand (`_Call`), and the bitmask
of allowed ids, computed once when the state is made. Nothing here looks a whole plan over: types are table look-ups in
`TypeSpace`, money and steps are look-ups in `Reach`.

The mask offers: any tool, positional and skipped arguments, references with fields, constants with ids, one map per
call, alternatives, accept guards on numbers and durations (a guarded call is always followed by an alternative), and
the requested outputs. It does not offer `when`, annotations, templates and list literals; the codec reads them.
"""

from collections.abc import Callable
from typing import NamedTuple

from catp.planlang.mask.completions import Node
from catp.planlang.mask.context import MaskContext
from catp.planlang.mask.reach import Reach
from catp.planlang.mask.space import PATH, TypeSpace
from catp.planlang.nodes import OPERATORS
from catp.planlang.token_ids import constants
from catp.planlang.types import Type

__all__ = ["PlanMask", "State"]


class _Progress(NamedTuple):
    """The plan so far, between steps."""

    values: tuple[int, ...]
    met: int
    node: Node
    money: int
    steps: int


class _Call(NamedTuple):
    """The step in hand and its latest call."""

    tool: int
    fill: int
    over: int
    plain: bool
    """The budget allows to call it unmapped (`over` is zero if it does not allow a map)."""
    money: int
    """What is left once this call is paid, not mapped."""
    shared: int
    """The value all calls of the step so far have in common."""
    used: int
    attempts: int
    others: int
    """Tools that may stand beside this one."""
    mapped: bool = False


class State(NamedTuple):
    """A place in a plan. `mask` has a bit for every id allowed; what the other fields mean depends on `mode`."""

    mask: int
    mode: int
    progress: _Progress
    call: _Call | None = None
    place: int = 0
    type: Type | None = None
    depth: int = 0
    demand: int = 0
    then: "State | None" = None


_START, _BOUNDARY, _TOOL, _ARGS, _GIVEN, _MAPPED, _REF, _TEST, _LEVEL, _GUARDED, _OUT, _OPTIONAL, _OUTS, _DONE = range(
    14
)


class PlanMask:
    """The mask of one request; states are plain values, so one mask serves any number of sequences at once.

    `space` may be shared between masks of the same token context that differ in prices, budget or size.

    Raises:
        Infeasible: if no plan is known that produces the outputs within the budget and the steps.
        ValueError: if `space` was built for another token context.
    """

    def __init__(self, context: MaskContext, space: TypeSpace | None = None) -> None:
        if space is not None and space.context is not context.tokens:
            raise ValueError("the type space was built for another token context")
        self.context = context
        self._space = space or TypeSpace(context.tokens)
        self._reach = Reach(context, self._space)
        vocabulary = context.tokens.vocabulary
        self._first_tool = vocabulary.span("t").start
        self._first_param = vocabulary.span("a").start
        self._first_out = vocabulary.span("o").start
        self._first_step = vocabulary.span("n").start
        self._first_input = vocabulary.span("i").start
        self._ids = {name: vocabulary.id(f"<{name}>") for name in ("plan", "/plan", "end", "alt", "each", "if", "?")}
        self._bit = {name: 1 << token for name, token in self._ids.items()}
        self._operators = vocabulary.bits(vocabulary.id(f"<{op}>") for op in OPERATORS)
        self._required = vocabulary.bits(
            demand for demand, goal in zip(self._space.goals, context.tokens.goals, strict=True) if not goal.optional
        )
        self._levels = {
            name: vocabulary.bits(vocabulary.span("q")[: len(found[1])])
            for name in ("number", "int", "duration")
            if (found := constants(Type(name))) is not None
        }
        self._moves: tuple[Callable[[State, int], State], ...] = (
            self._on_start, self._on_boundary, self._on_tool, self._on_argument, self._on_given, self._on_mapped,
            self._on_ref, self._on_test, self._on_level, self._on_guarded, self._on_out, self._on_optional,
            self._on_outs, self._on_done,
        )  # fmt: skip
        self._args: dict[tuple[int, int, int, bool, int, bool], tuple[int, int, int, bool]] = {}

    def start(self) -> State:
        """The state before `<plan>`."""
        inputs = self._space.inputs
        root = self._reach.root
        progress = _Progress(inputs, self._space.served(inputs), root, self._reach.money, self._reach.steps)
        return State(self._bit["plan"], _START, progress)

    def allowed(self, state: State) -> int:
        """The ids that may come next, as a bitmask; zero only when the plan is finished."""
        return state.mask

    def advance(self, state: State, token: int) -> tuple[State, tuple[int, ...]]:
        """Take `token` and then all tokens that are forced; return the new state and the forced tokens.

        Raises:
            ValueError: if `token` is not allowed.
        """
        if token < 0 or not state.mask >> token & 1:
            raise ValueError(f"token id {token!r} is not allowed here")
        moves = self._moves
        state = moves[state.mode](state, token)
        mask = state.mask
        if not mask or mask & (mask - 1):
            return state, ()
        forced: list[int] = []
        while mask and not mask & (mask - 1):
            token = mask.bit_length() - 1
            forced.append(token)
            state = moves[state.mode](state, token)
            mask = state.mask
        return state, tuple(forced)

    def finished(self, state: State) -> bool:
        """True after `</plan>`."""
        return state.mode == _DONE

    # Steps

    def _on_start(self, state: State, token: int) -> State:
        return self._boundary(state.progress)

    def _boundary(self, progress: _Progress) -> State:
        mask = 0
        if progress.steps:
            ready, mappable = self._space.runnable(progress.met)
            plain, mapped = self._reach.affordable(progress.node, progress.money, progress.steps)
            mask = (ready & plain | mappable & mapped) << self._first_tool
        if self._required & ~progress.met == 0:
            mask |= self._outs_from(0, progress.met)
        return State(mask, _BOUNDARY, progress)

    def _on_boundary(self, state: State, token: int) -> State:
        progress = state.progress
        tool = token - self._first_tool
        if tool < 0:
            return self._on_outs(state, token)
        reach, face = self._reach, self._space.tools[tool]
        fill, over = self._space.filled(tool, progress.met)
        price = reach.prices[tool]
        steps = progress.steps - 1
        plain = reach.suffices(reach.after(progress.node, face.value), progress.money - price, steps)
        left = progress.money - price * self.context.width
        if over and not reach.suffices(reach.after(progress.node, face.mapped), left, steps):
            over = 0
        used = 1 << tool
        money = progress.money - price
        others = self._others(progress, face.value, money, used) if self.context.max_attempts > 1 else 0
        call = _Call(tool, fill, over, plain, money, face.value, used, 1, others)
        return self._arguments(progress, call, 0)

    def _others(self, progress: _Progress, value: int, money: int, used: int) -> int:
        ready, _ = self._space.runnable(progress.met)
        return self._reach.alternatives(progress.node, value, money, progress.steps) & ready & ~used

    def _on_tool(self, state: State, token: int) -> State:
        """The tool of an alternative."""
        progress, before = state.progress, state.call
        assert before is not None
        tool = token - self._first_tool
        fill, _ = self._space.filled(tool, progress.met)
        money = before.money - self._reach.prices[tool]
        shared = self._space.common(before.shared, self._space.tools[tool].value)
        used = before.used | 1 << tool
        attempts = before.attempts + 1
        others = self._others(progress, shared, money, used) if attempts < self.context.max_attempts else 0
        return self._arguments(progress, _Call(tool, fill, 0, True, money, shared, used, attempts, others), 0)

    # Arguments

    def _arguments(self, progress: _Progress, call: _Call, place: int) -> State:
        key = (call.tool, call.fill, call.over, call.plain, place, call.mapped)
        found = self._args.get(key)
        if found is None:
            found = self._args[key] = self._find_arguments(*key)
        mask, demand, _, ends = found
        if demand >= 0:
            mask |= self._references(progress.values, demand)
        if ends:
            mask |= self._bit["end"]
            if call.others and not call.mapped:
                mask |= self._bit["alt"]
                if self._space.serves[self._space.tools[call.tool].value] >> self._space.guard & 1:
                    mask |= self._bit["if"]
        return State(mask, _ARGS, progress, call, place)

    def _find_arguments(
        self, tool: int, fill: int, over: int, plain: bool, place: int, mapped: bool
    ) -> tuple[int, int, int, bool]:
        """What may come at parameter `place`: ids, the demand references must meet (or -1), ids of jumps, the end."""
        face = self._space.tools[tool]

        def finishable(start: int, mapped: bool) -> bool:
            lacking = face.required >> start << start & ~fill
            maps = over >> start << start
            if mapped:
                return lacking == 0
            if lacking == 0:
                return plain or maps != 0
            return lacking & (lacking - 1) == 0 and lacking & maps != 0

        def giving(at: int) -> bool:
            return bool(fill >> at & 1) and finishable(at + 1, mapped)

        def mapping(at: int) -> bool:
            return not mapped and bool(over >> at & 1) and finishable(at + 1, True)

        ids, demand = 0, -1
        if place < len(face.slots):
            ids, demand = self._giving(tool, place, giving(place), mapping(place))
        jumps = 0
        for later in range(place + 1, len(face.slots)):
            if face.required >> (later - 1) & 1:
                break
            if giving(later) or mapping(later):
                jumps |= 1 << (self._first_param + later)
        ends = face.required >> place == 0 and (mapped or plain)
        return ids | jumps, demand, jumps, ends

    def _giving(self, tool: int, place: int, giving: bool, mapping: bool) -> tuple[int, int]:
        slot = self._space.tools[tool].slots[place]
        ids = slot.constants if giving else 0
        if mapping:
            ids |= self._bit["each"]
        return ids, slot.plain if giving else -1

    def _references(self, values: tuple[int, ...], demand: int) -> int:
        """Ids of the inputs and steps that serve a demand."""
        serves = self._space.serves
        inputs = len(self._space.inputs)
        mask = 0
        for position, value in enumerate(values):
            if serves[value] >> demand & 1:
                mask |= 1 << (
                    self._first_input + position if position < inputs else self._first_step + position - inputs
                )
        return mask

    def _on_argument(self, state: State, token: int) -> State:
        progress, call = state.progress, state.call
        assert call is not None
        if token == self._ids["end"]:
            return self._finish(progress, call)
        if token == self._ids["alt"]:
            return State(call.others << self._first_tool, _TOOL, progress, call)
        if token == self._ids["if"]:
            value = self._space.tools[call.tool].value
            return self._test(state, self._space.values[value], PATH)
        later = token - self._first_param
        if 0 <= later < 16:
            return self._jumped(progress, call, later)
        return self._on_given(state, token)

    def _jumped(self, progress: _Progress, call: _Call, place: int) -> State:
        """After `<aK>`: the same as at K, but nothing may be skipped or ended now."""
        found = self._arguments(progress, call, place)
        _, _, jumps, _ = self._args[call.tool, call.fill, call.over, call.plain, place, call.mapped]
        closing = jumps | self._bit["end"] | self._bit["alt"] | self._bit["if"]
        return State(found.mask & ~closing, _GIVEN, progress, call, place)

    def _on_given(self, state: State, token: int) -> State:
        """A value for the parameter in hand, or `<each>`."""
        progress, call, place = state.progress, state.call, state.place
        assert call is not None
        slot = self._space.tools[call.tool].slots[place]
        if token == self._ids["each"]:
            return State(self._references(progress.values, slot.each), _MAPPED, progress, call, place)
        after = self._arguments(progress, call, place + 1)
        if slot.constants >> token & 1:
            return after
        return self._reference(progress, token, slot.plain, after)

    def _on_mapped(self, state: State, token: int) -> State:
        progress, call, place = state.progress, state.call, state.place
        assert call is not None
        slot = self._space.tools[call.tool].slots[place]
        after = self._arguments(progress, call._replace(mapped=True), place + 1)
        return self._reference(progress, token, slot.each, after)

    def _reference(self, progress: _Progress, token: int, demand: int, then: State) -> State:
        position = token - self._first_step
        position = position + len(self._space.inputs) if 0 <= position < 64 else token - self._first_input
        return self._path(self._space.values[progress.values[position]], PATH, demand, then)

    def _path(self, type_: Type, depth: int, demand: int, then: State) -> State:
        """Within a reference: more fields if they lead anywhere, and what follows if the value fits already."""
        fields, _ = self._space.fields(type_, depth, demand)
        fits = self._space.fits(type_, demand)
        if not fields:
            return then
        return State(fields | then.mask if fits else fields, _REF, then.progress, None, 0, type_, depth, demand, then)

    def _on_ref(self, state: State, token: int) -> State:
        assert state.type is not None
        assert state.then is not None
        _, fields = self._space.fields(state.type, state.depth, state.demand)
        field = fields.get(token)
        if field is None:
            return self._moves[state.then.mode](state.then, token)
        return self._path(field, state.depth - 1, state.demand, state.then)

    def _finish(self, progress: _Progress, call: _Call) -> State:
        """`<end>`: the step's value is at hand."""
        value, money = call.shared, call.money
        if call.mapped:
            value = self._space.tools[call.tool].mapped
            money -= self._reach.prices[call.tool] * (self.context.width - 1)
        node = self._reach.after(progress.node, value)
        met = progress.met | self._space.serves[value]
        return self._boundary(_Progress((*progress.values, value), met, node, money, progress.steps - 1))

    # Accept guards

    def _test(self, state: State, type_: Type, depth: int) -> State:
        guard = self._space.guard
        mask, _ = self._space.fields(type_, depth, guard)
        if self._space.fits(type_, guard):
            mask |= self._operators
        return State(mask, _TEST, state.progress, state.call, state.place, type_, depth)

    def _on_test(self, state: State, token: int) -> State:
        assert state.type is not None
        if self._operators >> token & 1:
            return State(self._levels[state.type.name], _LEVEL, state.progress, state.call)
        _, fields = self._space.fields(state.type, state.depth, self._space.guard)
        return self._test(state, fields[token], state.depth - 1)

    def _on_level(self, state: State, token: int) -> State:
        return State(self._bit["alt"], _GUARDED, state.progress, state.call)

    def _on_guarded(self, state: State, token: int) -> State:
        assert state.call is not None
        return State(state.call.others << self._first_tool, _TOOL, state.progress, state.call)

    # Outputs

    def _outs_from(self, position: int, met: int) -> int:
        """Ids that may follow once outputs before `position` are written or left out."""
        goals = self.context.tokens.goals
        mask = 0
        for k in range(position, len(goals)):
            if met >> self._space.goals[k] & 1:
                mask |= 1 << (self._first_out + k)
            if not goals[k].optional:
                return mask
        return mask | self._bit["/plan"]

    def _on_outs(self, state: State, token: int) -> State:
        progress = state.progress
        if token == self._ids["/plan"]:
            return State(0, _DONE, progress)
        place = token - self._first_out
        demand = self._space.goals[place]
        return State(self._references(progress.values, demand), _OUT, progress, None, place, demand=demand)

    def _on_out(self, state: State, token: int) -> State:
        progress, place = state.progress, state.place
        if self.context.tokens.goals[place].optional:
            then = State(self._bit["?"], _OPTIONAL, progress, None, place)
        else:
            then = State(self._outs_from(place + 1, progress.met), _OUTS, progress)
        return self._reference(progress, token, state.demand, then)

    def _on_optional(self, state: State, token: int) -> State:
        return State(self._outs_from(state.place + 1, state.progress.met), _OUTS, state.progress)

    def _on_done(self, state: State, token: int) -> State:
        raise AssertionError("a finished plan allows no token")
