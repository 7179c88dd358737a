from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Trainer

from padinv.bulk import BulkOptions
from padinv.exceptions import ConfigError


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"accelerator": "auto", "devices": 1, "num_nodes": 1}),
        ({"device": "cuda:2"}, {"accelerator": "gpu", "devices": [2], "num_nodes": 1}),
        (
            {"device": "cuda", "devices": 8, "num_nodes": 4},
            {"accelerator": "gpu", "devices": 8, "num_nodes": 4},
        ),
    ],
)
def test_what_lightning_is_told(options: dict[str, Any], expected: dict[str, Any]) -> None:
    assert BulkOptions(Path("out"), **options).trainer_arguments() == expected


def test_lightning_takes_it() -> None:
    options = BulkOptions(Path("out"), device="cpu")
    trainer = Trainer(**options.trainer_arguments(), logger=False, enable_checkpointing=False, barebones=True)
    assert trainer.strategy.root_device.type == "cpu"


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"devices": 0},
        {"num_nodes": 0},
        {"refine": -1},
        {"workers": -1},
        {"precision": "8"},
        {"device": "tpu"},
        {"device": "cpu:1"},
        {"device": "cuda:1", "devices": 2},
    ],
)
def test_what_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"--{next(iter(options)).replace('_', '-')} must be"):
        BulkOptions(Path("out"), **options)


@pytest.mark.parametrize("options", [{"faces": "all"}, {"faces": 0}, {"detector": "pack"}])
def test_faces_need_alignment(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="--faces and --detector are for aligning"):
        BulkOptions(Path("out"), **options)
    assert BulkOptions(Path("out"), align=True, **options).aligned
    assert BulkOptions(Path("out"), landmarks=Path("a.json"), **options).aligned


def test_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    options = BulkOptions(Path("out"), batch_size=16)
    assert (options.num_workers(16), options.num_workers(17)) == (0, 5)
    assert BulkOptions(Path("out"), devices=4).num_workers(1000) == 0
    assert BulkOptions(Path("out"), workers=3).num_workers(1) == 3


def test_landmarks_align() -> None:
    assert BulkOptions(Path("out"), landmarks=Path("a.json")).aligned
    assert not BulkOptions(Path("out")).aligned
