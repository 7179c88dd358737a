"""Another process that writes into a folder of results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from padinv.bulk import lock

HOLD = """
import runpy, sys
from pathlib import Path
alone_in = runpy.run_path(sys.argv[2])["alone_in"]  # without Lightning, which takes seconds
with alone_in(Path(sys.argv[1]), "padinv invert"):
    print("in", flush=True)
    sys.stdin.read()
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    """Starts one, which is in the folder until its input ends."""
    command = [sys.executable, "-c", HOLD, str(folder), lock.__file__]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process
