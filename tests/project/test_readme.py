"""What the README shows is what the project does."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_is_the_file_and_it_runs() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    code = (ROOT / "examples" / "agent.py").read_text(encoding="utf-8")
    assert shown.strip() == code.split('"""\n', 1)[1].strip()
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "agent.py")], capture_output=True, text=True, timeout=60, check=True
    )
    assert "mood = mood_words(text=text)" in done.stdout
    assert "complete {'mood': Mood(label='good')}" in done.stdout


def test_figures_come_from_the_result_files() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "readme.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, "run: python benchmarks/readme.py"


def test_every_linked_file_exists() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    missing = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert missing == []


def test_every_training_example_is_in_its_guide() -> None:
    guide = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    names = {f"examples/train/{path.name}" for path in (ROOT / "examples" / "train").glob("*.toml")}
    assert names
    assert names == set(re.findall(r"`(examples/train/[a-z0-9-]+\.toml)`", guide))
