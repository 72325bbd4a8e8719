"""Triton's interpreter is a switch of the whole process, read when kernels are imported: so processes of their own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=110, check=False,
    )  # fmt: skip


def test_the_kernel_in_the_interpreter() -> None:
    options = ("-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", "--durations=5")
    found = run("-m", "pytest", *options, str(HERE / "cases.py"), TRITON_INTERPRET="1")
    assert found.returncode == 0, found.stdout[-4000:] + found.stderr[-2000:]
    assert " passed" in found.stdout


def test_the_kernels_compile_for_a_gpu(tmp_path: Path) -> None:
    """What the interpreter lets through need not compile; Triton brings its own assembler for sm_90."""
    found = run(str(HERE / "compile_sm90.py"), TRITON_CACHE_DIR=str(tmp_path), TRITON_DEFAULT_FP_FUSION="1")
    if "no compiler for CUDA" in found.stdout:
        pytest.skip(found.stdout.strip())
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-4000:]
    assert found.stdout.split() == ["attend_part", "merge_parts"]
