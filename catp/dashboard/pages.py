"""The pages: plain files out of `static/`, and one HTML page for every address that is not a file.

The page has `<base href="../…">` as deep as its address is, so it finds its files and the API under whatever prefix a
proxy has put before it, told or not. Files keep their names between versions: browsers ask each time, by ETag.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from catp.dashboard.problems import Problem

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["STATIC", "add_pages"]

STATIC = Path(__file__).parent / "static"

_TYPES = {
    ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
    ".png": "image/png", ".txt": "text/plain; charset=utf-8", ".json": "application/json",
}  # fmt: skip
_AGAIN = "no-cache"

_PAGES = frozenset(
    ["runs", "plan", "compare", "pareto", "tools", "spend", "serving", "training", "settings"]
)  # the first part of the addresses in static/main.js; the overview is the empty one


def add_pages(app: "FastAPI") -> None:
    """Add what is left when the API has been asked."""
    from starlette.requests import Request
    from starlette.responses import Response

    def answer(request: Request, body: bytes, mime: str) -> Response:
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = {"etag": tag, "cache-control": _AGAIN}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=mime, headers=headers)

    @app.get("/static/{path:path}", include_in_schema=False)
    def file(path: str, request: Request) -> Response:
        found = _files().get(path)
        if found is None:
            raise Problem(404, "not-found", f"there is no file static/{path[:100]}")
        return answer(request, found.read_bytes(), _TYPES[found.suffix])

    @app.get("/{path:path}", include_in_schema=False)
    def page(path: str, request: Request) -> Response:
        if path.startswith("api/"):
            raise Problem(404, "not-found", f"the API has no /{path[:100]}; see /api/openapi.json")
        base = "../" * path.count("/") or "./"
        html = (STATIC / "index.html").read_text("utf-8").replace("{base}", base)
        if path and path.split("/")[0] not in _PAGES:  # the page says so too
            return Response(html, 404, media_type="text/html; charset=utf-8")
        return answer(request, html.encode(), "text/html; charset=utf-8")


@cache
def _files() -> dict[str, Path]:
    """What may be handed out, by its name under `static/`: nothing else can be reached, however it is spelt."""
    return {path.relative_to(STATIC).as_posix(): path for path in STATIC.rglob("*") if path.suffix in _TYPES}
