"""What the catalogue itself can be asked for: rules from the names of its capabilities and types."""

import re
from collections.abc import Sequence

from catp.planlang.registry_view import RegistryView, ToolSig
from catp.planlang.types import BUILTIN_TYPES
from catp.planners.intent_rules import IntentRule

__all__ = ["BUILTIN", "offers", "rules_of"]

BUILTIN = frozenset(definition.name for definition in BUILTIN_TYPES)
"""Types whose names say nothing of what a result is for."""


def rules_of(registry: RegistryView, rules: Sequence[IntentRule]) -> list[IntentRule]:
    """Rules from the catalogue's own words, for results that the table does not cover.

    Each pair of capability and result type becomes a rule that answers to the capability's words and the type's name.
    """
    covered_types = {rule.type for rule in rules if rule.type not in BUILTIN}
    covered = {capability for rule in rules for capability in rule.capability}
    found: dict[tuple[str, str], IntentRule] = {}
    for sig in registry:
        type_ = sig.returns.name
        if sig.effects == "write" or type_ in covered_types or sig.capability in covered or type_ == "list":
            continue
        spoken = sig.capability or sig.name.rpartition(".")[2]
        phrases = {_spoken(spoken)} | ({_spoken(type_)} if type_ not in BUILTIN else set())
        pattern = "|".join(_inflected(phrase) for phrase in sorted(phrases, key=lambda p: (-len(p), p)))
        name = re.sub(r"\W", "_", spoken)
        if (name, type_) not in found:
            capability = (sig.capability,) if sig.capability else ()
            found[name, type_] = IntentRule(name, pattern, type_, capability, "", _spoken(spoken))
    return list(found.values())


def offers(sig: ToolSig, rule: IntentRule) -> bool:
    """True if the tool's result is, or carries, what the rule asks for: reading a page gives a record with its text."""
    return sig.capability in rule.capability if rule.capability else sig.returns.name == rule.type


def _spoken(name: str) -> str:
    """`KeyPhrases`, `key_phrases` -> "key phrases"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_.]+", " ", name).lower().strip()


def _inflected(phrase: str) -> str:
    """A pattern for a phrase and the endings of its last word: forecast, forecasts, forecasting."""
    words = [re.escape(word) for word in phrase.split()]
    last = words[-1]
    stem = last[:-1] if last.endswith(("e", "y")) and len(last) > 3 else last
    words[-1] = rf"{stem}(?:e|y|s|es|ed|ing|ies|ied|ation|r|er)?" if len(stem) > 2 else last
    return r"[ _-]".join(words)
