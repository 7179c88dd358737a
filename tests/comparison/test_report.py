"""The tables, the figure and the sheet, of measurements made up so that what they must say can be reckoned."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from padinv.comparison import Measured, Report, parse_comparison, summarize
from padinv.comparison.drawing import draw_faces, draw_figure, nice_ticks, read_strips, save_image
from padinv.exceptions import ConfigError, DataError

COMPARISON = parse_comparison(
    [{"name": "base", "title": "The base"}, {"name": "good"}, {"name": "same"}, {"name": "late"}], "mine.yaml"
)
HARD = np.linspace(0.1, 0.9, 40)
"""An error for each image: they differ far more than the rows do."""


def measured(values: np.ndarray, **others: list[float]) -> Measured:
    names = [f"{i}.png" for i in range(len(values))]
    return Measured(names, {"mse": values.tolist(), **others}, 12.5, 1000, 60_000, "cpu")


@pytest.fixture
def report() -> Report:
    random = np.random.default_rng(0)
    found = {}
    for seed in (0, 1):
        found["base", seed] = measured(HARD + 0.01 * seed, ms_ssim=list(1 - HARD))
        found["good", seed] = measured(HARD - 0.02 + random.normal(0, 0.01, 40), ms_ssim=list(1 - HARD / 2))
    found["same", 0] = measured(HARD + random.normal(0, 0.05, 40), ms_ssim=list(1 - HARD))
    return summarize(COMPARISON, found, ["LPIPS is left out."])


def test_means_spread_and_paired_differences(report: Report) -> None:
    base, good, same = report.lines
    assert base.found["mse"].mean == pytest.approx(0.505)
    assert base.found["mse"].spread == pytest.approx(0.01 / np.sqrt(2))
    assert base.found["mse"].difference is None
    assert good.found["mse"].difference is not None
    assert good.found["mse"].difference.mean == pytest.approx(-0.025, abs=0.005)
    assert good.found["mse"].difference.excludes_zero
    assert same.found["mse"].spread is None
    assert same.found["mse"].difference is not None
    assert not same.found["mse"].difference.excludes_zero
    assert same.found["mse"].difference.mean == pytest.approx(same.found["mse"].mean - 0.5)  # of seed 0 alone


def test_the_tables_say_it(report: Report) -> None:
    text = report.markdown()
    assert "|  | MSE ↓ | MS-SSIM ↑ | ms an image | numbers in the code |" in text
    assert "| The base | 0.5050 ± 0.0071 | 0.5000 ± 0.0000 | 12.5 | 1,000 |" in text
    assert "| difference to The base | MSE ↓ | MS-SSIM ↑ |" in text
    assert "60,000 images of training, 1 or 2 seeds, 40 held-out images." in text
    assert "Not finished: late." in text
    assert text.rstrip().endswith("LPIPS is left out.")
    rows = list(csv.DictReader(io.StringIO(report.csv())))
    assert [row["name"] for row in rows] == ["base", "good", "same"]
    assert rows[0]["mse_difference"] == ""
    assert float(rows[1]["mse_low"]) < float(rows[1]["mse_difference"]) < float(rows[1]["mse_high"]) < 0
    content = json.loads(report.json())
    assert content["rows"][1]["metrics"]["mse"]["difference"]["high"] < 0
    assert content["rows"][0]["metrics"]["ms_ssim"]["seeds"] == pytest.approx([0.5, 0.5])
    assert (content["baseline"], content["missing"]) == ("base", ["late"])


def test_files_are_written_again_as_a_whole(report: Report, tmp_path: Path) -> None:
    for _ in range(2):
        paths = report.write(tmp_path / "out")
    assert sorted(path.name for path in paths) == sorted(path.name for path in (tmp_path / "out").iterdir())


def test_a_metric_that_a_row_lacks_is_left_out(report: Report) -> None:
    found = {("base", 0): measured(HARD, lpips=list(HARD)), ("good", 0): measured(HARD)}
    assert summarize(COMPARISON, found).metrics == ["mse"]


def test_rows_of_different_images_are_not_compared() -> None:
    found = {("base", 0): measured(HARD), ("good", 0): replace(measured(HARD), names=["other"] * 40)}
    with pytest.raises(DataError, match="different images"):
        summarize(COMPARISON, found)


def test_without_the_baseline_there_are_means_alone() -> None:
    report = summarize(COMPARISON, {("good", 0): measured(HARD)})
    assert "| good | – |" in report.markdown()
    assert draw_figure(report).width > 200
    assert "Nothing is finished yet." in summarize(COMPARISON, {}).markdown()


def test_one_image_has_no_interval_in_json() -> None:
    report = summarize(COMPARISON, {("base", 0): measured(HARD[:1]), ("good", 0): measured(HARD[1:2] * 0 + 0.2)})
    assert json.loads(report.json())["rows"][1]["metrics"]["mse"]["difference"]["low"] is None


def test_the_figure_has_a_panel_for_each_metric(report: Report) -> None:
    figure = draw_figure(report)
    narrow = draw_figure(
        replace(report, lines=[replace(line, found={"mse": line.found["mse"]}) for line in report.lines])
    )
    assert figure.height == narrow.height
    assert figure.width - narrow.width == 2 * (230 + 56)
    colours = {colour for _, colour in figure.getcolors(2**20) or []}
    assert {(31, 91, 163), (40, 40, 40), (255, 255, 255)} <= colours


def test_ticks_are_round_and_few() -> None:
    assert nice_ticks(0.0131, 0.0413) == [0.01, 0.02, 0.03, 0.04, 0.05]
    for low, high in ((0.21, 0.29), (-3.0, 17.0), (1e-6, 2e-6), (5.0, 5.0), (0.0, 0.0)):
        ticks = nice_ticks(low, high)
        assert 2 <= len(ticks) <= 6
        assert ticks[0] <= low <= high <= ticks[-1]


def test_the_sheet_has_a_titled_row_for_each_encoder(tmp_path: Path) -> None:
    red = torch.zeros(3, 3, 8, 8)
    red[:, 0] = 1
    sheet = draw_faces(["photograph", "published"], [red, torch.ones(3, 3, 16, 16)], tile=20, gap=2)
    pixels = np.asarray(sheet)
    assert pixels.shape[0] == 2 * 22 + 2
    assert (pixels[10, -10] == (255, 0, 0)).all()
    assert (pixels[10, : pixels.shape[1] // 3] < 100).any()  # the title
    with pytest.raises(ConfigError, match="2 rows, and 1 titles"):
        draw_faces(["one"], [red, red])
    path = save_image(
        Image.fromarray(np.concatenate([np.zeros((8, 24, 3), np.uint8), np.full((8, 24, 3), 255, np.uint8)])),
        tmp_path / "s.png",
    )
    above, below = read_strips(path)
    assert above.shape == below.shape == (3, 3, 8, 8)
    assert (float(above.max()), float(below.min())) == (0.0, 1.0)
