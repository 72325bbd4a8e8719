"""What clients send to the text endpoints, checked: OpenAI's parameters, a few of vLLM's, and our own under `catp`.

Nothing is ignored in silence: a parameter that is not known or not done here is refused by name, unless it has the
value that asks for nothing; those without any effect on the answer are named in the header `X-CATP-Ignored`.
"""

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catp.serving.server.problems import HttpProblem

__all__ = ["ChatForm", "CommonForm", "CompletionForm", "Extras", "Form", "MessageForm", "SloForm", "read_form"]

_IGNORED = frozenset({
    "user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "parallel_tool_calls",
})  # fmt: skip
"""They say something of the caller or of a place to run, and change nothing in the answer."""

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "store": (False,), "tools": ([],), "functions": ([],), "tool_choice": ("none", "auto"), "function_call": ("none",),
    "modalities": (["text"],), "suffix": ("",), "use_beam_search": (False,), "skip_special_tokens": (True,),
    "min_tokens": (0,), "length_penalty": (1, 1.0), "logit_bias": ({},), "stop_token_ids": ([],),
}  # fmt: skip
"""Values of what is not done here that ask for nothing; null asks for nothing anywhere."""

_NOT_HERE = frozenset({
    "audio", "prediction", "reasoning_effort", "reasoning", "web_search_options", "verbosity", "moderation",
    "add_special_tokens", "prompt_logprobs", "bad_words", "best_of",
}) | frozenset(_NEUTRAL) - {"logit_bias"}  # fmt: skip

F = TypeVar("F", bound=BaseModel)


class Form(BaseModel):
    """Nothing unknown is let through; numbers are numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SloForm(Form):
    """Seconds from arrival: to the first token, between tokens, to the end; `slack` of the call in its plan."""

    ttft: float | None = Field(default=None, gt=0)
    tpot: float | None = Field(default=None, gt=0)
    e2e: float | None = Field(default=None, gt=0)
    slack: float | None = None


class Extras(Form):
    """Our own parameters. `kind` is what predictions of length are kept by, such as the task's name."""

    slo: SloForm = Field(default_factory=SloForm)
    priority: int | None = None
    drop_late: bool = False
    kind: str | None = Field(default=None, max_length=64)


class StreamOptions(Form):
    """OpenAI's; `continuous_usage_stats` is vLLM's."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class SchemaForm(Form):
    """A JSON Schema with a name; generation is always strict."""

    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(Form):
    """What the text must be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaForm | None = None


class StructuredForm(Form):
    """vLLM's way to ask for a regular expression or a JSON Schema."""

    regex: str | None = None
    json_: dict[str, Any] | str | None = Field(default=None, alias="json")


class CommonForm(Form):
    """What both text endpoints know."""

    model: str = ""
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, gt=0)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: dict[str, float] | None = None
    n: int | None = Field(default=None, ge=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: bool | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredForm | None = None
    catp: Extras = Field(default_factory=Extras)


class PartForm(Form):
    """A part of a message; only text is read."""

    type: Literal["text"]
    text: str


class MessageForm(Form):
    """A message."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[PartForm] | None = None
    name: str | None = None
    tool_call_id: str | None = None


class ChatForm(CommonForm):
    """`POST /v1/chat/completions`."""

    messages: list[MessageForm] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)


class CompletionForm(CommonForm):
    """`POST /v1/completions`."""

    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: int | None = Field(default=None, ge=0, le=20)
    echo: bool | None = None


def read_form(form: type[F], data: object) -> tuple[F, tuple[str, ...]]:
    """Return the form and the parameters that have no effect.

    Raises:
        HttpProblem: 400, naming the parameter.
    """
    if not isinstance(data, dict):
        raise HttpProblem(400, "bad_request", "the body must be a JSON object")
    kept, ignored = _openai(data) if issubclass(form, CommonForm) else (data, [])
    try:
        return form.model_validate(kept), tuple(ignored)
    except ValidationError as error:
        raise _problem(error) from None


def _openai(data: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the parameters that are done here, and those that have no effect."""
    ignored, kept = [], {}
    for name, value in data.items():
        if name in _IGNORED:
            ignored.append(name)
        elif name == "best_of" and value in (None, data.get("n") or 1):
            continue
        elif name in _NOT_HERE:
            if value is not None and value not in _NEUTRAL.get(name, ()):
                raise HttpProblem(400, "unsupported_parameter", f"`{name}` is not done here; leave it out", param=name)
        else:
            kept[name] = value
    return kept, ignored


def _problem(error: ValidationError) -> HttpProblem:
    """The first thing that is wrong; of the ways in which a union fails, the one that got furthest."""
    first = max(error.errors(include_url=False, include_input=False), key=lambda one: len(one["loc"]))
    place = ".".join(str(part) for part in first["loc"] if not str(part).endswith("]"))
    if first["type"] == "extra_forbidden":
        return HttpProblem(400, "unknown_parameter", f"`{place}` is not known here; leave it out", param=place)
    message = f"`{place}`: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return HttpProblem(400, "bad_request", message, param=place or None)
