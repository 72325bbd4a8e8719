"""Settings, and where each one came from.

Precedence: flag > `CATP_*` environment variable > `./catp.toml` > `[tool.catp]` in `./pyproject.toml` >
`~/.config/catp/config.toml` > default. Unknown keys are refused, with the nearest name.
"""

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from catp.planlang.errors import nearest
from catp.planlang.money import Money, parse_usd
from catp.runtime.limits import ReserveAt

__all__ = ["ConfigError", "Settings", "default_data_dir", "load_settings"]


class ConfigError(ValueError):
    """A setting that cannot be used; the message names the key, its source and the fix."""


def default_data_dir() -> Path:
    """Where runs and profiles are kept: `$XDG_DATA_HOME/catp`, by default `~/.local/share/catp`."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "catp"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be configured. `sources` says where each value came from."""

    alpha: float = 0.8
    """Weight of quality against price, 0 to 1."""
    budget: Money | None = None
    """Most a run may cost, nano-USD; None means no cap."""
    deadline: float | None = None
    """Most a run may take, seconds (`20`, `"20s"`, `"500ms"`, `"2m"`); None means no deadline."""
    planner: str | None = None
    """Who plans: `search`, `policy`, or the name or folder of a policy; None means the shipped policy, or search."""
    tools: str = "zoo"
    """The catalogue: `zoo`, or `package.module:attribute`."""
    store: Path | str = field(default_factory=lambda: default_data_dir() / "catp.db")
    """The run store: a SQLite file, or the URL of a PostgreSQL database."""
    profiles: Path = field(default_factory=lambda: default_data_dir() / "profiles.json")
    """Measured tool profiles, learned from finished runs."""
    workers: int | None = None
    """Calls running at once; None means 64."""
    assume_price: Money | None = None
    """What an unpriced call is assumed to cost, nano-USD; None refuses unpriced calls under a budget."""
    reserve: ReserveAt = "p95"
    """Which price is held for a running call: `expected`, `p95` or `p99`."""
    strict: bool = False
    """Whether even the p95 price and time of a plan must fit; by default the expected ones."""
    project: str = "default"
    """What runs are booked under; its shared budgets hold."""
    agent: str = ""
    """The name of the agent in the record; its shared budgets hold too."""
    repair: int = 0
    """How often a run in which steps failed may be planned anew."""
    telemetry: bool = False
    """Whether runs are sent to OpenTelemetry; where to is what the `OTEL_*` variables say."""
    approve_plan: bool = False
    """Every plan must be approved as a whole before its first call."""
    cache: bool = True
    """Whether results of tools and steps that allow it are used again."""
    cache_mb: float | None = None
    """How large the cache of results may grow, MiB; None means 256 in the store, 64 in memory."""
    eager: bool = False
    """Whether steps that only compute or read start while the rest of their plan is being made."""
    eager_cap: Money | None = None
    """Most that such steps may cost in a run, nano-USD; None means a twentieth of its budget, $0.001 without one."""
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_KEYS = tuple(f.name for f in fields(Settings) if f.name != "sources")


def load_settings(flags: Mapping[str, Any] | None = None, *, directory: Path | None = None) -> Settings:
    """Merge all sources; `flags` holds command-line values, None meaning "not given".

    Raises:
        ConfigError: for an unknown key, a value of the wrong kind, or a file that is not TOML.
    """
    here = directory if directory is not None else Path.cwd()
    values: dict[str, Any] = {}
    sources = dict.fromkeys(_KEYS, "default")
    for source, layer in _layers(here, flags or {}):
        for key, raw in layer.items():
            values[key] = _convert(key, raw, source)
            sources[key] = source
    return Settings(**values, sources=sources)


def _layers(here: Path, flags: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the layers from lowest to highest precedence."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "catp" / "config.toml"
    pyproject = here / "pyproject.toml"
    section = _read_toml(pyproject).get("tool", {}).get("catp", {})
    layers = [
        (str(home), _known(_read_toml(home), str(home))),
        (f"{pyproject} [tool.catp]", _known(section, str(pyproject))),
        (str(here / "catp.toml"), _known(_read_toml(here / "catp.toml"), str(here / "catp.toml"))),
    ]
    environment = {key: os.environ[f"CATP_{key.upper()}"] for key in _KEYS if os.environ.get(f"CATP_{key.upper()}")}
    layers += [(f"CATP_{key.upper()}", {key: value}) for key, value in environment.items()]
    layers += [(f"--{key.replace('_', '-')}", {key: value}) for key, value in flags.items() if value is not None]
    return layers


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _known(layer: object, source: str) -> Mapping[str, Any]:
    if not isinstance(layer, dict):
        raise ConfigError(f"{source}: the catp section must be a table")
    for key in layer:
        if key not in _KEYS:
            hint = nearest(str(key), _KEYS) or f"known settings are {', '.join(_KEYS)}"
            raise ConfigError(f"{source}: unknown setting {key!r}; {hint}")
    return layer


def _convert(key: str, raw: Any, source: str) -> Any:
    try:
        return _CONVERTERS[key](raw)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{source}: {key} = {raw!r} is not valid: {error}") from error


def _fraction(raw: Any) -> float:
    value = float(raw)
    if not 0.0 <= value <= 1.0:
        raise ValueError("must lie between 0 and 1")
    return value


def _money(raw: Any) -> Money:
    amount = raw if isinstance(raw, int) and not isinstance(raw, bool) else None
    value = parse_usd(str(amount) if amount is not None else str(raw).removeprefix("$"))
    if value <= 0:
        raise ValueError("must be more than $0")
    return value


def _seconds(raw: Any) -> float:
    text = str(raw).strip()
    unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
    value = float(text.removesuffix(unit)) * _UNITS.get(unit, 1.0)
    if not 0.0 < value < 1e9:
        raise ValueError("must be a positive time such as 20, 20s, 500ms or 2m")
    return value


def _count(raw: Any) -> int:
    value = int(raw)
    if not 1 <= value <= 10_000:
        raise ValueError("must be a whole number between 1 and 10000")
    return value


def _store(raw: Any) -> Path | str:
    text = str(raw)
    if "://" not in text:
        return Path(text).expanduser()
    if not text.startswith(("postgresql://", "postgres://", "postgresql+asyncpg://")):
        raise ValueError("must be a file, or the URL of a PostgreSQL database: postgresql://user@host/database")
    return text


def _flag(raw: Any) -> bool:
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if isinstance(raw, bool):
        return raw
    try:
        return words[str(raw).strip().lower()]
    except KeyError:
        raise ValueError("must be true or false") from None


def _quantile(raw: Any) -> ReserveAt:
    for known in get_args(ReserveAt):
        if raw == known:
            return known  # type: ignore[no-any-return]  # one of the literals
    raise ValueError(f"must be {', '.join(get_args(ReserveAt))}")


def _name(raw: Any) -> str:
    text = str(raw).strip()
    if not text or len(text) > 100 or not text.isprintable():
        raise ValueError("must be a name of at most 100 printable characters")
    return text


def _planner(raw: Any) -> str:
    text = str(raw).strip()
    if not text:
        raise ValueError("must be search, policy, or the name or folder of a policy")
    return str(Path(text).expanduser()) if text.startswith("~") else text


def _mebibytes(raw: Any) -> float:
    value = float(raw)
    if not 0.0 < value <= 1e6:
        raise ValueError("must be a number of MiB above zero")
    return value


def _rounds(raw: Any) -> int:
    value = int(raw)
    if not 0 <= value <= 100:
        raise ValueError("must be a whole number between 0 and 100")
    return value


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "alpha": _fraction,
    "budget": _money,
    "deadline": _seconds,
    "planner": _planner,
    "tools": str,
    "store": _store,
    "profiles": lambda raw: Path(raw).expanduser(),
    "workers": _count,
    "assume_price": _money,
    "reserve": _quantile,
    "strict": _flag,
    "project": _name,
    "agent": _name,
    "repair": _rounds,
    "telemetry": _flag,
    "approve_plan": _flag,
    "cache": _flag,
    "cache_mb": _mebibytes,
    "eager": _flag,
    "eager_cap": _money,
}
