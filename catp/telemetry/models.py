"""What a tool is to telemetry: a function, or a call of a language model at some provider."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from catp.runtime.binding import ToolSource
from catp.telemetry.names import Catp, GenAI, Kind, Operation, Reader
from catp.tools.spec import ModelBackend

__all__ = ["CalledTool", "called_tool"]

_PROVIDERS = {
    "api.anthropic.com": "anthropic",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.moonshot.ai": "moonshot_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
    "generativelanguage.googleapis.com": "gcp.gemini",
}
_SUFFIXES = {
    ".openai.azure.com": "azure.ai.openai",
    ".amazonaws.com": "aws.bedrock",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
}
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class CalledTool:
    """A tool as spans and metrics name it: `attributes` are those of its spans, `labels` those of its metrics."""

    span_name: str
    model: str | None
    attributes: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)


def called_tool(name: str, tools: ToolSource) -> CalledTool:
    """Look a tool up; one that the catalogue no longer has is named, and nothing more is said of it."""
    try:
        backend: object = tools.get(name).backend
    except KeyError:
        backend = None
    if isinstance(backend, ModelBackend):
        return _model_call(name, backend)
    labels = {GenAI.TOOL: name, GenAI.TOOL_TYPE: "function"}
    common = {GenAI.OPERATION: Operation.TOOL, Catp.TOOL: name, Reader.SPAN_KIND: Kind.TOOL}
    return CalledTool(f"{Operation.TOOL} {name}", None, {**labels, **common}, labels)


def _model_call(name: str, backend: ModelBackend) -> CalledTool:
    address = urlsplit(backend.endpoint)
    host, model = address.hostname or "", str(backend.request.get("model", "unknown"))
    labels: dict[str, Any] = {
        GenAI.OPERATION: Operation.CHAT,
        GenAI.PROVIDER: _provider(host),
        GenAI.MODEL: model,
        GenAI.SERVER: host,
        GenAI.PORT: address.port or _PORTS.get(address.scheme, 0),
    }
    attributes = {**labels, Catp.TOOL: name, Reader.SPAN_KIND: Kind.LLM}
    for key, parameter in ((GenAI.MAX_TOKENS, "max_tokens"), (GenAI.TEMPERATURE, "temperature")):
        if backend.request.get(parameter) is not None:
            attributes[key] = backend.request[parameter]
    return CalledTool(f"{Operation.CHAT} {model}", model, attributes, labels)


def _provider(host: str) -> str:
    """The provider by its host. Others that speak OpenAI's protocol are `openai`, as the conventions advise."""
    known = _PROVIDERS.get(host)
    return known or next((name for suffix, name in _SUFFIXES.items() if host.endswith(suffix)), "openai")
