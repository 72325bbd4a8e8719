"""The value codec: every value that plans carry comes back exactly, and nothing else is believed."""

import contextlib
import dataclasses
import datetime
import decimal
import enum
import functools
import json
import math
import pickle
import subprocess
import sys
import typing
import zoneinfo
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from catp.runtime.codec import DecodeError, Encoded, decode, digest_arguments, encode
from catp.tools.builtin.records import Faces, Reading

MODES = [
    "1",
    "L",
    "LA",
    "P",
    "RGB",
    "RGBA",
    "I",
    "F",
    "I;16",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "La",
    "RGBa",
    "RGBX",
    "PA",
]


class Colour(enum.Enum):
    RED = "r"
    GREEN = (1, 2)
    ALSO_RED = "r"  # noqa: PIE796 - an alias


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Point(typing.NamedTuple):
    x: Any
    y: Any = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    text: str
    inner: Any


@dataclasses.dataclass
class Guarded:
    """Code of the class must not run when it comes back."""

    count: Any
    made: int = dataclasses.field(init=False, default=7)

    def __post_init__(self) -> None:
        if isinstance(self.count, str) and self.count == "boom":
            raise RuntimeError("validated again")

    @functools.cached_property
    def twice(self) -> Any:
        return self.count * 2


@dataclasses.dataclass(eq=False)
class Grumpy:
    value: int

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("do not compare me")

    __hash__ = None  # type: ignore[assignment]


@dataclasses.dataclass
class ListRecord(list):  # type: ignore[type-arg]
    name: str


class Shape(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True, extra="allow")
    name: str
    size: Any = None
    _secret: int = pydantic.PrivateAttr(default=3)


class Names(pydantic.RootModel[list[str]]):
    pass


class Text(str):
    pass


def back(value: Any) -> Any:
    encoded = encode(value)
    assert encoded.codec is not None, encoded
    return decode(encoded.codec, encoded.data)


def same(one: Any, other: Any) -> bool:  # noqa: C901 - one line per kind of value
    """Equal in type and content, down to the sign of zero, NaN, and the pixels of images."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if isinstance(one, Image.Image):
        return [one.mode, one.size, one.getpalette(), one.tobytes(), one.info] == [
            other.mode, other.size, other.getpalette(), other.tobytes(), other.info,
        ]  # fmt: skip
    if isinstance(one, np.ndarray):
        return [one.dtype, one.shape, one.tobytes()] == [other.dtype, other.shape, other.tobytes()]
    if isinstance(one, np.generic):
        return [one.dtype, one.tobytes()] == [other.dtype, other.tobytes()]
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one), list(other)) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, set | frozenset):
        return sorted(map(repr, one)) == sorted(map(repr, other))
    if dataclasses.is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(one))
    if isinstance(one, datetime.datetime | datetime.time):
        return repr(one) == repr(other)
    if isinstance(one, decimal.Decimal):
        return repr(one) == repr(other)
    if isinstance(one, pydantic.BaseModel):
        return same(one.__getstate__(), other.__getstate__())
    return bool(one == other)


def is_key(value: Any) -> bool:
    """NaN equals nothing, so that a set of it cannot be compared; a signalling NaN raises."""
    try:
        return bool(value == value)
    except decimal.InvalidOperation:
        return False


zones = st.one_of(
    st.none(),
    st.just(datetime.UTC),
    st.just(datetime.timezone(datetime.timedelta(hours=-3, minutes=30), "ours")),
    st.just(zoneinfo.ZoneInfo("Europe/Berlin")),
)
any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates too
hashable = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**600), 10**600), st.floats(), any_text, st.binary(),
    st.decimals(), st.datetimes(timezones=zones), st.dates(), st.times(timezones=zones), st.timedeltas(),
    st.sampled_from([*Colour, *Level, *Rights, Rights.READ | Rights.WRITE, Rights(0)]),
    st.sampled_from([np.float32(0.1), np.int64(-5), np.bool_(True), np.complex64(1j)]),
    st.sampled_from([np.datetime64("2024-02-29T01", "ns"), np.float64("nan"), np.str_("naïve"), np.str_("")]),
    st.sampled_from([np.bytes_(b"x"), np.float16(-0.0)]),
)  # fmt: skip
keys = hashable.filter(is_key)


@st.composite
def images(draw: st.DrawFn) -> Image.Image:
    mode = draw(st.sampled_from(MODES))
    size = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    probe = Image.new(mode, size)
    if mode in ("P", "PA"):
        colours = draw(st.integers(1, 256))
        probe.putpalette(draw(st.binary(min_size=3 * colours, max_size=3 * colours)), "RGB")
        pixels = st.integers(0, colours - 1)
        data = b"".join(
            bytes((draw(pixels), 9)) if mode == "PA" else bytes((draw(pixels),)) for _ in range(size[0] * size[1])
        )
    else:
        count = len(probe.tobytes())
        data = draw(st.binary(min_size=count, max_size=count))
    probe.frombytes(data)
    if mode in ("P", "L") and draw(st.booleans()):
        probe.info["transparency"] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        probe.info["icc_profile"] = b"profile"
    return probe


arrays = hnp.arrays(
    dtype=st.one_of(hnp.scalar_dtypes(), hnp.array_dtypes()), shape=hnp.array_shapes(min_dims=0, min_side=0, max_side=3)
).filter(lambda array: not array.dtype.hasobject)
values = st.recursive(
    st.one_of(hashable, images(), arrays),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.one_of(*(st.lists(kind, min_size=14, max_size=20) for kind in (st.integers(), st.floats(), any_text))),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(st.sampled_from(["$tuple", "$", "", "a", "é"]), inner, max_size=4),
        st.sets(keys, max_size=4),
        st.frozensets(keys, max_size=4),
        st.builds(Point, inner, inner),
        st.builds(Frozen, st.text(), inner),
        st.builds(Guarded, inner),
        st.builds(lambda size, extra: Shape.model_validate({"name": "s", "size": size, "extra": extra}), inner, inner),
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(values)
def test_every_value_comes_back_exactly(value: Any) -> None:
    assert same(back(value), value)


@settings(max_examples=100, deadline=None)
@given(values)
def test_a_value_and_its_copy_have_one_digest(value: Any) -> None:
    digest = digest_arguments("t", "1", {"a": value, "b": 1})
    assert digest is not None
    assert len(digest) == 64
    assert digest_arguments("t", "1", {"b": 1, "a": back(value)}) == digest
    assert digest_arguments("t", "2", {"a": value, "b": 1}) != digest
    assert digest_arguments("u", "1", {"a": value, "b": 1}) != digest


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (37, 11)])
def test_images_of_every_mode(mode: str, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 255, 37 * 11 * 16, dtype=np.uint8).tobytes()
    image = Image.new(mode, size)
    image.frombytes(noise[: len(image.tobytes())])
    assert same(back(image), image)
    assert same(back([image, {"in": image}]), [image, {"in": image}])


def test_simple_values_can_be_viewed_as_they_are(tmp_path: Path) -> None:
    assert encode("naïve")[:3] == ("text", "text/plain; charset=utf-8", "naïve".encode())
    assert encode(b"\x00\xff")[:3] == ("bytes", "application/octet-stream", b"\x00\xff")
    picture = Image.new("RGB", (7, 3), "red")
    encoded = encode(picture)
    assert encoded[:2] + encoded[3:] == ("png", "image/png", 7, 3)
    (tmp_path / "p.png").write_bytes(encoded.data)
    with Image.open(tmp_path / "p.png") as opened:
        assert opened.size == (7, 3)
    depth = encode(Image.new("F", (2, 2), 1.5))
    assert depth[:2] == ("tiff", "image/tiff")
    assert json.loads(encode([1, {"a": None}]).data)["value"] == [1, {"a": None}]


def test_what_an_image_carries_besides_pixels_is_kept() -> None:
    image = Image.new("RGB", (4, 4), "blue")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.info.update(exif=exif.tobytes(), dpi=(300, 300), icc_profile=b"icc", comment="not part of the value")
    read = back(image)
    assert read.getexif()[0x0112] == 6
    assert read.info["icc_profile"] == b"icc"
    assert read.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert "comment" not in read.info
    assert digest_arguments("t", "1", {"i": read}) == digest_arguments("t", "1", {"i": image})
    assert encode(read) == encode(image)


def test_a_file_of_several_pictures_is_not_one_picture(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), shade) for shade in (0, 100, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.gif") as moving:
        encoded = encode(moving)
        assert (encoded.codec, encoded.mime) == (None, "image/png")
        assert digest_arguments("t", "1", {"i": moving}) is None


def test_an_image_larger_than_pillow_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    image = Image.new("L", (20, 20), 3)
    assert encode(image).codec == "value/1"
    assert same(back(image), image)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0), (1, True), (0, False), ("1", 1), (b"a", "a"), ([1], (1,)), (0.0, -0.0), ({1}, frozenset({1})),
        (None, "None"), (Level.LOW, 1), (np.float64(1), 1.0), (np.float32(1), np.float64(1)),
        (decimal.Decimal("1.0"), decimal.Decimal("1.00")), (Reading("a", 1.0), {"text": "a", "confidence": 1.0}),
        (Point(1, 2), (1, 2)), ([[1], 2], [[1, 2]]), (["a", "b"], ["ab"]), ({"a": {"b": 1}}, {"a": {"b": 2}}),
        ({"$tuple": [1]}, (1,)), (Image.new("L", (2, 8)), Image.new("L", (8, 2))),
        (Image.new("L", (2, 2), 1), Image.new("L", (2, 2), 2)), (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(2, "<f8"), np.zeros(2, ">f8")), (datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1)),
    ],
)  # fmt: skip
def test_different_values_have_different_digests(one: Any, other: Any) -> None:
    digests = {digest_arguments("t", "1", {"a": value}) for value in (one, other)}
    assert len(digests - {None}) == 2
    assert not same(back(one), back(other))


def test_equal_content_has_one_digest_whatever_holds_it(tmp_path: Path) -> None:
    def digest(value: Any) -> str | None:
        return digest_arguments("t", "1", {"a": value})

    assert digest({"a": 1, "b": {2: 1, "x": 2}}) == digest({"b": {"x": 2, 2: 1}, "a": 1})
    assert digest({"é": 1, "$": 2}) == digest({"$": 2, "é": 1})
    assert digest(set("abcdef")) == digest(set("fedcba"))
    picture = Image.effect_noise((9, 9), 50)
    picture.save(tmp_path / "p.png")
    picture.save(tmp_path / "p.bmp")
    with Image.open(tmp_path / "p.png") as opened:
        assert digest(opened) == digest(picture) == digest(picture.copy())
    grid = np.arange(6.0).reshape(2, 3)
    assert digest(grid) == digest(np.asfortranarray(grid)) == digest(np.pad(grid, 1)[1:-1, 1:-1])
    assert digest(Shape(name="a", size=None)) == digest(Shape(name="a"))
    assert digest_arguments("t", "1", {"a": 1, "b": 2}) == digest_arguments("t", "1", {"b": 2, "a": 1})


def test_digests_do_not_depend_on_the_process() -> None:
    script = (
        "from catp.runtime.codec import digest_arguments; from catp.tools.builtin.records import Faces;"
        "print(digest_arguments('t', '1', {'s': {'a', 'b', b'c', ('d', 1.5)}, 'f': Faces(1, [{'x': 1}])}))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True)
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.strip()) == 64


def test_classes_of_catp_are_imported_when_they_are_needed() -> None:
    encoded = encode([Reading("a", 0.5), Faces(1, [{"x": 1}])])
    script = (
        "import sys; from catp.runtime.codec import decode\n"
        f"assert 'catp.tools.builtin.records' not in sys.modules\nprint(decode({encoded.codec!r}, {encoded.data!r}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == repr([Reading("a", 0.5), Faces(1, [{"x": 1}])])


def test_code_of_the_class_does_not_run() -> None:
    strange = Guarded(1)
    strange.count = "boom"
    assert back(strange).count == "boom"
    counted = Guarded(4)
    assert counted.twice == 8
    assert vars(back(counted)) == {"count": 4, "made": 7}
    model = Shape.model_construct(name=5)
    model._secret = 9
    read = back(model)
    assert (read.name, read._secret, read.model_fields_set) == (5, 9, {"name"})
    assert back(Names(["a"])) == Names(["a"])
    assert back(Colour.ALSO_RED) is Colour.RED


def test_objects_that_raise_when_compared_are_values_like_others() -> None:
    read = back([Grumpy(1), Grumpy(2)])
    assert [item.value for item in read] == [1, 2]
    assert digest_arguments("t", "1", {"a": Grumpy(1)}) == digest_arguments("t", "1", {"a": Grumpy(1)})


class Raises:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("do not look at me")


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def _nested_sets(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = frozenset({value})
    return value


def _cycle() -> list[Any]:
    value: list[Any] = []
    value.append({"again": value})
    return value


def _doubling() -> list[Any]:
    value: list[Any] = [1]
    for _ in range(60):
        value = [value, value]
    return value


def _unfilled() -> Frozen:
    return Frozen.__new__(Frozen)


def _with_more() -> Guarded:
    value = Guarded(1)
    value.more = 2  # type: ignore[attr-defined]
    return value


def _local() -> Any:
    @dataclasses.dataclass
    class Local:
        x: int

    return Local(1)


def _broken_image(tmp: Path) -> Image.Image:
    Image.effect_noise((64, 64), 90).save(tmp / "broken.png")
    (tmp / "broken.png").write_bytes((tmp / "broken.png").read_bytes()[:400])
    return Image.open(tmp / "broken.png")


HOSTILE: dict[str, Any] = {
    "object": object(), "function": len, "class": int, "generator": iter(""), "raises": Raises(),
    "deep": _nested(5000), "deep sets": _nested_sets(5000),
    "cycle": _cycle(), "doubling": _doubling(), "unfilled": _unfilled(), "more": _with_more(), "local": _local(),
    "list record": ListRecord("x"), "subclass": Text("x"), "subclass in": [Text("x")], "lambda in": {"a": [lambda: 0]},
    "object array": np.array([object()]), "masked": np.ma.array([1.0]), "bytearray": bytearray(b"x"),
    "defaultdict": __import__("collections").defaultdict(list), "exception": ValueError("x"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_come_back_is_described(name: str) -> None:
    encoded = encode(HOSTILE[name])
    assert encoded.codec is None
    assert encoded.mime == "application/json"
    assert len(encoded.data) < 2_000_000
    json.loads(encoded.data)
    assert digest_arguments("t", "1", {"a": HOSTILE[name]}) is None


def test_a_broken_image_is_described(tmp_path: Path) -> None:
    with _broken_image(tmp_path) as image:
        encoded = encode(image)
        assert encoded.codec is None
        assert b"cannot be written" in encoded.data
        assert digest_arguments("t", "1", {"a": image}) is None


def test_paths_come_back_but_do_not_stand_for_their_content() -> None:
    assert back([Path("/tmp/x"), PurePosixPath("a/b")]) == [Path("/tmp/x"), PurePosixPath("a/b")]
    assert digest_arguments("t", "1", {"a": Path("/tmp/x")}) is None


SAMPLES = [
    "text", b"bytes", Image.effect_noise((8, 8), 50), Image.new("F", (3, 3), 0.5), [1, (2, {3: b"x" * 50})],
    [np.arange(50), Image.new("HSV", (4, 4)), Colour.RED], Shape(name="a", size={1, 2}), Point(1, decimal.Decimal("2")),
]  # fmt: skip


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda value: type(value).__name__)
def test_a_truncated_blob_is_an_error_or_a_value_but_nothing_else(sample: Any) -> None:
    encoded = encode(sample)
    assert encoded.codec is not None
    for cut in range(len(encoded.data)):
        if encoded.codec in ("text", "bytes"):  # any part of them is one
            assert len(decode(encoded.codec, encoded.data[:cut])) == cut
        else:
            with pytest.raises(DecodeError, match=f"{cut} bytes|should follow|cannot be read"):
                decode(encoded.codec, encoded.data[:cut])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_a_damaged_blob_is_an_error_or_a_value_but_nothing_else(sample: Any, data: st.DataObject) -> None:
    encoded = encode(sample)
    assert encoded.codec is not None
    damaged = bytearray(encoded.data)
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=4)):
        damaged[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError):
        decode(encoded.codec, bytes(damaged))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["text", "bytes", "png", "tiff", "value/1", "pickle", ""]), st.binary(max_size=60))
def test_any_bytes_at_all(codec: str, data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        decode(codec, data)


def tree(value: Any) -> bytes:
    text = json.dumps(value) if not isinstance(value, list) else "[" * 5000 + "]" * 5000
    return f'{{"catp":"value/1","value":{text}}}'.encode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"$record": "os:system", "values": {}}, "no longer defines system"),
        ({"$record": "subprocess:Popen", "values": {"args": "true"}}, "another kind of class"),
        ({"$record": "no.such.module:Thing", "values": {}}, "import the module no.such.module"),
        ({"$record": "catp.no_such:Thing", "values": {}}, "gone"),
        ({"$record": "antigravity:fly", "values": {}}, "import the module"),
        ({"$record": "catp.tools.builtin.records:Gone", "values": {}}, "no longer defines Gone"),
        ({"$record": "catp.tools.builtin.records:dataclass", "values": {}}, "no longer defines"),
        ({"$record": "catp.tools.builtin.records:Reading", "values": {"text": "a"}}, "other fields now.*confidence"),
        ({"$member": f"{__name__}:Colour", "values": {"name": "BLUE"}}, "no member 'BLUE'"),
        ({"$model": f"{__name__}:Shape", "values": {"__dict__": {"nom": 1}}}, "other fields now"),
        ({"$flag": f"{__name__}:Rights", "values": {"value": 64}}, "64"),
        ({"$new": 1}, "no kind of value"),
        ({"$tuple": 5}, "list is expected"),
        ({"$bytes": 0}, "cannot be read"),
        ({"$bytes": -1}, "not the number"),
        ({"$set": [[1]]}, "unhashable"),
        ({"$set": [1, 1]}, "have become 1"),
        ({"$path": ["Path", "x"]}, "not a class of paths"),
        (_nested(5000), "RecursionError"),
    ],
)  # fmt: skip
def test_trees_that_ask_for_more_than_a_value_are_refused(value: Any, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode("value/1", tree(value))


def test_a_class_that_changed_its_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode(Frozen("a", 1))

    @dataclasses.dataclass
    class Changed:
        text: str
        other: int

    Changed.__qualname__ = "Frozen"
    monkeypatch.setitem(globals(), "Frozen", Changed)
    with pytest.raises(DecodeError, match="inner, other"):
        decode("value/1", encoded.data)


def test_long_lists_of_numbers_are_no_trouble() -> None:
    matrix = [[float(place % 97) for place in range(1536)] for _ in range(700)]
    assert back(matrix) == matrix
    assert digest_arguments("t", "1", {"m": matrix}) != digest_arguments("t", "1", {"m": matrix[1:]})
    assert encode([matrix] * 100).codec is None


def test_pickles_are_never_read() -> None:
    with pytest.raises(DecodeError, match="no codec 'pickle'"):
        decode("pickle", pickle.dumps(1))
    for value in ({"$array": 0, "type": "|O", "shape": [1]}, {"$scalar": "|O", "bytes": "00" * 8}):
        line = json.dumps({"catp": "value/1", "value": value, "parts": [8]}).encode()
        with pytest.raises(DecodeError, match="array of objects"):
            decode("value/1", line + b"\n" + bytes(8))


def test_encoded_is_what_the_journal_stores() -> None:
    assert Encoded("text", "text/plain", b"x") == ("text", "text/plain", b"x", None, None)
