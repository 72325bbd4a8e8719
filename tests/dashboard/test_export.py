"""Files of a run: what they hold is what the store holds, and nothing in them acts."""

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from typer.testing import CliRunner

from catp.agent import Agent
from catp.cli.main import app
from catp.planlang.money import parse_usd
from catp.planlang.parser import parse
from catp.store.store import RunStore
from catp.tools import PerCall, tool
from catp.tools.decorator import Tool
from tests.dashboard.conftest import hostile, short
from tests.store.recording import fails, unpriced

Make = Callable[..., httpx.AsyncClient]

PLAN = """plan mixed
in t: text
in photo: image
a = hostile(t)
b = short(a)
c = unpriced(t)
d = fails(t)
e = bent(t)
p = same(photo)
out a, b, c, e, p, d?
"""


@tool(price=PerCall("0.001"))
async def bent(text: str) -> str:
    return "=HYPERLINK(1) \u202egnp.exe\u202c \u200b</pre><script>alert(2)</script>"


@tool(price=PerCall("0.0005"))
async def same(image: Image.Image) -> Image.Image:
    return image


@pytest.fixture
async def run_id(path: Path) -> str:
    photo = Image.new("RGB", (40, 30), "teal")
    async with Agent([hostile, short, unpriced, fails, bent, same], store=path, name="<i>bot</i>") as agent:
        return (await agent.run(parse(PLAN), {"t": "</title><script>alert(0)</script>", "photo": photo})).run_id


async def exported(client: httpx.AsyncClient, run_id: str, format: str) -> httpx.Response:
    answer = await client.get(f"/api/v1/runs/{run_id}/export?format={format}")
    assert answer.status_code == 200, answer.text
    ending = "otlp.json" if format == "otlp" else format
    assert answer.headers["content-disposition"] == f'attachment; filename="{run_id}.{ending}"'
    return answer


class Tags(HTMLParser):
    """Every tag with its attributes, and the text by the tag it stands in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


async def test_the_page_holds_the_run_and_nothing_that_acts(run_id: str, path: Path, client_of: Make) -> None:
    client = client_of(path)
    answer = await exported(client, run_id, "html")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = Tags(answer.text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "iframe", "object", "embed", "link", "base", "form", "a", "foreignobject", "b", "i"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in {"src", "href", "xlink:href", "srcset", "style", "action"} & set(attributes):
            assert str(attributes[name]).startswith("data:image/png;base64,"), tag
    assert not re.findall(r"(?:https?:)?//\w|@import|url\(", re.sub(r"base64,[A-Za-z0-9+/=]+", "", answer.text))
    assert {tag: a for tag, a in page.tags if a.get("name") == "color-scheme"}["meta"]["content"] == "light dark"
    words = "".join(page.text)
    assert "<script>alert(1)</script>" in words
    assert "\\u202egnp.exe\\u202c \\u200b</pre><script>alert(2)</script>" in words
    assert "no </title><script>alert(0)</script> today" in words
    assert sum(tag == "img" for tag, _ in page.tags) == 2
    shown = (await client.get(f"/api/v1/runs/{run_id}")).json()
    assert f"${shown['ledger']['total']} + 1 unpriced" in words
    for node in shown["nodes"]:
        assert node["id"] in words


async def test_a_picture_that_is_gone_is_said_to_be(run_id: str, path: Path, client_of: Make) -> None:
    for file in path.parent.joinpath("artifacts").rglob("*"):
        if file.is_file():
            file.write_bytes(b"changed")
    page = Tags((await exported(client_of(path), run_id, "html")).text)
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert "Not in this file" in "".join(page.text)


async def test_csv_and_json_hold_the_ledger_and_formulas_stay_texts(run_id: str, path: Path, client_of: Make) -> None:
    client = client_of(path)
    rows = list(csv.DictReader(io.StringIO((await exported(client, run_id, "csv")).text)))
    document = (await exported(client, run_id, "json")).json()
    total = sum(Decimal(row["amount"]) for row in rows if row["amount"])
    assert total == Decimal(document["run"]["ledger"]["total"]) == Decimal(document["run"]["cost"]["amount"])
    assert len(rows) == len(document["ledger"])
    assert document["events"][-1]["type"] == "run.finished"
    assert not [cell for row in rows for cell in row.values() if cell[:1] in ("=", "+", "-", "@")]


async def test_spans_cost_what_the_ledger_says(run_id: str, path: Path, client_of: Make) -> None:
    document = (await exported(client_of(path), run_id, "otlp")).json()
    (scope,) = document["resourceSpans"][0]["scopeSpans"]
    amounts = [
        parse_usd(attribute["value"]["stringValue"])
        for span in scope["spans"] if "parentSpanId" in span
        for attribute in span["attributes"] if attribute["key"] == "catp.cost.amount"
    ]  # fmt: skip
    store = RunStore(path)
    assert sum(amounts) == store.find(run_id).cost
    store.close()


async def test_a_run_under_way_can_be_exported(path: Path, client_of: Make, filled: Path) -> None:
    from catp.runtime.ids import new_run_id
    from tests.store.recording import created, new_run

    new = new_run(new_run_id(), "in t: text\na = up(t)\nout a\n")
    store = RunStore(path)
    journal = store.begin(new)
    journal.event(created(new))
    await journal.durable()
    client = client_of(path)
    assert "No step has started." in (await exported(client, new.run_id, "html")).text
    (scope,) = (await exported(client, new.run_id, "otlp")).json()["resourceSpans"][0]["scopeSpans"]
    assert [span["name"] for span in scope["spans"]] == ["invoke_workflow"]
    await journal.close()
    store.close()


async def test_an_unknown_run_or_format(run_id: str, path: Path, client_of: Make) -> None:
    client = client_of(path)
    assert (await client.get("/api/v1/runs/01NOSUCH/export?format=html")).status_code == 404
    assert (await client.get(f"/api/v1/runs/{run_id}/export?format=xml")).status_code == 422


@pytest.mark.parametrize("format", ["json", "csv", "otlp", "html"])
async def test_the_command_writes_what_the_server_sends(
    run_id: str, path: Path, client_of: Make, format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATP_TOOLS", "tests.dashboard.test_export:TOOLS")
    sent = (await exported(client_of(path, agent_for=_agent), run_id, format)).content
    to = tmp_path / "file"
    command = ["runs", "export", run_id[-8:], "--format", format, "--store", str(path)]
    done = CliRunner().invoke(app, [*command, "-o", str(to)])
    assert done.exit_code == 0, done.output
    assert to.read_bytes() == sent
    assert CliRunner().invoke(app, command).stdout_bytes == to.read_bytes()


TOOLS: list[Tool[Any, Any]] = [hostile, short, unpriced, fails, bent, same]


def _agent(store: RunStore) -> Agent:
    return Agent(TOOLS, planner="search", store=store)


def test_the_command_says_what_is_wrong(path: Path, run_id: str, tmp_path: Path) -> None:
    def refused(*arguments: str) -> Any:
        done = CliRunner().invoke(app, ["runs", "export", *arguments, "--store", str(path)])
        return done.exit_code, done.stderr

    assert refused(run_id, "--format", "xml")[0] == 2
    code, said = refused("01NOSUCH")
    assert (code, "01NOSUCH" in said) == (2, True)
    code, said = refused(run_id, "-o", str(tmp_path / "no" / "file"))
    assert (code, "cannot write" in said) == (1, True)


def test_without_fastapi_the_command_works_and_without_opentelemetry_it_says_what_to_install(
    run_id: str, path: Path
) -> None:
    def run(format: str, *absent: str) -> "subprocess.CompletedProcess[str]":
        block = "".join(f"sys.modules[{name!r}] = None; " for name in absent)
        code = f"import sys; {block}from catp.cli.main import app; app()"
        command = [sys.executable, "-c", code, "runs", "export", run_id, "--format", format, "--store", str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    for format in ("html", "json"):
        done = run(format, "fastapi", "starlette", "uvicorn")
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"]["id"] == run_id
    done = run("otlp", "opentelemetry")
    assert done.returncode == 1
    assert "catp[otel]" in done.stderr
