"""The files of the pages: what is vendored is what it says it is, and nothing points to another host."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx

from catp.dashboard.pages import STATIC

BUDGET = 200_000
"""Bytes of JavaScript, vendored libraries included, as they are shipped."""

WIDEST = 150
"""Characters of a line of JavaScript or CSS, where a tab is two."""


def test_vendored_files_are_the_ones_that_were_checked() -> None:
    said = json.loads((STATIC / "vendor" / "VENDOR.json").read_text())["files"]
    found = {name: hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() for name in said}
    assert found == said
    assert "vendor.js" in said


def test_every_vendored_package_brings_its_licence() -> None:
    text = (STATIC / "vendor" / "LICENSES.txt").read_text()
    for package in json.loads((STATIC / "vendor" / "VENDOR.json").read_text())["packages"]:
        assert f"{package['name']} {package['version']} ({package['licence']})" in text


def test_no_file_names_another_host_or_an_absolute_path() -> None:
    namespaces = re.compile(r"http://www\.w3\.org/[\w/]+")  # names, never fetched
    for path in STATIC.rglob("*"):
        if path.suffix not in {".js", ".css", ".html", ".svg"}:
            continue
        text = namespaces.sub("", path.read_text("utf-8"))
        assert not re.search(r"https?://(?!host:)|url\(['\"]?//|[\"'`]//\w", text), path.name
        if "vendor" not in path.parts:  # /x would leave the prefix of a proxy
            assert not re.search(r"(href|src)=[\"'`]/|fetch\([\"'`]/|import\([\"'`]/", text), path.name


def test_javascript_stays_small() -> None:
    sizes = {path.relative_to(STATIC).as_posix(): path.stat().st_size for path in STATIC.rglob("*.js")}
    assert sum(sizes.values()) - sizes["vendor/entry.js"] <= BUDGET, sizes


def test_no_line_of_our_own_is_long() -> None:
    own = [path for kind in ("*.js", "*.css") for path in STATIC.rglob(kind) if "vendor" not in path.parts]
    lines = ((path, at, line.expandtabs(2)) for path in own for at, line in enumerate(path.read_text().split("\n"), 1))
    assert not [f"{path.name}:{at}" for path, at, line in lines if len(line) > WIDEST]
    assert len(own) > 30


async def test_files_have_an_etag_and_only_files_are_handed_out(
    tmp_path: Path, client_of: Callable[..., httpx.AsyncClient]
) -> None:
    client = client_of(tmp_path / "runs.db")
    first = await client.get("/static/main.js")
    assert first.status_code == 200
    assert first.headers["content-type"].startswith("text/javascript")
    assert first.headers["cache-control"] == "no-cache"
    again = await client.get("/static/main.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for path in ("/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/vendor", "/static/"):
        assert (await client.get(path)).status_code == 404, path


async def test_the_page_finds_its_files_from_any_depth(
    tmp_path: Path, client_of: Callable[..., httpx.AsyncClient]
) -> None:
    client = client_of(tmp_path / "runs.db")
    for path, base in (("/", "./"), ("/runs", "./"), ("/runs/R1", "../"), ("/training/a/b", "../../")):
        answer = await client.get(path)
        assert answer.status_code == 200
        assert f'<base href="{base}">' in answer.text
        assert answer.headers["cache-control"] == "no-cache"
    for path in ("/nothing", "/docs", "/api", "/api/v2/runs"):
        assert (await client.get(path)).status_code == 404, path
