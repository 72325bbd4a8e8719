"""Settings: precedence, sources, and errors that name the key and the file."""

from pathlib import Path

import pytest

from catp.config import ConfigError, load_settings


@pytest.fixture(autouse=True)
def _bare_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for key in ("ALPHA", "BUDGET", "TOOLS", "STORE", "WORKERS"):
        monkeypatch.delenv(f"CATP_{key}", raising=False)


def test_each_source_beats_the_one_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def alpha(**flags: object) -> tuple[float, str]:
        settings = load_settings(flags, directory=tmp_path)
        return settings.alpha, settings.sources["alpha"]

    assert alpha() == (0.8, "default")
    user = tmp_path / "xdg" / "catp" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text("alpha = 0.1")
    assert alpha() == (0.1, str(user))
    (tmp_path / "pyproject.toml").write_text("[tool.catp]\nalpha = 0.2")
    assert alpha() == (0.2, f"{tmp_path / 'pyproject.toml'} [tool.catp]")
    (tmp_path / "catp.toml").write_text("alpha = 0.3")
    assert alpha() == (0.3, str(tmp_path / "catp.toml"))
    monkeypatch.setenv("CATP_ALPHA", "0.4")
    assert alpha() == (0.4, "CATP_ALPHA")
    assert alpha(alpha=0.5) == (0.5, "--alpha")


def test_money_is_exact(tmp_path: Path) -> None:
    assert load_settings({"budget": "0.0000002"}, directory=tmp_path).budget == 200
    assert load_settings({"budget": "$2"}, directory=tmp_path).budget == 2_000_000_000


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"budget": "0"}, "more than \\$0"),
        ({"budget": "-1"}, "more than \\$0"),
        ({"budget": "nan"}, "--budget"),
        ({"budget": "0.0000000001"}, "finer than one nano-USD"),
        ({"alpha": 1.5}, "between 0 and 1"),
        ({"alpha": float("nan")}, "between 0 and 1"),
        ({"deadline": 0}, "--deadline: deadline = 0 is not valid: must be a positive time"),
        ({"deadline": "3x"}, "--deadline"),
        ({"workers": 0}, "between 1 and 10000"),
    ],
)
def test_bad_values_are_refused(tmp_path: Path, flags: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_settings(flags, directory=tmp_path)


def test_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "catp.toml").write_text("budgett = 1")
    with pytest.raises(ConfigError, match=r"catp\.toml: unknown setting 'budgett'; did you mean `budget`"):
        load_settings(directory=tmp_path)


@pytest.mark.parametrize("content", [b"alpha = ", b"\xff\xfe", b"[alpha]\nx = 1"])
def test_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "catp.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"catp\.toml"):
        load_settings(directory=tmp_path)
