"""Texts are smaller on the wire for those who take gzip; streams, media and short answers are what they were."""

import gzip
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import JSONResponse, Response, StreamingResponse

from catp.dashboard.pages import STATIC
from catp.dashboard.squeeze import LEAST_BYTES, Squeeze

Make = Callable[..., httpx.AsyncClient]


async def raw(client: httpx.AsyncClient, path: str, **headers: str) -> tuple[httpx.Headers, bytes]:
    """The answer as it is on the wire."""
    async with client.stream("GET", path, headers=headers) as answer:
        return answer.headers, b"".join([part async for part in answer.aiter_raw()])


@pytest.fixture
async def plain() -> AsyncIterator[httpx.AsyncClient]:
    """A server with one answer of each kind, each long enough."""
    app = FastAPI()
    text = {"text": "many words " * 1_000}

    @app.get("/json")
    def whole() -> dict[str, str]:
        return text

    @app.get("/parts")
    def parts() -> StreamingResponse:
        return StreamingResponse(iter([b"a" * 5_000, b"b" * 5_000]), media_type="text/csv")

    @app.get("/range")
    def part() -> Response:
        return Response(b"x" * 5_000, 206, {"content-range": "bytes 0-4999/9000"}, "text/plain")

    @app.get("/bytes")
    def media() -> Response:
        return Response(b"x" * 5_000, media_type="application/octet-stream")

    @app.get("/short")
    def short() -> JSONResponse:
        return JSONResponse({"text": "x" * (LEAST_BYTES - 100)})

    app.add_middleware(Squeeze)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


async def test_only_whole_texts_are_squeezed_and_only_if_asked(plain: httpx.AsyncClient) -> None:
    for taken in ("gzip", "br, gzip;q=0.5", "GZIP"):
        headers, body = await raw(plain, "/json", **{"accept-encoding": taken})
        assert headers["content-encoding"] == "gzip", taken
        assert int(headers["content-length"]) == len(body) < 500
        assert json.loads(gzip.decompress(body)) == {"text": "many words " * 1_000}
    for refused in ("", "identity", "br", "gzip;q=0", "gzip; q=0.0", "x-gzip"):
        headers, body = await raw(plain, "/json", **{"accept-encoding": refused})
        assert "content-encoding" not in headers, refused
        assert json.loads(body) == {"text": "many words " * 1_000}
        assert headers["vary"] == "accept-encoding"
    for path in ("/parts", "/range", "/bytes", "/short"):
        headers, body = await raw(plain, path, **{"accept-encoding": "gzip"})
        assert "content-encoding" not in headers, path
        assert body[:1] in b"ax{", path


async def test_the_dashboard_squeezes_its_json_and_its_files(filled: Path, client_of: Make) -> None:
    client = client_of(filled)
    run = (await client.get("/api/v1/runs")).json()["items"][0]["id"]
    for path, kind in ((f"/api/v1/runs/{run}", "application/json"), ("/static/main.js", "text/javascript")):
        headers, body = await raw(client, path, **{"accept-encoding": "gzip"})
        whole = await client.get(path, headers={"accept-encoding": "identity"})
        assert headers["content-type"].startswith(kind)
        assert headers["x-content-type-options"] == "nosniff"
        assert gzip.decompress(body) == whole.content
        assert len(body) < 0.6 * len(whole.content), path
    again = await client.get("/static/main.js", headers={"if-none-match": headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert whole.content == (STATIC / "main.js").read_bytes()
    problem: Any = await client.get("/api/v1/runs/" + "x" * 4_000)
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["status"] == 404
