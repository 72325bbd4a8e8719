"""Paths, bodies and errors: the service as an ASGI application (FastAPI; the extra `serve`)."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from catp.serving.server.catalogues import CatalogueBody
from catp.serving.server.forms import ChatForm, CompletionForm, Form, read_form
from catp.serving.server.openapi import body_of, document
from catp.serving.server.plans import PlanForm
from catp.serving.server.problems import HttpProblem, of_refusal
from catp.serving.server.service import Answer, Service
from catp.serving.server.sse import EventStream
from catp.serving.server.tenants import Tenant

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

__all__ = ["ServeExtraMissing", "create_app"]

_MOST_REQUESTS = 1_000


class ServeExtraMissing(ImportError):
    """The packages of the server are not installed; the message says how to."""


class AdapterForm(Form):
    """`POST /v1/adapters`."""

    name: str
    path: str


Ask = Callable[[Tenant, object, Any], Awaitable[Answer]]


def create_app(service: Service) -> "FastAPI":
    """Return the application.

    Raises:
        ServeExtraMissing: FastAPI is not installed.
    """
    try:
        from fastapi import FastAPI
        from starlette.requests import ClientDisconnect
    except ImportError as error:
        raise ServeExtraMissing("the server needs fastapi and uvicorn; run: pip install 'catp[serve]'") from error
    from catp import __version__

    app = FastAPI(title="CATP", version=__version__, description="OpenAI's API, and plans.", docs_url=None,
                  redoc_url=None)  # fmt: skip
    app.add_exception_handler(HttpProblem, _problem)
    app.add_exception_handler(404, _no_such_path)
    app.add_exception_handler(405, _no_such_path)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _broken)
    _add_answers(app, service)
    _add_models(app, service)
    _add_catalogues(app, service)
    _add_requests(app, service)
    _add_health(app, service)
    forms = (ChatForm, CompletionForm, PlanForm, CatalogueBody, AdapterForm)
    document(app, {form.__name__: form for form in forms})
    return app


def _add_answers(app: "FastAPI", service: Service) -> None:
    from fastapi import Request, Response

    class Stream(Response):
        """What FastAPI takes for an answer."""

        def __init__(self, events: EventStream) -> None:
            super().__init__()
            self._events = events

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self._events(scope, receive, send)

    paths: list[tuple[str, type[BaseModel], Ask]] = [
        ("/v1/chat/completions", ChatForm, service.chat),
        ("/v1/completions", CompletionForm, service.completions),
        ("/v1/plans", PlanForm, service.plans),
    ]
    for path, form, ask in paths:

        async def answer(request: Request, ask: Ask = ask) -> Response:
            tenant = service.enter(request.headers.get("authorization"))
            data = await _body(request, service)
            found = await ask(tenant, data, request.receive)
            return _json(200, *found) if isinstance(found, tuple) else Stream(found)

        app.add_api_route(path, _plain(answer), methods=["POST"], openapi_extra=body_of(form), name=ask.__name__,
                          response_model=None)  # fmt: skip


def _add_models(app: "FastAPI", service: Service) -> None:
    from fastapi import Request, Response

    def cards() -> list[dict[str, Any]]:
        found = []
        for card in service.backend.models():
            whole = {"object": "model", "created": card.created, "owned_by": "catp", "max_model_len": card.context}
            found.append({"id": card.id, **whole, "root": card.id, "parent": None, "plans": card.plans,
                          "chat": card.chat, "kappa": card.kappa, "margin": card.margin})  # fmt: skip
            found += [{"id": one.name, **whole, "root": card.id, "parent": card.id, "plans": card.plans,
                       "chat": card.chat, "digest": one.digest, "running": one.running}
                      for one in card.adapters]  # fmt: skip
        return found

    @app.get("/v1/models", response_model=None)
    async def models(request: Request) -> Response:
        service.tenants.known(request.headers.get("authorization"))
        return _json(200, {"object": "list", "data": cards()}, {})

    @app.get("/v1/models/{id:path}", response_model=None)
    async def model(id: str, request: Request) -> Response:
        service.tenants.known(request.headers.get("authorization"))
        found = next((card for card in cards() if card["id"] == id), None)
        if found is None:
            raise HttpProblem(404, "unknown_model", f"there is no model {id!r}; see GET /v1/models", param="model")
        return _json(200, found, {})

    @app.post("/v1/adapters", response_model=None, openapi_extra=body_of(AdapterForm))
    async def load(request: Request) -> Response:
        _admin(service, request)
        form, _ = read_form(AdapterForm, await _body(request, service))
        try:
            card = await service.backend.load_adapter(form.name, form.path)
        except Exception as error:
            raise of_refusal(error) from error
        return _json(200, {"name": card.name, "digest": card.digest, "path": card.path}, {})

    @app.delete("/v1/adapters/{name:path}", response_model=None)
    async def unload(name: str, request: Request) -> Response:
        _admin(service, request)
        try:
            await service.backend.unload_adapter(name)
        except Exception as error:
            raise of_refusal(error) from error
        return _json(200, {"name": name, "unloaded": True}, {})


def _add_catalogues(app: "FastAPI", service: Service) -> None:
    from fastapi import Request, Response

    @app.put("/v1/catalogues/{id}", response_model=None, openapi_extra=body_of(CatalogueBody))
    async def put(id: str, request: Request) -> Response:
        tenant = service.enter(request.headers.get("authorization"))
        form, _ = read_form(CatalogueBody, await _body(request, service))
        kept = service.catalogues.put(tenant.name, id, form)
        return _json(200, {"id": id, "digest": kept.view.digest, "tools": len(kept.view)}, {})

    @app.get("/v1/catalogues", response_model=None)
    async def ids(request: Request) -> Response:
        tenant = service.tenants.known(request.headers.get("authorization"))
        return _json(200, {"object": "list", "data": service.catalogues.ids(tenant.name)}, {})


def _add_requests(app: "FastAPI", service: Service) -> None:
    from fastapi import Request, Response

    @app.get("/v1/requests", response_model=None)
    async def requests(request: Request) -> Response:
        given = request.query_params.get("limit", "100")
        if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= _MOST_REQUESTS):
            raise HttpProblem(400, "bad_request", f"limit must be 1 to {_MOST_REQUESTS}", param="limit")
        rows = service.requests(request.headers.get("authorization"), int(given[:9]))
        return _json(200, {"object": "list", "now": service.meter.clock(), "data": rows}, {})


def _add_health(app: "FastAPI", service: Service) -> None:
    from fastapi import Request, Response

    @app.get("/live", response_model=None)
    async def live() -> Response:
        well = service.backend.health().live
        return _json(200 if well else 503, {"live": well}, {})

    @app.get("/health", response_model=None)  # what clients of vLLM ask, load generators among them
    @app.get("/ready", response_model=None)
    async def ready() -> Response:
        well, reason = service.ready()
        return _json(200 if well else 503, {"ready": well, "reason": reason}, {})

    @app.get("/progress", response_model=None)
    async def progress() -> Response:
        well, figures = service.progress()
        return _json(200 if well else 503, figures, {})

    @app.get("/metrics", response_model=None)
    async def metrics(request: Request) -> Response:
        _admin(service, request)
        text, kind = service.metrics.render()
        return Response(text, headers={"Content-Type": kind})


def _admin(service: Service, request: "Request") -> None:
    tenant = service.tenants.known(request.headers.get("authorization"))
    if not tenant.admin:
        raise HttpProblem(403, "not_admin", f"tenant `{tenant.name}` is no admin: set admin = true in the file of keys")


async def _body(request: "Request", service: Service) -> object:
    """The JSON body, which may be neither too large nor too slow."""
    if "origin" in request.headers and "json" not in request.headers.get("content-type", ""):
        # a browser sends JSON elsewhere only after asking, which is refused: no page may use a server on this machine
        raise HttpProblem(415, "not_json", "send `Content-Type: application/json`")
    most = service.options.max_body
    too_large = HttpProblem(413, "body_too_large", f"the body is larger than {most} bytes, the limit of this server")
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > most:
        raise too_large
    parts = bytearray()
    try:
        async with asyncio.timeout(service.options.body_seconds):
            async for chunk in request.stream():
                parts += chunk
                if len(parts) > most:
                    raise too_large
    except TimeoutError:
        limit = service.options.body_seconds
        raise HttpProblem(408, "body_too_slow", f"the body did not come within {limit:g} s") from None
    try:
        data: object = json.loads(parts)
    except (ValueError, RecursionError) as error:
        raise HttpProblem(400, "malformed_json", f"the body is not JSON: {error}") from None
    return data


def _plain(answer: Any) -> Any:
    """An endpoint that takes the request and nothing else."""

    async def endpoint(request: Any) -> Any:
        return await answer(request)

    from fastapi import Request

    endpoint.__annotations__ = {"request": Request}
    return endpoint


def _json(status: int, body: object, headers: Any) -> "Response":
    from fastapi.responses import JSONResponse

    return JSONResponse(body, status, headers=dict(headers))


async def _problem(_: "Request", error: Exception) -> "Response":
    assert isinstance(error, HttpProblem)
    return _json(error.status, error.body(), error.headers())


async def _no_such_path(request: "Request", error: Exception) -> "Response":
    status = getattr(error, "status_code", 404)
    problem = HttpProblem(status, "unknown_path", f"there is no {request.method} {request.url.path}; see /openapi.json")
    return _json(status, problem.body(), {})


async def _gone(_: "Request", error: Exception) -> "Response":
    return _json(400, HttpProblem(400, "disconnected", "the client went away before its request was read").body(), {})


async def _broken(_: "Request", error: Exception) -> "Response":
    problem = HttpProblem(500, "internal_error", "the server made a mistake with this request; its log says which")
    return _json(500, problem.body(), {})
