"""Pareto: with mouse or keyboard from points over the weight of quality to the runs behind them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from catp.store.store import RunStore
from tests.dashboard.browser.conftest import Server, fits
from tests.dashboard.test_pareto import some, write

Serve = Callable[..., Server]

# policy: price in nano-USD and score of three runs each; `middle` is beaten by `frugal`
POLICIES = {
    "frugal": [(1_000_000, 0.55), (1_200_000, 0.6), (1_400_000, 0.65)],
    "middle": [(5_000_000, 0.4), (6_000_000, 0.5), (7_000_000, 0.45)],
    "thorough": [(40_000_000, 0.9), (42_000_000, 0.95), (50_000_000, 0.97)],
}


def fill(path: Path) -> None:
    (base,) = some(1, seed=0)
    pairs = [(policy, *figures) for policy, all_ in POLICIES.items() for figures in all_]
    rows: list[dict[str, Any]] = [
        base | {
            "id": f"01J{at:023d}", "policy": policy, "cost_nano": cost, "score": score, "status": "complete",
            "unpriced": 0, "latency_ms": 100.0 * (at + 1), "project": "p",
        }
        for at, (policy, cost, score) in enumerate(pairs)
    ]  # fmt: skip
    rows.append(rows[0] | {"id": f"01J{99:023d}", "unpriced": 1})
    rows.append(rows[0] | {"id": f"01J{98:023d}", "score": None, "predicted_quality": None})
    store = RunStore(path)
    store.database.write(partial(write, rows=rows))
    store.close()


@pytest.fixture
def site(tmp_path: Path, serve: Serve) -> Server:
    fill(tmp_path / "runs.db")
    return serve(tmp_path / "runs.db")


def test_the_weight_of_quality_moves_the_best_point(site: Server, page: Page) -> None:
    page.goto(f"{site.url}/pareto?alpha=0.9")
    best = page.get_by_text("Best at this α:")
    expect(best).to_contain_text("thorough")
    slider = page.get_by_role("slider", name="α")
    slider.focus()
    for _ in range(30):
        page.keyboard.press("ArrowLeft")
    expect(best).to_contain_text("frugal")
    expect(page).to_have_url(f"{site.url}/pareto?alpha=0.6")
    expect(page.get_by_role("link", name="frugal: cost $0.0012, quality 0.6, 3 runs")).to_contain_text("best at this α")
    expect(page.get_by_role("link", name="middle: ")).to_contain_text("dominated")
    slider.press("Home")  # price alone counts
    expect(best).to_contain_text("frugal")
    least = page.get_by_role("spinbutton", name="least quality")
    expect(page.get_by_role("definition").filter(has=least)).to_contain_text("thorough, $0.044")
    least.fill("0.5")
    least.press("Tab")
    expect(page.get_by_role("definition").filter(has=least)).to_contain_text("frugal, $0.0012")
    least.fill("0.99")
    least.press("Tab")
    expect(page.get_by_role("definition").filter(has=least)).to_contain_text("no point reaches it")


def test_points_are_walked_and_lead_to_their_runs(site: Server, page: Page) -> None:
    page.goto(f"{site.url}/pareto")
    page.get_by_role("link", name="frugal: ").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("link", name="middle: ")).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}/runs?policy=thorough")
    expect(page.get_by_role("table", name="Runs").get_by_role("row")).to_have_count(4)


def test_a_frame_by_keyboard_or_mouse_leads_to_the_runs_inside(site: Server, page: Page) -> None:
    page.goto(f"{site.url}/pareto")
    for name, value in (("cost max", "0.01"), ("quality min", "0.5")):
        page.get_by_role("spinbutton", name=name).fill(value)
        page.get_by_role("spinbutton", name=name).press("Tab")
    expect(page.get_by_text("1 of 3 points inside")).to_be_visible()
    page.get_by_role("link", name="Runs inside").press("Enter")
    expect(page).to_have_url(f"{site.url}/runs?cost_max=0.01&quality_min=0.5")
    expect(page.get_by_role("table", name="Runs").get_by_role("row")).to_have_count(6)  # 4 of those placed, 1 unpriced
    page.go_back()
    page.get_by_role("button", name="Clear").press("Enter")
    expect(page.get_by_role("link", name="Runs inside")).to_have_count(0)
    # as wide as it will be: a chart is drawn anew when it knows how much room there is
    page.wait_for_function("(p => p.clientWidth - p.firstChild.clientWidth < 2)(document.querySelector('.plot'))")
    plane = page.get_by_role("group", name="Points by cost").bounding_box()
    assert plane is not None
    page.mouse.move(plane["x"] + plane["width"] / 2, plane["y"] + 15)
    page.mouse.down()
    page.mouse.move(plane["x"] + plane["width"] - 22, plane["y"] + 120, steps=3)
    page.mouse.up()
    expect(page.get_by_text("1 of 3 points inside")).to_be_visible()
    assert float(page.get_by_role("spinbutton", name="cost min").input_value()) > 0.02


def test_the_table_says_what_the_api_says(
    site: Server, page: Page, no_barriers: Callable[[], None], shot: Callable[[str], Path]
) -> None:
    told = page.request.get(f"{site.url}/api/v1/pareto").json()
    page.goto(f"{site.url}/pareto?log=1")
    expect(page.get_by_text("Of 11 ended runs 1 have no known quality and 1 a row without a price")).to_be_visible()
    no_barriers()
    shot("pareto")
    page.get_by_role("button", name="Show as table").press("Enter")
    expect(page.get_by_role("row")).to_have_count(1 + len(told["points"]))
    rows = [[cell.inner_text() for cell in row.get_by_role("cell").all()] for row in page.get_by_role("row").all()[1:]]
    assert [row[0] for row in rows] == [point["label"] for point in told["points"]] == ["frugal", "middle", "thorough"]
    for row, point in zip(rows, told["points"], strict=True):
        assert row[1] == str(point["n"])
        assert float(row[2][1:]) == pytest.approx(float(point["cost"]["mean"]), rel=5e-3)
        assert float(row[5]) == pytest.approx(point["quality"]["mean"], abs=5e-4)
        assert float(row[6]) == pytest.approx(point["quality"]["lo"], abs=5e-4)
        assert row[10] == ("on the front" if point["key"] in told["frontier"] else "dominated")
    no_barriers()


def test_groups_and_narrow_windows(site: Server, page: Page, no_barriers: Callable[[], None]) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    page.goto(f"{site.url}/pareto")
    page.get_by_role("combobox", name="One point per").select_option("run")
    expect(page).to_have_url(f"{site.url}/pareto?group=run")
    expect(page.get_by_role("link", name="on the front")).to_have_count(6)
    fits(page)
    no_barriers()
    page.get_by_role("combobox", name="Quality").select_option("predicted")
    page.get_by_role("textbox", name="project").fill("nothing")
    page.get_by_role("textbox", name="project").press("Tab")
    expect(page.get_by_role("heading", name="No run can be placed yet")).to_be_visible()
