"""The token form in readable spelling: one string per token, lossless up to the names of steps.

    <plan> [ <head> ... </head> ] { step } { out } </plan>

    head    = [ <name> NAME ] [ <doc> JSON ] [ <@approve> ] { <in> NAME TYPE [ value ] } { bound }
    bound   = ( <cost> | <latency> | <calls> ) INT
    step    = attempt { <alt> attempt } { <when> ref OP lit } [ <else> ref ] { note } <end>
    attempt = <t:TOOL> { arg } { <if> { <.FIELD> } OP lit }         arg  = [ <a:PARAM> ] [ <each> ] value
    note    = <@NAME> { [ <a:KEY> ] value }                         out  = ( <out> | <out?> ) ref <as> NAME
    value   = ref | lit | <tmpl> { JSON | ref } </tmpl> | <list> { value } </list> | <obj> { JSON value } </obj>
    ref     = ( <iK> | <nK> ) { <.FIELD> | <[I]> } [ <?> ]          lit  = <lit:KIND> PAYLOAD </lit>

The head carries what belongs to the request when a policy writes the plan (name, approval, inputs, limits), so it may
be left out and supplied again on decoding. Input and output names are kept; steps come back as `n0`, `n1`, ... Names,
JSON and payloads stand at fixed places, so no text, however hostile, can be mistaken for a structure token.
"""

from collections.abc import Sequence

from catp.planlang.nodes import Plan
from catp.planlang.registry_view import RegistryView
from catp.planlang.token_header import Header, step_names
from catp.planlang.tokens_read import Decoder
from catp.planlang.tokens_write import Encoder

__all__ = ["Header", "decode", "encode", "step_names"]


def encode(plan: Plan, registry: RegistryView | None = None, *, header: bool = True) -> tuple[str, ...]:
    """Spell `plan` as tokens; without `header` what belongs to the request is left out.

    Raises:
        PlanError: E010 if a reference names nothing, a name is bound twice, or `registry` lacks a tool.
    """
    encoder = Encoder(plan, registry)
    head = encoder.head() if header and Header.of(plan) != Header() else ()
    steps = (token for step in plan.steps for token in encoder.step(step))
    outputs = (token for output in plan.outputs for token in encoder.output(output))
    return ("<plan>", *head, *steps, *outputs, "</plan>")


def decode(tokens: Sequence[str], registry: RegistryView | None = None, *, header: Header | None = None) -> Plan:
    """Read a plan from its tokens, with `header` if the tokens have none.

    Raises:
        PlanError: E010 at the first token that does not fit, or at a tool that `registry` lacks.
    """
    return Decoder(tokens, registry).plan(header)
