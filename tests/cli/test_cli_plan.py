"""`catp plan check|fmt|show|convert` from outside: what goes to stdout, what to stderr, and the exit codes."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from catp.cli.main import app
from catp.cli.registry_file import registry_json
from catp.planlang.nodes import ToolName
from catp.planlang.registry_view import Param, RegistryView, ToolSig
from catp.planlang.types import Type, TypeDef, TypeTable

GOOD = """\
plan digest
in page: image  # the scan
clean = denoise(page)
read = ocr(clean)
lang = language(read.text)
out text = read.text, lang?
"""
BAD = """\
in page: image
read = ocr(pag)
lang = language(read.txt)
out lang
"""


@pytest.fixture
def tools(tmp_path: Path) -> str:
    text, image = Type("text"), Type("image")
    types = TypeTable().with_type(TypeDef("Page", (("text", text), ("confidence", Type("number")))))
    view = RegistryView(
        (
            ToolSig(
                ToolName("denoise"), (Param("image", image), Param("mode", text, False, choices=("a", "b"))), image
            ),
            ToolSig(ToolName("ocr"), (Param("image", image),), Type("Page"), "read"),
            ToolSig(ToolName("language"), (Param("text", text),), text),
        ),
        types,
    )
    path = tmp_path / "tools.json"
    path.write_text(json.dumps(registry_json(view)))
    return str(path)


@pytest.fixture
def good(tmp_path: Path) -> str:
    path = tmp_path / "good.plan"
    path.write_text(GOOD)
    return str(path)


@pytest.fixture
def bad(tmp_path: Path) -> str:
    path = tmp_path / "bad.plan"
    path.write_text(BAD)
    return str(path)


def run(*args: str, stdin: str | bytes | None = None) -> Any:
    return CliRunner().invoke(app, ["plan", *args], input=stdin)


# check


def test_check_accepts_a_valid_plan(good: str, tools: str) -> None:
    result = run("check", good, "--tools", tools)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{good}: ok\n"


def test_check_prints_every_problem_with_caret_and_help_on_stderr(good: str, bad: str, tools: str) -> None:
    result = run("check", good, bad, "--tools", tools)
    assert result.exit_code == 3
    assert result.stdout == f"{good}: ok\n{bad}: 2 errors\n"
    assert f"{bad}:2:12: error[E102]" in result.stderr
    assert "    read = ocr(pag)\n               ^^^\n" in result.stderr
    assert "did you mean `page`?" in result.stderr
    assert f"{bad}:3:17: error[E117]" in result.stderr


def test_check_json_is_one_document(good: str, bad: str, tools: str) -> None:
    result = run("check", good, bad, "--tools", tools, "--json")
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert document["schema"] == "catp.check/1"
    assert document["ok"] is False
    assert [(entry["file"], entry["ok"]) for entry in document["files"]] == [(good, True), (bad, False)]
    found = document["files"][1]["diagnostics"]
    assert [(d["code"], d["line"], d["column"]) for d in found] == [("E102", 2, 12), ("E117", 3, 17)]


def test_check_reads_stdin_and_the_json_form(tools: str) -> None:
    assert run("check", "-", "--tools", tools, stdin=GOOD).exit_code == 0
    form = run("convert", "-", "--to", "json", stdin=GOOD).stdout
    assert run("check", "-", "--tools", tools, stdin=form).exit_code == 0
    result = run("check", "-", "--tools", tools, stdin='{"planlang": 1, "steps": 3}')
    assert result.exit_code == 3
    assert "error[E009]" in result.stderr


def test_check_syntax_only_needs_no_tools(bad: str) -> None:
    assert run("check", bad, "--syntax-only").exit_code == 0
    result = run("check", "-", "--syntax-only", stdin="a = f(\n")
    assert result.exit_code == 3
    assert "<stdin>:1:6: error[E005]" in result.stderr


def test_check_warnings_do_not_fail(tools: str) -> None:
    result = run("check", "-", "--tools", tools, stdin=GOOD + "spare = language(read.text)\n")
    assert result.exit_code == 0
    assert result.stdout == "-: ok, 1 warning\n"
    assert "warning[W301]" in result.stderr


def test_check_against_the_zoo_by_default() -> None:
    plan = "in page: image\nread = ocr_rapid(page)\nout read.text\n"
    assert run("check", "-", stdin=plan).exit_code == 0
    result = run("check", "-", stdin=plan.replace("ocr_rapid", "ocr_rapida"))
    assert result.exit_code == 3
    assert "did you mean" in result.stderr


# files that are no plans


def test_missing_file_directory_and_huge_file_are_usage_errors(tmp_path: Path) -> None:
    huge = tmp_path / "huge.plan"
    with huge.open("wb") as file:
        file.truncate(9 * 1024 * 1024)
    for path, words in (
        (tmp_path / "none.plan", "does not exist"),
        (tmp_path, "is a directory"),
        (huge, "larger than"),
    ):
        for command in (["check", "--syntax-only"], ["fmt"], ["show"], ["convert"]):
            result = run(*command, str(path))
            assert result.exit_code == 2, command
            assert words in result.stderr
            assert str(path) in result.stderr
            assert result.stdout == ""


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\x00\x00", b"\xff\xfe", b"a = f(1)\x00"])
def test_binary_files_are_invalid_plans(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.plan"
    path.write_bytes(data)
    for command in (["check", "--syntax-only"], ["fmt"], ["show"], ["convert"]):
        result = run(*command, str(path))
        assert result.exit_code == 3, command
        assert "error[E0" in result.stderr
        assert "\x00" not in result.stderr


def test_a_plan_cannot_steer_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "x\x1b[31m.plan"
    path.write_text("a = f(\x1b[31m\u202e)\n")
    result = run("check", "--syntax-only", str(path))
    assert result.exit_code == 3
    assert "\x1b" not in result.stdout + result.stderr
    assert "\u202e" not in result.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "Expecting"),
        ("[]", 'list of "tools"'),
        ('{"tools": [{"params": []}]}', "tools[0]: no 'returns'"),
        ('{"tools": [{"name": "a", "returns": "list[", "params": []}]}', "tools[0]: 'list['"),
        ('{"tools": [{"name": "a", "returns": "text", "effects": "evil"}]}', "effects 'evil'"),
        ('{"tools": [{"name": "a", "returns": "text"}, {"name": "a", "returns": "text"}]}', "share a name"),
    ],
)
def test_bad_tool_files_are_usage_errors(tmp_path: Path, good: str, content: str, words: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    result = run("check", good, "--tools", str(path))
    assert result.exit_code == 2
    assert words in result.stderr


# fmt


def test_fmt_prints_and_keeps_comments() -> None:
    result = run("fmt", "-", stdin="in  q : text # why\n\na=f( q )\nout a")
    assert (result.exit_code, result.stdout) == (0, "in q: text  # why\n\na = f(q)\nout a\n")


def test_fmt_check_and_write(tmp_path: Path) -> None:
    path = tmp_path / "p.plan"
    path.write_text("a=f(1)\nout a\n")
    path.chmod(0o640)
    result = run("fmt", str(path), "--check")
    assert (result.exit_code, result.stdout) == (1, f"{path}: would be reformatted\n")
    assert path.read_text() == "a=f(1)\nout a\n"
    result = run("fmt", str(path), "--write")
    assert (result.exit_code, result.stdout) == (0, "")
    assert path.read_text() == "a = f(1)\nout a\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["p.plan"], "no temporary file stays"
    assert run("fmt", str(path), "--check").exit_code == 0


def test_fmt_writes_through_a_link_and_leaves_invalid_files_alone(tmp_path: Path) -> None:
    target, link = tmp_path / "t.plan", tmp_path / "l.plan"
    target.write_text("a=f(1)\nout a\n")
    link.symlink_to(target)
    assert run("fmt", str(link), "--write").exit_code == 0
    assert link.is_symlink()
    assert target.read_text() == "a = f(1)\nout a\n"
    target.write_text("a=f(1\n")
    assert run("fmt", str(target), "--write").exit_code == 3
    assert target.read_text() == "a=f(1\n"


def test_fmt_of_stdin_cannot_be_written_and_foreign_formats_are_named() -> None:
    assert run("fmt", "-", "--write", stdin="out a").exit_code == 2
    result = run("fmt", "-", stdin='1. f("x")\n2. join()')
    assert result.exit_code == 2
    assert "llmcompiler" in result.stderr
    assert "convert" in result.stderr


# show


def test_show_prints_tree_and_quote(good: str, tools: str) -> None:
    result = run("show", good, "--tools", tools)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("digest: 3 steps")
    assert any("clean = denoise(page)" in line for line in lines)
    assert any(line.startswith("price     unpriced: clean, read, lang") for line in lines)
    assert any(line.startswith("critical  ") for line in lines)
    assert run("show", good, "--tools", tools, "--ascii").stdout.isascii()


def test_show_json_mermaid_and_svg(good: str, tools: str, tmp_path: Path) -> None:
    document = json.loads(run("show", good, "--tools", tools, "--json").stdout)
    assert document["schema"] == "catp.plan/1"
    assert document["price_usd"] == {"low": None, "expected": None, "p95": None}
    assert [step["step"] for step in document["steps"]] == ["clean", "read", "lang"]
    assert {"from": "clean", "to": "read"}.items() <= document["edges"][1].items()
    assert run("show", good, "--tools", tools, "--mermaid").stdout.startswith("---\ntitle:")
    picture = tmp_path / "p.svg"
    result = run("show", good, "--tools", tools, "--svg", str(picture))
    assert (result.exit_code, result.stdout) == (0, "")
    assert ET.parse(picture).getroot().tag.endswith("svg")
    assert ET.fromstring(run("show", good, "--tools", tools, "--svg", "-").stdout).tag.endswith("svg")


def test_show_with_the_zoo_has_prices() -> None:
    result = run("show", "-", "--json", stdin="in page: image\nread = ocr_rapid(page)\nout read.text\n")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    expected = document["price_usd"]["expected"]
    assert (expected is None) == bool(document["unpriced"])
    assert expected is None or float(expected) > 0


def test_show_of_an_invalid_plan_and_of_two_forms_at_once(bad: str, good: str, tools: str, tmp_path: Path) -> None:
    result = run("show", bad, "--tools", tools)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "error[E102]" in result.stderr
    assert "^^^" in result.stderr
    assert run("show", good, "--tools", tools, "--tree", "--json").exit_code == 2
    result = run("show", good, "--tools", tools, "--svg", str(tmp_path / "no" / "p.svg"))
    assert result.exit_code == 2
    assert "cannot write" in result.stderr


# convert


@pytest.mark.parametrize("form", ["json", "tokens", "text"])
def test_convert_there_and_back(form: str) -> None:
    there = run("convert", "-", "--to", form, stdin=GOOD)
    assert there.exit_code == 0
    back = run("convert", "-", stdin=there.stdout)
    assert back.exit_code == 0
    again = run("convert", "-", "--to", form, stdin=back.stdout)
    assert again.stdout == there.stdout
    assert "page: image" in back.stdout


def test_convert_foreign_formats(tools: str, tmp_path: Path) -> None:
    result = run("convert", "-", stdin='1. search("x")\n2. ask("$1?")\n3. join()')
    assert result.stdout == 's1 = search("x")\ns2 = ask(t"{s1}?")\nout s2\n'
    listed = '["Denoise", ["Input of Query"], "OCR", ["Denoise"]]'
    result = run("convert", "-", "--from", "opencatp", "--tools", tools, stdin=listed)
    assert result.stdout == (
        "in query_image: image\ndenoise = denoise(image=query_image)\nocr = ocr(image=denoise)\nout ocr\n"
    )
    target = tmp_path / "out.mmd"
    assert run("convert", "-", "--to", "mermaid", "-o", str(target), stdin=listed).stdout == ""
    assert target.read_text().startswith("flowchart LR\n")
    assert ET.fromstring(run("convert", "-", "--to", "svg", stdin=listed).stdout).tag.endswith("svg")


def test_convert_problems() -> None:
    assert run("convert", "-", "--to", "yaml", stdin=GOOD).exit_code == 2
    result = run("convert", "-", "--from", "xml", stdin=GOOD)
    assert result.exit_code == 2
    assert "llmcompiler" in result.stderr
    result = run("convert", "-", "--from", "llmcompiler", stdin="1. f($3)\n")
    assert result.exit_code == 3
    assert "<stdin>:1:4: error[E102]" in result.stderr


# as a process


def catp(*args: str, stdin: bytes = b"", **env: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-c", "from catp.cli import main; main()", *args]
    return subprocess.run(
        command, input=stdin, capture_output=True, timeout=100, env={**os.environ, **env}, check=False
    )


def test_the_process_keeps_streams_apart_and_knows_utf8_whatever_the_locale(tools: str) -> None:
    found = catp("plan", "show", "-", "--tools", tools, stdin=GOOD.encode(), LC_ALL="C", PYTHONUTF8="0")
    assert (found.returncode, found.stderr) == (0, b"")
    assert "● clean" in found.stdout.decode("utf-8") or "○ clean" in found.stdout.decode("utf-8")
    found = catp("plan", "check", "-", "--tools", tools, stdin=BAD.encode(), LC_ALL="C")
    assert found.returncode == 3
    assert found.stdout == b"-: 2 errors\n"
    assert found.stderr.count(b"error[E1") == 2


def test_errors_are_plain_with_no_color() -> None:
    found = catp("plan", "check", "/does/not/exist", NO_COLOR="1", FORCE_COLOR="1")
    assert found.returncode == 2
    assert b"\x1b" not in found.stderr
    assert found.stderr.startswith(b"error: file '/does/not/exist' does not exist\n  help: ")
