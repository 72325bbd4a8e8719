"""Where API keys come from: a TOML file, or the environment variable CATP_API_KEYS.

[tenants.research]
keys = ["sk-..."]                  # or keys_sha256 = ["<64 hex digits>"], so that the file holds no key
requests_per_minute = 600          # optional, as are the rest
tokens_per_minute = 200000         # prompt and output tokens
concurrent = 16                    # requests at a time
priority = 1                       # goes with each request; only some queue policies look at it
admin = true                       # may load and unload adapters and read /metrics
"""

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catp.serving.server.tenants import Tenant

__all__ = ["KeyFileError", "read_environment", "read_keys"]

_KNOWN = {"keys", "keys_sha256", "requests_per_minute", "tokens_per_minute", "concurrent", "priority", "admin"}
_LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent")
_SHORTEST = 16
"""Characters of a key."""


class KeyFileError(ValueError):
    """The keys cannot be used; the message names the place and the fix, and never a key."""


def read_keys(path: Path) -> tuple[Tenant, ...]:
    """Read a file of keys; raise `KeyFileError`."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path} is not TOML: {error}") from error
    entries = data.get("tenants")
    if not isinstance(entries, dict) or not entries or set(data) != {"tenants"}:
        raise KeyFileError(f"{path}: there must be tables [tenants.NAME] and nothing else")
    tenants = tuple(_tenant(path, name, entry) for name, entry in entries.items())
    digests = [digest for tenant in tenants for digest in tenant.digests]
    if len(set(digests)) != len(digests):
        raise KeyFileError(f"{path}: a key is listed twice; give each tenant its own")
    return tenants


def read_environment(text: str) -> tuple[Tenant, ...]:
    """Read `CATP_API_KEYS`: `tenant:key` pairs with commas between them, of admins; raise `KeyFileError`."""
    keys: dict[str, list[bytes]] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, colon, key = pair.partition(":")
        if not (name and colon and key):
            raise KeyFileError("CATP_API_KEYS must be pairs `tenant:key` with commas between them")
        keys.setdefault(name, []).append(hashlib.sha256(key.encode()).digest())
    return tuple(Tenant(name, tuple(digests), admin=True) for name, digests in keys.items())


def _tenant(path: Path, name: str, entry: Any) -> Tenant:
    where = f"{path}: [tenants.{name}]"
    if not isinstance(entry, Mapping):
        raise KeyFileError(f"{where} must be a table")
    if unknown := sorted(set(entry) - _KNOWN):
        raise KeyFileError(f"{where}: unknown {', '.join(unknown)}; there is {', '.join(sorted(_KNOWN))}")
    digests = _digests(where, entry)
    requests, tokens, concurrent = (_positive(where, entry, field) for field in _LIMITS)
    priority, admin = entry.get("priority", 0), entry.get("admin", False)
    if type(priority) is not int or type(admin) is not bool:
        raise KeyFileError(f"{where}: priority must be a whole number, and admin true or false")
    places = None if concurrent is None else max(1, int(concurrent))
    return Tenant(name, digests, requests, tokens, places, priority, admin)


def _digests(where: str, entry: Mapping[str, Any]) -> tuple[bytes, ...]:
    found = []
    for key in _texts(where, entry, "keys"):
        if len(key) < _SHORTEST:
            raise KeyFileError(f"{where}: a key is shorter than {_SHORTEST} characters")
        found.append(hashlib.sha256(key.encode()).digest())
    for text in _texts(where, entry, "keys_sha256"):
        if len(text) != 64 or not set(text.lower()) <= set("0123456789abcdef"):
            raise KeyFileError(f"{where}: keys_sha256 must hold 64 hex digits each")
        found.append(bytes.fromhex(text))
    if not found:
        raise KeyFileError(f'{where} has no key; add keys = ["..."]')
    return tuple(found)


def _texts(where: str, entry: Mapping[str, Any], field: str) -> list[str]:
    found = entry.get(field, [])
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise KeyFileError(f"{where}: {field} must be a list of texts")
    return found


def _positive(where: str, entry: Mapping[str, Any], field: str) -> float | None:
    value = entry.get(field)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
        raise KeyFileError(f"{where}: {field} must be a number above 0")
    return None if value is None else float(value)
