"""`catp tools list|show|price|bench` through the real command."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from catp.cli.tools import app
from catp.tools.builtin import default_catalogue
from catp.tools.profile import ProfileBook

pytestmark = pytest.mark.zoo


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def invoke(*args: str) -> Result:
    return CliRunner().invoke(app, list(args))


def parsed(*args: str) -> dict[str, object]:
    result = invoke(*args, "--json")
    assert result.exit_code == 0, result.output
    data: dict[str, object] = json.loads(result.stdout)
    return data


def test_the_list_shows_price_accuracy_and_availability() -> None:
    lines = invoke("list").stdout.splitlines()
    rapid = next(line for line in lines if " ocr_rapid " in line)
    assert "$0.0000" in rapid
    assert rapid.endswith("yes")
    tesseract = next(line for line in lines if " ocr_tesseract " in line)
    assert tesseract.endswith("yes") or "apt install tesseract-ocr" in tesseract


def test_the_json_list_keeps_money_as_text() -> None:
    data = parsed("list", "--capability", "denoise")
    assert data["schema"] == "catp.tools/1"
    tools = data["tools"]
    assert isinstance(tools, list)
    assert {tool["capability"] for tool in tools} == {"denoise"}
    for tool in tools:
        assert isinstance(tool["price_usd"]["expected"], str)
        assert 0 <= tool["accuracy"] <= 1


def test_show_tells_everything_about_one_tool() -> None:
    text = invoke("show", "denoise_dct").stdout
    assert text.startswith("denoise_dct(image: image, sigma: number? = ...) -> image")
    for part in (
        "price rule",
        "timeout",
        "standard deviation of the noise",
        "very_noisy",
        "denoise_median",
        "cold start",
    ):
        assert part in text
    data = parsed("show", "denoise_dct")
    assert "denoise_nlm" in data["rivals"]  # type: ignore[operator]
    assert data["profile"]["calls"] > 0  # type: ignore[index]


def test_price_grows_with_size() -> None:
    small, large = (
        float(parsed("price", "denoise_dct", "--size", size)["price_usd"]["p95"])  # type: ignore[index]
        for size in ("64x64", "2048x2048")
    )
    assert large > 4 * small
    text = invoke("price", "sentiment_vader", "--size", "600").stdout
    assert [line.split()[0] for line in text.splitlines()[:3]] == ["low", "expected", "p95"]


def test_a_cheap_tool_stays_quick_far_beyond_what_was_measured() -> None:
    book = default_catalogue().profiles.get("summary_lead")
    assert book is not None
    far = parsed("price", "summary_lead", "--size", "100000")["latency_ms"]
    assert isinstance(far, dict)
    assert max(book.buckets) < 14
    assert far["expected"] - book.start_ms.mean < 1000


def test_a_time_nobody_measured_is_shown_as_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unmeasured.py").write_text(
        "from catp.tools import PerCall, tool\n"
        "@tool(price=PerCall('0.01'))\n"
        "def shout(text: str) -> str:\n"
        "    return text.upper()\n"
        "tools = [shout]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    given = ("--tools", "unmeasured:tools")
    assert "unknown" in invoke("list", *given).stdout
    shown = invoke("price", "shout", *given).stdout
    assert "$0.01" in shown
    assert "unknown" in shown
    assert "0 ms" not in shown
    assert parsed("price", "shout", *given)["latency_ms"] == {"expected": None, "p95": None}


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("show", "ocr_rapd"), 2, "did you mean `ocr_rapid`?"),
        (("price", "denoise_dtc"), 2, "did you mean `denoise_dct`?"),
        (("price", "denoise_dct", "--size", "big"), 2, "write 512x512 for pixels"),
        (("price", "denoise_dct", "--size", "0x5"), 2, "is not a size"),
        (("list", "--capability", "orc"), 2, "did you mean `ocr`?"),
        (("bench", "--capability", "smell"), 2, "unknown capability 'smell'"),
        (("list", "--tools", "nowhere_at_all:tools"), 2, "nowhere_at_all"),
    ],
)
def test_mistakes_are_named_with_the_fix(args: tuple[str, ...], code: int, message: str) -> None:
    result = invoke(*args)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stdout == ""


def test_damaged_profiles_are_named(tmp_path: Path) -> None:
    own = tmp_path / "data" / "catp" / "profiles.json"
    own.parent.mkdir(parents=True)
    own.write_text("{broken")
    result = invoke("list")
    assert result.exit_code == 2
    assert str(own) in result.stderr


def test_bench_adds_to_the_users_own_profiles(tmp_path: Path) -> None:
    picture = tmp_path / "front.svg"
    data = parsed("bench", "--capability", "sentiment", "--quick", "--svg", str(picture))
    assert {row["tool"] for row in data["tools"]} == {"sentiment_words", "sentiment_vader"}  # type: ignore[attr-defined]
    ElementTree.parse(picture)
    own = tmp_path / "data" / "catp" / "profiles.json"
    first = ProfileBook.load(own).get("sentiment_vader")
    assert first is not None
    invoke("bench", "--capability", "sentiment", "--quick", "--save", str(tmp_path / "other.json"))
    again = ProfileBook.load(own).get("sentiment_vader")
    assert again is not None
    assert again.calls == first.calls, "--save leaves the user's own profiles alone"
