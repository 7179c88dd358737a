"""The scripts of benchmarks/ run: mypy reads them, and what it cannot see is tried here, at their smallest points."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
POINTS = {
    "scaling": {"mode": "training", "networks": "bundled", "batch": 1, "resolution": 64, "padded": 4, "threads": 1},
    "utilisation": {"row": "photograph 64 px, batch 1", "variant": "Inverter", "threads": 1},
    "ddp_communication": {"processes": 1, "batch": 2, "steps": 1},
}


def run(name: str, *args: str) -> str:
    command = [sys.executable, BENCHMARKS / f"{name}.py", *args]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", POINTS)
def test_a_point_is_measured(name: str) -> None:
    assert json.loads(run(name, "--point", json.dumps(POINTS[name])).splitlines()[-1])["seconds"] > 0


@pytest.mark.slow
def test_the_gpu_script_on_a_cpu() -> None:
    printed = run("gpu", "E", "photograph", "--device", "cpu", "--quick")
    assert "failed" not in printed, printed
    assert "E step 256 px" in printed
    assert "photograph 64 px, batch 1" in printed
