"""`catp serve`: what it refuses before it loads anything. That it serves and ends is in test_promises.py."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from catp.cli.main import app
from tests.serving.server.running import running
from tests.serving.server.scripted import Scripted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--adapter", "legal"], "must be NAME=FOLDER"),
        (["--kv-memory", "much"], "--kv-memory 'much' is no size such as 512M or 2G"),
        (["--kv-memory", "0"], "is no size"),
        (["--max-body", "-1M"], "is no size"),
        (["--host", "203.0.113.7"], "cannot listen on 203.0.113.7:0"),
        (["--request-log", "/nowhere/at/all.jsonl"], "cannot write the request log /nowhere/at/all.jsonl"),
        (["--api-keys", "/nowhere/at/all.toml"], "cannot read /nowhere/at/all.toml"),
        (["--price", "free"], "is not an amount in US dollars"),
        (["--model", "/nowhere/at/all"], "/nowhere/at/all"),
    ],
)
def test_what_makes_no_sense_is_named(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["serve", "--port", "0", *arguments])
    assert done.exit_code == 2, done.output
    assert message in done.output.replace("\n", " ")


def test_a_port_that_is_taken() -> None:
    with running(Scripted()) as server:
        done = CliRunner().invoke(app, ["serve", "--port", str(server.port)])
    assert done.exit_code == 2
    assert "choose another --host or --port" in done.output


def test_a_file_of_keys_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from catp.serving.cli.serve import _tenants

    path = tmp_path / "keys.toml"
    path.write_text("[tenants.a]\n")
    with pytest.raises(BaseException, match="2"):  # typer's Exit with the code of wrong usage
        _tenants(path, "127.0.0.1")
    monkeypatch.delenv("CATP_API_KEYS", raising=False)
    assert _tenants(None, "127.0.0.1").known(None).admin
    assert _tenants(None, "localhost").known(None).admin
    assert not _tenants(None, "0.0.0.0").known(None).admin  # strangers load no adapters


def test_help_names_every_option() -> None:
    done = CliRunner().invoke(app, ["serve", "--help"])
    assert done.exit_code == 0
    for option in (
        "--model",
        "--adapter",
        "--api-keys",
        "--policy",
        "--drain",
        "--kv-memory",
        "--request-log",
        "--json",
    ):
        assert option in done.output


def test_an_installation_without_torch_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['catp', 'serve', '--port', '0']; import catp.cli.__main__"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "catp[serve]" in done.stderr
    assert "Traceback" not in done.stderr
