"""From checked forms to the engine's terms: sampling, seeds, stops and constraints."""

import json
import secrets
from dataclasses import replace

import numpy as np

from catp.serving.engine.request import Slo
from catp.serving.engine.sampling import Sampling
from catp.serving.server.forms import ChatForm, CommonForm, CompletionForm, Extras, MessageForm
from catp.serving.server.options import ServerOptions
from catp.serving.server.problems import HttpProblem
from catp.serving.server.spec import Constraint, Message, TextSpec
from catp.serving.server.tenants import Tenant

__all__ = ["chat_spec", "completion_specs", "priority_of", "slo_of"]

_MOST_STOPS = 16
_MOST_STOP_CHARS = 256


def chat_spec(form: ChatForm, tenant: Tenant, options: ServerOptions) -> TextSpec:
    """Return what is asked; raise `HttpProblem` 400 for what makes no sense."""
    if form.top_logprobs is not None and not form.logprobs:
        raise HttpProblem(400, "bad_request", "`top_logprobs` needs `logprobs`: true", param="top_logprobs")
    if form.max_tokens is not None and form.max_completion_tokens not in (None, form.max_tokens):
        raise HttpProblem(400, "bad_request", "give `max_completion_tokens` or `max_tokens`", param="max_tokens")
    messages = tuple(_message(message) for message in form.messages)
    spec = _spec(form, messages, form.top_logprobs or 0 if form.logprobs else None, tenant, options)
    return replace(spec, max_tokens=form.max_completion_tokens or form.max_tokens, kind=form.catp.kind or "chat")


def completion_specs(form: CompletionForm, tenant: Tenant, options: ServerOptions) -> list[TextSpec]:
    """Return what is asked, one for each prompt; raise `HttpProblem` 400 for what makes no sense."""
    if form.echo and form.logprobs is not None:
        raise HttpProblem(400, "unsupported_parameter", "`echo` with `logprobs` is not done here", param="echo")
    prompts = _prompts(form)
    if not 1 <= len(prompts) <= options.max_prompts:
        raise HttpProblem(400, "bad_request", f"`prompt`: 1 to {options.max_prompts} are taken at once", param="prompt")
    limit = 16 if form.max_tokens is None else form.max_tokens  # OpenAI's default
    return [
        replace(_spec(form, prompt, form.logprobs, tenant, options), max_tokens=limit, echo=bool(form.echo),
                kind=form.catp.kind or "completion")
        for prompt in prompts
    ]  # fmt: skip


def slo_of(extras: Extras, options: ServerOptions) -> Slo:
    """Return what is expected of a request: what it says, else what the server promises."""
    asked = extras.slo
    return Slo(
        options.slo_ttft if asked.ttft is None else asked.ttft,
        options.slo_tpot if asked.tpot is None else asked.tpot,
        options.slo_e2e if asked.e2e is None else asked.e2e,
        asked.slack,
    )


def priority_of(extras: Extras, tenant: Tenant) -> int:
    """Return the priority: the tenant's, or a lower one that it asks for; admins may ask for any."""
    if extras.priority is None:
        return tenant.priority
    return extras.priority if tenant.admin else min(extras.priority, tenant.priority)


def _spec(
    form: CommonForm, prompt: str | tuple[int, ...] | tuple[Message, ...], logprobs: int | None, tenant: Tenant,
    options: ServerOptions,
) -> TextSpec:  # fmt: skip
    count = form.n or 1
    if count > options.max_choices:
        raise HttpProblem(400, "bad_request", f"`n` may be at most {options.max_choices} here", param="n")
    if form.stream_options is not None and not form.stream:
        raise HttpProblem(400, "bad_request", "`stream_options` needs `stream`: true", param="stream_options")
    return TextSpec(
        form.model, prompt, _seeds(form.seed, count), _sampling(form, logprobs), None, _stops(form),
        bool(form.ignore_eos), _constraint(form), False, bool(form.stream), tenant.name,
        priority_of(form.catp, tenant), slo_of(form.catp, options), form.catp.drop_late,
    )  # fmt: skip


def _seeds(seed: int | None, count: int) -> tuple[int, ...]:
    """One independent seed for each choice, the same ones for the same `seed`."""
    entropy = secrets.randbits(64) if seed is None else seed % 2**64
    return tuple(int(word) >> 1 for word in np.random.SeedSequence(entropy).generate_state(count, np.uint64))


def _sampling(form: CommonForm, logprobs: int | None) -> Sampling:
    def given(value: float | None, default: float) -> float:
        return default if value is None else value

    return Sampling(
        temperature=given(form.temperature, 1.0), top_k=max(0, form.top_k or 0), top_p=given(form.top_p, 1.0),
        min_p=given(form.min_p, 0.0), repetition_penalty=given(form.repetition_penalty, 1.0),
        presence_penalty=given(form.presence_penalty, 0.0), frequency_penalty=given(form.frequency_penalty, 0.0),
        logit_bias=_bias(form.logit_bias or {}), logprobs=logprobs,
    )  # fmt: skip


def _bias(biases: dict[str, float]) -> tuple[tuple[int, float], ...]:
    found = []
    for token, bias in biases.items():
        if not token.isascii() or not token.isdigit() or not -100 <= bias <= 100:
            raise HttpProblem(
                400, "bad_request", "`logit_bias` maps token ids to numbers from -100 to 100", param="logit_bias"
            )
        found.append((int(token), bias))
    return tuple(found)


def _stops(form: CommonForm) -> tuple[str, ...]:
    stops = (form.stop,) if isinstance(form.stop, str) else tuple(form.stop or ())
    if len(stops) > _MOST_STOPS or any(not 0 < len(stop) <= _MOST_STOP_CHARS for stop in stops):
        message = f"`stop`: at most {_MOST_STOPS} texts of 1 to {_MOST_STOP_CHARS} characters"
        raise HttpProblem(400, "bad_request", message, param="stop")
    return stops


def _constraint(form: CommonForm) -> Constraint | None:
    asked, vllm = form.response_format, form.structured_outputs
    if vllm is not None:
        if asked is not None or (vllm.regex is None) == (vllm.json_ is None):
            message = "give one of `response_format`, `structured_outputs.regex` and `structured_outputs.json`"
            raise HttpProblem(400, "bad_request", message, param="structured_outputs")
        if vllm.regex is not None:
            return Constraint("regex", vllm.regex)
        return Constraint("json_schema", vllm.json_ if isinstance(vllm.json_, str) else json.dumps(vllm.json_))
    if asked is None or asked.type == "text":
        return None
    if asked.type == "json_object":
        return Constraint("json_object")
    if asked.json_schema is None:
        message = "`response_format` of type json_schema needs `json_schema`: {`name`, `schema`}"
        raise HttpProblem(400, "bad_request", message, param="response_format.json_schema")
    return Constraint("json_schema", json.dumps(asked.json_schema.schema_))


def _message(form: MessageForm) -> Message:
    content = form.content
    text = content if isinstance(content, str) else "".join(part.text for part in content or ())
    return Message(form.role, text, form.name or "")


def _prompts(form: CompletionForm) -> list[str | tuple[int, ...]]:
    prompt = form.prompt
    if isinstance(prompt, str):
        return [prompt]
    ids = tuple(token for token in prompt if isinstance(token, int))
    if ids:
        return [ids]
    return [one if isinstance(one, str) else tuple(one) for one in prompt if not isinstance(one, int)]
