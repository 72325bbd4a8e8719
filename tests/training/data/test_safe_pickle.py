"""Hostile pickles are refused, and none of them runs anything; plain ones come out as they are."""

import codecs
import collections
import copyreg
import os
import pickle
import struct
import subprocess
import sys
from collections import OrderedDict, defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.training.data import safe_pickle
from catp.training.data.safe_pickle import Limits, Record, UnsafePickle

ALLOWED = frozenset({"collections.defaultdict", "builtins.dict", "builtins.list"})
CANARY = "CATP_PICKLE_CANARY"


_watching = False
_alarms: list[str] = []
_EVENTS = ("os.system", "subprocess.Popen", "exec", "compile", "import", "open", "os.exec", "pickle.find_class")


def _alarm(event: str, args: tuple[Any, ...]) -> None:
    if _watching and event in _EVENTS:
        _alarms.append(f"{event} {args!r:.100}")


sys.addaudithook(_alarm)  # stays for the life of the process, so it does nothing unless a file is being loaded


def load(data: bytes, allowed: Any, **options: Any) -> Any:
    """The real `load`, watched by the interpreter's own audit: nothing is run, imported, compiled or opened."""
    global _watching
    modules = set(sys.modules)
    _watching = True
    try:
        return safe_pickle.load(data, allowed, **options)
    finally:
        _watching = False
        found = _alarms.copy()
        _alarms.clear()
        assert found == []
        assert CANARY not in os.environ
        assert set(sys.modules) == modules
        assert not Path(f"/tmp/{CANARY}").exists()


def test_the_watch_sees_what_the_standard_unpickler_does() -> None:
    global _watching
    _watching = True
    try:
        pickle.loads(pickle.dumps(Reduced(eval, "1 + 1")))
    finally:
        _watching = False
        found = _alarms.copy()
        _alarms.clear()
    assert any(event.startswith("pickle.find_class") for event in found)
    assert any(event.startswith("compile") for event in found)


class Reduced:
    """Pickles as a call of anything."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def canary() -> str:
    return f"import os; os.environ[{CANARY!r}] = '1'"


HOSTILE = {
    "os.system": Reduced(os.system, f"touch /tmp/{CANARY}"),
    "builtins.eval": Reduced(eval, f"__import__('os').environ.update({CANARY}='1')"),
    "builtins.exec": Reduced(exec, canary()),
    "builtins.getattr": Reduced(getattr, dict, "fromkeys"),
    "builtins.__import__": Reduced(__import__, "antigravity"),
    "subprocess.Popen": Reduced(subprocess.Popen, ["touch", f"/tmp/{CANARY}"]),
    "_codecs.encode": Reduced(codecs.encode, "x", "rot13"),
    "builtins.bytearray": Reduced(bytearray, 1 << 40),
    "builtins.open": Reduced(open, f"/tmp/{CANARY}", "w"),
    "collections.OrderedDict": OrderedDict(a=1),
    "datetime.datetime": datetime(2026, 1, 1),
    "pathlib.PosixPath": Path("/tmp"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("around", [lambda x: x, lambda x: [1, {"k": (x,)}], lambda x: defaultdict(list, {1: [x]})])
def test_names_that_are_not_allowed_are_refused_and_named(name: str, protocol: int, around: Any) -> None:
    data = pickle.dumps(around(HOSTILE[name]), protocol)
    with pytest.raises(UnsafePickle) as caught:
        load(data, ALLOWED)
    assert f".{name.rpartition('.')[2]}'" in str(caught.value)
    assert "byte " in str(caught.value)


@pytest.mark.parametrize("protocol", [0, 1])
def test_old_protocols_are_refused(protocol: int) -> None:
    with pytest.raises((UnsafePickle, ValueError)):
        load(pickle.dumps(HOSTILE["os.system"], protocol), ALLOWED)


def op(name: str) -> bytes:
    return bytes(getattr(pickle, name))


def text(value: str) -> bytes:
    return op("SHORT_BINUNICODE") + bytes([len(value)]) + value.encode()


DICT = op("GLOBAL") + b"builtins\ndict\n"

CRAFTED: dict[str, bytes] = {
    "a dotted name": text("collections") + text("defaultdict.__class__") + op("STACK_GLOBAL"),
    "a name out of an allowed one": text("builtins") + text("dict.__init__.__globals__") + op("STACK_GLOBAL"),
    "dots in the module": op("GLOBAL") + b"collections.abc\nsys\n",
    "the old module name": op("GLOBAL") + b"__builtin__\neval\n",
    "a call of a text": text("eval") + op("EMPTY_TUPLE") + op("REDUCE"),
    "a call of a record": DICT + op("EMPTY_TUPLE") + op("REDUCE") + op("EMPTY_TUPLE") + op("REDUCE"),
    "INST": op("MARK") + text("id") + op("INST") + b"os\nsystem\n",
    "OBJ": op("MARK") + DICT + text("id") + op("OBJ"),
    "NEWOBJ_EX": DICT + op("EMPTY_TUPLE") + op("EMPTY_DICT") + op("NEWOBJ_EX"),
    "EXT1": op("EXT1") + b"\x01",
    "EXT2": op("EXT2") + b"\x01\x00",
    "EXT4": op("EXT4") + b"\x01\x00\x00\x00",
    "PERSID": op("PERSID") + b"os.system\n",
    "BINPERSID": text("os.system") + op("BINPERSID"),
    "state of a list": op("EMPTY_LIST")
    + op("EMPTY_DICT")
    + text("__class__")
    + op("NONE")
    + op("SETITEM")
    + op("BUILD"),
    "state of a global": DICT + op("EMPTY_DICT") + op("BUILD"),
    "items of a list": op("EMPTY_LIST") + text("a") + op("NONE") + op("SETITEM"),
    "a tuple as key": op("EMPTY_DICT") + op("EMPTY_TUPLE") + op("NONE") + op("SETITEM"),
    "a record as key": op("EMPTY_DICT") + DICT + op("EMPTY_TUPLE") + op("REDUCE") + op("NONE") + op("SETITEM"),
    "out-of-band buffer": op("NEXT_BUFFER"),
    "bytearray of 1 TB": op("BYTEARRAY8") + struct.pack("<Q", 1 << 40),
    "text of 8 EB": op("BINUNICODE8") + struct.pack("<Q", 1 << 62),
    "a global alone": DICT,
    "nothing": b"",
    "an empty stack": op("APPEND"),
    "a mark only": op("MARK"),
    "an unknown memo": op("BINGET") + b"\x07",
    "two values": op("NONE") + op("NONE"),
    "an unpaired mark": op("TUPLE"),
    "a very long number": op("LONG") + b"9" * 100_000 + b"L\n",
    "cut short": op("BINFLOAT") + b"\x00",
}


@pytest.mark.parametrize("what", CRAFTED)
def test_crafted_files_are_refused(what: str) -> None:
    with pytest.raises(ValueError):
        load(b"\x80\x04" + CRAFTED[what] + b".", ALLOWED)


def test_a_registered_extension_is_not_looked_up() -> None:
    copyreg.add_extension("os", "system", 0x70)
    copyreg._extension_cache[0x70] = os.system  # type: ignore[attr-defined]  # what makes it skip find_class
    try:
        with pytest.raises(UnsafePickle, match="EXT1"):
            load(b"\x80\x02\x82\x70X\x02\x00\x00\x00id\x85R.", ALLOWED)
    finally:
        copyreg.remove_extension("os", "system", 0x70)
        copyreg._extension_cache.pop(0x70, None)  # type: ignore[attr-defined]


def test_hooks_of_allowed_names_are_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loud:
        def __init__(self) -> None:
            self.x = 1

        def __setstate__(self, state: Any) -> None:
            raise AssertionError("called")

        __reduce_ex__ = object.__reduce_ex__

    monkeypatch.setattr(collections, "Loud", Loud, raising=False)
    Loud.__module__, Loud.__qualname__ = "collections", "Loud"
    found = load(pickle.dumps(Loud(), 4), {"collections.Loud"})
    assert isinstance(found, Record)
    assert (found.of, found.state) == ("collections.Loud", {"x": 1})


def test_a_huge_memo_index_takes_no_memory() -> None:
    data = b"\x80\x02" + b"]" + b"r" + struct.pack("<I", 0xFFFFFFFF) + b"."  # 64 GB for the C unpickler
    assert load(data, ALLOWED) == []


def laughs(levels: int, width: int = 10) -> bytes:
    value: list[Any] = ["ha"]
    for _ in range(levels):
        value = [value] * width
    return pickle.dumps(value, 4)


def test_a_small_file_may_not_unfold_to_more_than_there_is_memory() -> None:
    data = laughs(12)
    assert len(data) < 2_000
    with pytest.raises(UnsafePickle, match="unfolds"):
        load(data, ALLOWED)
    assert load(laughs(4), ALLOWED)[0][0][0][0] == ["ha"]


def test_depth_size_and_cycles_are_limited() -> None:
    tuples = b"\x80\x02)" + b"\x85" * 200_000 + b"."
    with pytest.raises(UnsafePickle, match="nested"):
        load(tuples, ALLOWED)
    cycle: list[Any] = []
    cycle.append({"self": cycle})
    with pytest.raises(UnsafePickle, match="contains itself"):
        load(pickle.dumps(cycle), ALLOWED)
    with pytest.raises(UnsafePickle, match="bytes, more than"):
        load(b"\x80" * 101, ALLOWED, limits=Limits(bytes=100))


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=30,
)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(json_like, st.sampled_from([3, 4, 5]))
def test_plain_data_comes_out_as_pickle_reads_it(value: Any, protocol: int) -> None:
    assert load(pickle.dumps(value, protocol), ALLOWED) == value


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        load(b"\x80\x04" + data, ALLOWED)
    except ValueError:
        pass


def test_objects_are_noted_and_not_made() -> None:
    found = load(pickle.dumps(defaultdict(dict, {3: {"a": 1}})), ALLOWED)
    assert isinstance(found, Record)
    assert found.of == "collections.defaultdict"
    assert found.items == {3: {"a": 1}}
