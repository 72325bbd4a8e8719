"""Configurations as people write them: a TOML file and `--set key=value`, checked key by key; and back to TOML.

    name = "tiny"                   catp train --config tiny.toml --set optim.lr=3e-4 --set model.base=smollm2
    [optim]
    lr = 1e-3

Every key that is left out has its default; `out/config.toml` has them all.
"""

import json
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from catp.training.caorl.config import TrainConfig

__all__ = ["SettingsError", "config_toml", "load_config"]


class SettingsError(ValueError):
    """A configuration that cannot be used; the message names the key, where it stands, and what is allowed."""


def load_config(path: Path, sets: Sequence[str] = ()) -> TrainConfig:
    """Read a configuration file and change what `sets` say.

    Args:
        path: a `.toml` file.
        sets: `key=value` with dotted keys; values are TOML, and a bare word is a string. The last one counts.

    Raises:
        SettingsError: no such file, not TOML, an unknown key or a value that is not allowed.
    """
    found = _file(path)
    places = dict.fromkeys((key for key, _ in _leaves(found)), str(path))
    _check_keys(places)
    for text in sets:
        key, value = _assignment(text)
        _check_keys({key: f"--set {text}"})
        _put(found, key, value)
        places[key] = f"--set {text}"
    try:
        return TrainConfig.model_validate(found)
    except ValidationError as error:
        raise SettingsError("\n".join(_told(problem, places) for problem in error.errors())) from None


def config_toml(config: TrainConfig) -> str:
    """Return a configuration as TOML with every key that has a value; `load_config` reads the same one from it."""
    data = config.model_dump(mode="json", exclude_none=True)
    lines = [f"{key} = {_toml(value)}" for key, value in data.items() if not isinstance(value, dict)]
    for part, values in data.items():
        if isinstance(values, dict):
            lines += ["", f"[{part}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _file(path: Path) -> dict[str, Any]:
    if path.suffix != ".toml":
        raise SettingsError(f"{str(path)!r}: a configuration is a .toml file")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{str(path)!r}: there is no such file") from None
    except OSError as error:
        raise SettingsError(f"{str(path)!r}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise SettingsError(f"{path}: {error}") from None


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not equals or not key:
        raise SettingsError(f"--set {text!r}: write key=value, such as optim.lr=3e-4")
    if str in _types(key):
        return key, value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
    try:
        found = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError as error:
        if value[:1] in ("[", "{", '"', "'"):
            raise SettingsError(f"--set {text}: {error}; a list is written ['a', 'b']") from None
        return key, value
    return key, found["value"] if len(found) == 1 else value


def _types(key: str) -> tuple[Any, ...]:
    """The types a key may have, None left out; () for a key that is unknown or a list, or a table."""
    model: Any = TrainConfig
    *above, last = key.split(".")
    for part in above:
        field = model.model_fields.get(part)
        model = None if field is None else field.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return ()
    field = model.model_fields.get(last)
    if field is None or get_origin(field.annotation) is tuple:
        return ()
    return get_args(field.annotation) or (field.annotation,)


def _put(data: dict[str, Any], key: str, value: Any) -> None:
    *above, last = key.split(".")
    for part in above:
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise SettingsError(f"{part}: found {_shown(data)}; allowed is a table of keys")
    data[last] = value


def _leaves(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield above + name, value


def _check_keys(places: Mapping[str, str]) -> None:
    """Refuse keys that do not exist, with the nearest one that does; `places` says where each stands."""
    known = list(_known())
    parts = {name.rpartition(".")[0] for name in known} - {""}
    for key, place in places.items():
        if key in known or key in parts:
            continue
        raise SettingsError(f"{place}: there is no key {key!r}; {_nearest(key, known, parts)}")


def _nearest(key: str, known: Sequence[str], parts: Collection[str]) -> str:
    """What was probably meant: a key of the same last name, one spelled alike, or one whose last name is."""
    last = {name: name.rpartition(".")[2] for name in known}
    mine = key.rpartition(".")[2]
    near = [name for name in known if last[name] == mine] or get_close_matches(key, [*parts, *known], 1)
    near = near or [name for name in known if last[name] in get_close_matches(mine, last.values(), 1)]
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"


def _known() -> Iterator[str]:
    for name, field in TrainConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (f"{name}.{inner}" for inner in field.annotation.model_fields)
        else:
            yield name


def _told(problem: Any, places: Mapping[str, str]) -> str:
    loc = [str(part) for part in problem["loc"]]
    key = next((".".join(loc[:n]) for n in range(len(loc), 0, -1) if ".".join(loc[:n]) in places), ".".join(loc))
    allowed = str(problem["msg"])
    if problem["type"] in ("model_type", "model_attributes_type"):
        allowed = "Input should be a table of keys"
    allowed = allowed.replace("Input should be", "allowed is").replace("Input should", "it should")
    place = places.get(key)
    return f"{f'{place}: ' if place else ''}{'.'.join(loc)}: found {_shown(problem['input'])}; {allowed}"


def _shown(value: object) -> str:
    try:
        return _toml(value)
    except TypeError:
        return repr(value)


def _toml(value: object) -> str:
    """A scalar or a list in TOML; JSON's strings are TOML's, but for the control character 127."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    raise TypeError(f"{type(value).__name__} has no place in a configuration")
