"""The drawing of a plan: keys along its edges, choosing, zoom, groups, and that one change draws one box."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from catp.store.store import RunStore
from tests.dashboard.browser.conftest import Server, fits, work
from tests.dashboard.plans import plan_text, recorded

SMALL = """in t: text
a = short(t)
b = hostile(a)
c = short(a) | hostile(a)
d = short(b) when b != ""
e = short(t"{b} {c}")
out e
"""

FRAME = """<!doctype html><html lang="en"><head><base href="/"><title>graph</title>
<link rel="stylesheet" href="static/app.css">
<style>main { width: 100% }</style></head><body>
<main id="main"><h1>Graph</h1><div id="app"></div></main><script type="module">
import { html, render, signal } from "./static/vendor/vendor.js";
import { get } from "./static/api.js";
import "./static/store.js";
import { Graph, toggled } from "./static/parts/graph.js";
const asked = new URLSearchParams(location.search), hash = asked.get("plan"), run = asked.get("run");
const plan = await get(`plans/${hash}`);
const layout = signal(await get(`plans/${hash}/layout`, { dir: asked.get("dir") }));
const found = run ? (await get(`runs/${run}`)).nodes : [];
window.nodes = signal(Object.fromEntries(found.map((node) => [node.id, node])));
window.options = signal({ colour: "status" });
const selected = signal(null), open = signal("");
const toggle = async (id) => {
  open.value = toggled(open.value, id);
  layout.value = await get(`plans/${hash}/layout`, { dir: asked.get("dir"), open: open.value });
};
const choose = (id) => (selected.value = id);
const paint = (event) => (document.documentElement.dataset.theme = event.target.value);
const App = () => html`<label>Colours <select onChange=${paint}>
  <option>light</option><option>dark</option></select></label>
  <p id="chosen">${selected.value ?? "nothing"}</p><${Graph} layout=${layout.value} plan=${plan}
  nodes=${run ? window.nodes.value : null} selected=${selected.value} select=${choose} toggle=${toggle}
  ...${window.options.value} />`;
render(html`<${App} />`, document.getElementById("app"));
</script></body></html>"""


@pytest.fixture
def graph(tmp_path: Path, serve: Callable[..., Server], page: Page) -> Iterator[Callable[..., None]]:
    """graph(plan text, done=steps that are over or None for no run, **query) shows its drawing on a page of its own."""
    store = RunStore(tmp_path / "runs.db")
    site = serve(tmp_path / "runs.db")
    page.route("**/frame?*", lambda route: route.fulfill(body=FRAME, content_type="text/html"))

    def show(source: str, done: int | None = None, **query: Any) -> None:
        run_id, digest, _ = work(recorded(store, source, done=done or 0, open_=True))
        about = {"plan": digest, **query} | ({} if done is None else {"run": run_id})
        page.goto(f"{site.url}/frame?" + "&".join(f"{key}={value}" for key, value in about.items()))
        expect(page.get_by_role("button", name="Fit")).to_be_visible()

    yield show
    store.close()


def step(page: Page, name: str) -> Locator:
    """The box of a step: its name begins with that of the step."""
    return page.get_by_role("button", name=re.compile(rf"^{re.escape(name)},"))


def drawn_anew(page: Page) -> Any:
    """Watch boxes; returns a function that says which were changed since."""
    page.evaluate("""() => {
      window.changed = new Set();
      new MutationObserver((all) => all.forEach((one) => {
        const box = (one.target.closest ? one.target : one.target.parentElement)?.closest("[data-id], path");
        if (box) window.changed.add(box.dataset.id ?? "line");
      })).observe(document.querySelector(".graph-sheet"), {
        subtree: true, childList: true, attributes: true, characterData: true,
      });
    }""")
    return lambda: page.evaluate("new Promise((done) => setTimeout(() => done([...window.changed].sort()), 100))")


def test_boxes_say_what_they_show(graph: Callable[..., None], page: Page, no_barriers: Callable[[], None]) -> None:
    graph(SMALL, 4)
    expect(step(page, "b")).to_have_accessible_name(
        "b, hostile, ok, cost $0.001, estimated $0.001, time 80 ms, estimated 64 ms, on the critical path"
    )
    expect(step(page, "c")).to_have_accessible_name(re.compile("1 alternatives"))
    expect(step(page, "d")).to_have_accessible_name(re.compile('when b != ""'))
    expect(step(page, "e")).to_have_accessible_name(re.compile("^e, short, pending"))
    no_barriers()


def test_keys_follow_the_edges(graph: Callable[..., None], page: Page) -> None:
    graph(SMALL, 4)
    page.get_by_role("button", name="Fit").focus()
    page.keyboard.press("Tab")  # one stop for the whole graph
    expect(step(page, "a")).to_be_focused()
    for key, found in [
        ("ArrowRight", "b"), ("ArrowDown", "c"), ("ArrowRight", "e"), ("ArrowUp", "d"), ("ArrowLeft", "b"),
        ("ArrowLeft", "a"), ("ArrowLeft", "a"), ("End", "e"), ("Home", "a"),
    ]:  # fmt: skip
        page.keyboard.press(key)
        expect(step(page, found)).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#chosen")).to_have_text("b")
    expect(step(page, "b")).to_have_attribute("aria-current", "true")


def test_keys_follow_the_edges_from_top_to_bottom(graph: Callable[..., None], page: Page) -> None:
    graph(SMALL, 4, dir="TB")
    step(page, "a").focus()
    for key, found in [
        ("ArrowDown", "b"),
        ("ArrowRight", "c"),
        ("ArrowDown", "e"),
        ("ArrowUp", "c"),
        ("ArrowLeft", "b"),
    ]:
        page.keyboard.press(key)
        expect(step(page, found)).to_be_focused()


def test_zoom_by_buttons_keys_and_wheel(graph: Callable[..., None], page: Page) -> None:
    graph(plan_text(40), 20)
    shown = page.locator(".graph-tools .num")
    expect(shown).to_have_text("55 %")
    page.get_by_role("button", name="Zoom in").click()
    expect(shown).to_have_text("69 %")
    step(page, "s0").focus()
    page.keyboard.press("-")
    expect(shown).to_have_text("55 %")
    page.keyboard.press("0")
    expect(shown).not_to_have_text("55 %")
    box = page.locator(".graph-view").bounding_box()
    assert box is not None
    assert page.evaluate("(v => v.scrollWidth <= v.clientWidth)(document.querySelector('.graph-view'))"), "all is seen"
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.keyboard.down("Control")
    for _ in range(10):  # one by one: a busy page is told of several at once
        zoom = shown.inner_text()
        page.mouse.wheel(0, -100)
        expect(shown).not_to_have_text(zoom)
    page.keyboard.up("Control")
    expect(shown).to_have_text(re.compile("^1?[0-9]{2} %$"))
    before = page.evaluate("document.querySelector('.graph-view').scrollLeft")
    page.mouse.move(box["x"] + 500, box["y"] + 8)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 8)
    page.mouse.up()
    assert page.evaluate("document.querySelector('.graph-view').scrollLeft") > before, "dragging the ground moves it"


def test_one_change_draws_one_box(graph: Callable[..., None], page: Page) -> None:
    graph(plan_text(200), 60)
    changed = drawn_anew(page)
    page.evaluate(
        "window.nodes.value = { ...window.nodes.value, s150: { ...window.nodes.value.s150, status: 'running' } }"
    )
    expect(step(page, "s150")).to_have_accessible_name(re.compile(", running"))
    assert changed() == ["s150"]


def test_only_the_critical_path(graph: Callable[..., None], page: Page) -> None:
    graph(SMALL, 4)
    page.evaluate("window.options.value = { critical: true, colour: 'cost' }")
    expect(step(page, "c")).to_have_count(0)
    expect(step(page, "b")).to_be_visible()
    expect(page.locator(".graph-sheet path")).to_have_count(2)  # a - b - d


def test_a_thousand_steps_are_groups_that_open(
    graph: Callable[..., None], page: Page, no_barriers: Callable[[], None], shot: Callable[[str], Path]
) -> None:
    graph(plan_text(1_001, "branches"), 400)
    group = page.get_by_role("button", name="s1 … s996")
    expect(group).to_have_accessible_name(re.compile("group of 996 steps, 39[0-9] of 996 done, running"))
    expect(group).to_have_attribute("aria-expanded", "false")
    group.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="s1 … s996, close")).to_be_visible()
    expect(step(page, "s1 … s64")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("button", name=re.compile("^s1 … s4,")).press("Enter")
    expect(step(page, "s1")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(step(page, "s2")).to_be_focused()
    shot("graph-groups")
    no_barriers()
    page.get_by_role("button", name="s1 … s996, close").click()
    expect(group).to_be_visible()


@pytest.mark.parametrize("width", [360, 1_360])
def test_it_stays_inside_its_own_box(
    graph: Callable[..., None], page: Page, shot: Callable[[str], Path], width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    graph(plan_text(40), 20)
    fits(page)
    shot(f"graph-{width}")


def test_hostile_names_are_text(graph: Callable[..., None], page: Page) -> None:
    graph(SMALL, 4)
    page.evaluate("""() => {
      const old = window.nodes.value;
      window.nodes.value = { ...old, b: { ...old.b, tool: '<img src=x onerror="window.broken = 1">' } };
    }""")
    expect(page.get_by_role("button", name="<img src=x")).to_be_visible()
    assert page.evaluate("window.broken") is None
