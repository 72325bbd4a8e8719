"""Reading pickles that nobody vouches for: data comes out, and nothing can be run.

`pickle` is a small program: its REDUCE, NEWOBJ and BUILD instructions call whatever the file names, and even a
restricted `find_class` leaves the extension registry, `__setstate__` and memory to the file. So nothing is unpickled
here. `load` walks the instructions (`pickletools.genops`, the standard parser) and builds lists, dicts, tuples and
scalars itself. Where an object would be made it notes what the file asked for in a `Record`: a name and its arguments,
inert. There is no instruction that calls anything, imports anything or looks up an attribute.

    record = load(data, allowed=frozenset({"collections.defaultdict"}))

Names that are not allowed, instructions that plain data does not need, and files that would grow beyond `Limits` are
refused with an `UnsafePickle` that says what was found and at which byte.
"""

import pickletools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

__all__ = ["Limits", "Record", "UnsafePickle", "load"]


class UnsafePickle(ValueError):
    """The file asks for something that reading data does not need; nothing of it was run."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a file and what it unfolds to may be.

    Pickles can refer to one value many times, so a small file may unfold to more values than there is memory: `values`
    counts every value as often as it is reached from the top.
    """

    bytes: int = 16 << 20
    values: int = 20_000_000
    depth: int = 64


@dataclass(slots=True, eq=False)
class Record:
    """An object the file wanted to have made: what by (`module.name`), with which arguments, state and items."""

    of: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<{self.of}>"  # what is in it may be large


@dataclass(frozen=True, slots=True)
class _Name:
    """A global the file named; it is no value, and stands for nothing that could be called."""

    of: str


class _Mark:
    pass


_MARK: Final = _Mark()
_KEYS: Final = (str, int, float, bool, bytes, type(None))
"""What may be a key: hashing nested tuples takes time exponential in their depth."""


def load(data: bytes, allowed: Collection[str], *, limits: Limits = Limits()) -> Any:
    """Return the value of a pickle as lists, dicts, tuples, scalars and `Record`s.

    Args:
        data: The whole file.
        allowed: Names (`module.name`) that may occur; they are noted, never imported.
        limits: When to stop.

    Raises:
        UnsafePickle: The file names something else, uses an instruction that plain data does not need, refers to
            itself, or is too large. Nothing was run.
        ValueError: It is no pickle, or is cut short.
    """
    if len(data) > limits.bytes:
        raise UnsafePickle(f"{len(data):,} bytes, more than the {limits.bytes:,} that are read")
    machine = _Machine(frozenset(allowed))
    for name, argument, position in _instructions(data):
        step = _STEPS.get(name)
        if step is None:
            raise UnsafePickle(f"byte {position}: {name} is not needed for data, and not run")
        try:
            step(machine, argument)
        except UnsafePickle as error:
            raise UnsafePickle(f"byte {position}: {error}") from None
        except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"byte {position}: not a well-formed pickle ({name}): {error}") from None
        if name == "STOP":
            break
    value = machine.result
    if isinstance(value, _Name):
        raise UnsafePickle(f"the file is nothing but the name {value.of}")
    _check_shape(value, limits)
    return value


def _instructions(data: bytes) -> Iterator[tuple[str, Any, int]]:
    """The instructions and their arguments; nothing is done with them."""
    try:
        for opcode, argument, position in pickletools.genops(BytesIO(data)):
            yield opcode.name, argument, position or 0
    except (ValueError, UnicodeDecodeError, OverflowError) as error:
        raise ValueError(f"not a pickle, or cut short: {error}") from None


class _Machine:
    """The stack and memo of a pickle. A step never calls, imports or looks anything up by a name of the file."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self.allowed = allowed
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.result: Any = None

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a value expected, not a mark")
        return value

    def since_mark(self) -> list[Any]:
        """Take everything above the latest mark, and the mark."""
        found: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            found.append(value)
        found.reverse()
        return found

    def top(self) -> Any:
        return self.stack[-1]

    def name(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise UnsafePickle("a global is named by texts")
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"  # what protocol 2 calls it
        if full not in self.allowed:
            raise UnsafePickle(f"the file asks for {full[:200]!r}, which is not allowed; nothing was run")
        self.push(_Name(full))

    def make(self) -> None:
        """REDUCE and NEWOBJ: note the object instead of making it."""
        args, what = self.pop(), self.pop()
        if not isinstance(what, _Name):
            raise UnsafePickle(f"the file calls a {type(what).__name__}, not an allowed name")
        if not isinstance(args, tuple):
            raise ValueError("arguments are a tuple")
        self.push(Record(what.of, args))

    def build(self) -> None:
        state = self.pop()
        target = self.top()
        if not isinstance(target, Record):
            raise UnsafePickle(f"the file sets the state of a {type(target).__name__}")
        target.state = state

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, list):
            raise ValueError(f"appends to a {type(target).__name__}")
        target.extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self.top()
        items = target.items if isinstance(target, Record) else target
        if not isinstance(items, dict) or len(values) % 2:
            raise ValueError(f"items for a {type(target).__name__}")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, _KEYS):
                raise UnsafePickle(f"a {type(key).__name__} as a key; only texts, numbers and bytes may be")
            items[key] = value

    def stop(self) -> None:
        if len(self.stack) != 1:
            raise ValueError(f"{len(self.stack)} values are left, not one")
        self.result = self.pop()


def _pairs(count: int) -> Callable[[_Machine, Any], None]:
    def step(machine: _Machine, _: Any) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.push(tuple(reversed(values)))

    return step


def _constant(value: Any) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.push(value)


def _literal(machine: _Machine, argument: Any) -> None:
    machine.push(argument)


def _global(machine: _Machine, argument: Any) -> None:
    machine.name(*argument.split(" ", 1))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    machine.name(module, name)


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


_Step = Callable[[_Machine, Any], None]

_STEPS: Final[dict[str, _Step]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, argument: None),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
         "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        _literal,
    ),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "MARK": _constant(_MARK),
    "EMPTY_TUPLE": _constant(()),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "TUPLE1": _pairs(1),
    "TUPLE2": _pairs(2),
    "TUPLE3": _pairs(3),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "MEMOIZE": lambda machine, _: machine.memo.__setitem__(len(machine.memo), machine.top()),
    **dict.fromkeys(
        ("BINPUT", "LONG_BINPUT"), lambda machine, argument: machine.memo.__setitem__(argument, machine.top())
    ),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, argument: machine.push(machine.memo[argument])),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": lambda machine, _: machine.make(),
    "NEWOBJ": lambda machine, _: machine.make(),
    "BUILD": lambda machine, _: machine.build(),
    "STOP": lambda machine, _: machine.stop(),
}  # fmt: skip


_CONTAINERS: Final = (list, tuple, dict, Record)


def _check_shape(top: Any, limits: Limits) -> None:
    """Refuse values that refer to themselves, are nested too deep, or unfold to too many.

    Sizes are counted once per container, children first, so shared parts cost nothing to count.
    """
    sizes: dict[int, tuple[int, int]] = {}  # of finished containers: unfolded size, depth
    open_: set[int] = set()
    work: list[tuple[Any, bool]] = [(top, False)]
    while work:
        value, done = work.pop()
        if not isinstance(value, _CONTAINERS):
            continue
        key = id(value)
        if done:
            size, depth = 1, 0
            for part in _parts(value):
                part_size, part_depth = sizes.get(id(part), (1, 0))
                size, depth = size + part_size, max(depth, part_depth)
            sizes[key] = (size, depth + 1)
            if size > limits.values or depth >= limits.depth:
                raise UnsafePickle(
                    f"unfolds to {size:,} values nested {depth + 1} deep; at most {limits.values:,} and {limits.depth}"
                )
            open_.discard(key)
        elif key in open_:
            raise UnsafePickle("a value contains itself")
        elif key not in sizes:
            open_.add(key)
            work.append((value, True))
            inner = {id(part): part for part in _parts(value) if isinstance(part, _CONTAINERS)}
            work.extend((part, False) for part in inner.values())


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Record):
        return [*value.args, value.state, *value.items.values()]
    return list(value.values()) if isinstance(value, dict) else list(value)
