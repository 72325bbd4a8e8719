"""The wheel holds exactly the tree: one import package, nothing missing, nothing extra."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    out = tmp_path_factory.mktemp("wheel")
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # setuptools would ship what an earlier build left there
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = out.glob("catp-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_wheel_holds_the_tree_and_only_catp(wheel_names: set[str]) -> None:
    tree = set()
    for folder in ("planlang", "tools", "training", "serving", "datasets", "catp"):
        prefix = "catp" if folder == "catp" else f"catp/{folder}"
        for path in (ROOT / folder).rglob("*"):
            inside = path.relative_to(ROOT / folder)
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
                tree.add(f"{prefix}/{inside.as_posix()}")
    shipped = {name for name in wheel_names if not name.split("/")[0].endswith(".dist-info")}
    assert shipped == tree
