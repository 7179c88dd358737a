from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from lock_holder import hold
from padinv.bulk.lock import LOCK, alone_in
from padinv.exceptions import ConfigError


def test_one_at_a_time(tmp_path: Path) -> None:
    with hold(tmp_path) as other:
        message = rf"into {tmp_path} \(padinv invert, process {other.pid} on .*, since \d\d:\d\d:\d\d\): wait until"
        with pytest.raises(ConfigError, match=message), alone_in(tmp_path, "padinv edit"):
            pass
        (tmp_path / LOCK).write_text("{")  # whatever it says
        with pytest.raises(ConfigError, match=f"into {tmp_path}: wait"), alone_in(tmp_path, "padinv edit"):
            pass
        other.communicate()
    with alone_in(tmp_path, "padinv edit"):
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such signal")
def test_what_a_killed_process_leaves_stops_nobody(tmp_path: Path) -> None:
    with hold(tmp_path) as other:
        other.send_signal(signal.SIGKILL)
    assert (tmp_path / LOCK).exists()
    with alone_in(tmp_path, "padinv edit"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_goes_away(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()

    def run() -> None:
        with alone_in(folder, "padinv"):
            shutil.rmtree(folder)
            folder.mkdir()
            (folder / LOCK).write_text("of another")

    with pytest.raises(ConfigError, match="out was removed while results were written"):
        run()
    assert (folder / LOCK).read_text() == "of another"


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / LOCK).symlink_to(tmp_path / "precious")
    with pytest.raises(ConfigError, match=f"{LOCK} cannot be opened"), alone_in(tmp_path, "padinv"):
        pass
    assert (tmp_path / "precious").read_text() == "precious"
