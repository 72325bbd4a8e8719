"""The token form in ids: what a policy emits and the decode mask allows, over the fixed `Vocabulary`.

It is the readable spelling with every name replaced by a position that the context gives a meaning:

    attempt = <tK> { [ <aK> ] [ <each> ] value } { <if> { <.K> } OP constant }        constant = <cK> | <qK> | <sK>
    value   = ref | constant | <tmpl> { <sK> | ref } </tmpl> | <list> { value } </list>
    out     = <oK> ref [ <?> ]         (the name comes first, so that the type wanted is known when the value is chosen)

Arguments count up from the first parameter; `<aK>` jumps to parameter K. Texts are literals the request offers, by
place (`<sK>`): spans of the request, constants of the application. What has no place has no ids: objects, `null`,
fields of `json`, texts not offered. `encode_ids` refuses those; the text, JSON and readable token forms keep them.
"""

from collections.abc import Sequence

from catp.planlang.nodes import Plan
from catp.planlang.token_context import Goal, TokenContext, constants
from catp.planlang.token_ids_read import IdDecoder
from catp.planlang.token_ids_write import IdEncoder

__all__ = ["Goal", "TokenContext", "constants", "decode_ids", "encode_ids"]


def encode_ids(plan: Plan, context: TokenContext) -> list[int]:
    """Spell `plan` in ids; arguments come back positional where they can be.

    Raises:
        PlanError: E010 if the plan holds something that has no place in `context`.
    """
    return list(IdEncoder(plan, context).plan_ids())


def decode_ids(ids: Sequence[int], context: TokenContext) -> Plan:
    """Read the plan that `ids` spell; condition tokens and their levels are skipped.

    Raises:
        PlanError: E010 at the first id that does not fit.
    """
    return IdDecoder(ids, context).plan()
