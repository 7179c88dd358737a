from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from padinv.comparison import comparisons, parse_comparison, read_comparison
from padinv.comparison.rows import options_in
from padinv.exceptions import ConfigError


def test_a_list_of_rows_is_a_comparison() -> None:
    rows = [{"name": "one"}, {"name": "two", "title": "The second", "model": {"encoder": {"width": 24}}}]
    comparison = parse_comparison(rows, "mine.yaml")
    assert (comparison.config, comparison.baseline) == ("congress64", "one")
    assert [row.title for row in comparison.rows] == ["one", "The second"]
    assert comparison.row("two").words == ["--model.encoder.width=24"]


def test_a_mapping_has_a_config_common_options_and_a_baseline() -> None:
    content = {
        "config": "quickstart",
        "options": {"schedule.images": 100},
        "baseline": "two",
        "rows": [
            {"name": "one", "model.perceptual_loss": {"class_path": "padinv.losses.PixelLoss"}},
            {"name": "two", "model.encoder.padded_resolutions": [], "model.encoder.replace_const": False},
        ],
    }
    comparison = parse_comparison(content, "mine.yaml")
    assert (comparison.config, comparison.baseline, comparison.options) == (
        "quickstart",
        "two",
        {"schedule.images": 100},
    )
    assert comparison.row("one").words == ['--model.perceptual_loss={"class_path": "padinv.losses.PixelLoss"}']
    assert comparison.row("two").words == [
        "--model.encoder.padded_resolutions=[]",
        "--model.encoder.replace_const=false",
    ]
    assert comparison.based_on("ffhq", "one").baseline == "one"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({}, "mine.yaml is no comparison: it must be a list of rows"),
        ("text", "it must be a list of rows"),
        ([], "it must be a list of rows"),
        ({"rows": [{"name": "a"}], "base": 1}, "has the key 'base'; the nearest is baseline"),
        ([{"title": "a"}], "row 1: it must have a name"),
        ([{"name": "../a"}], "row 1: it must have a name, of letters"),
        ([{"name": "a"}, {"name": "a"}], "two rows 'a'"),
        ([{"name": "a", "data.train": "x"}], "row 'a': data.train must be the same for all rows"),
        ([{"name": "a", "data": {"init_args": {"train": "x"}}}], "row 'a': data.train must be the same"),
        ([{"name": "a", "trainer.devices": 2}], "row 'a': trainer.devices is set by padinv compare"),
        ({"rows": [{"name": "a"}], "options": {"seed_everything": 2}}, "options: seed_everything is set by"),
        ({"rows": [{"name": "a"}], "options": [1]}, "options must be a mapping"),
        ({"rows": [{"name": "published"}], "baseline": "publish"}, "no row 'publish'; the nearest is published"),
    ],
)
def test_what_is_no_comparison_is_told_in_one_sentence(content: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_comparison(content, "mine.yaml")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nor a comparison of that name; the nearest is ladder"):
        read_comparison("lader")
    broken = tmp_path / "broken.yaml"
    broken.write_text("- name: a\n  b: [1\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml is no YAML: .* in line 3"):
        read_comparison(str(broken))
    broken.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"broken\.yaml is no comparison"):
        read_comparison(str(broken))


def test_a_file_goes_before_a_comparison_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ladder").write_text("- name: mine\n")
    assert [row.name for row in read_comparison("ladder").rows] == ["mine"]


@pytest.mark.parametrize("name", sorted(comparisons()))
def test_those_of_the_package_can_be_read(name: str) -> None:
    comparison = read_comparison(name)
    assert len(comparison.rows) > 1
    assert comparison.row(comparison.baseline).title


def test_options_with_dots_are_those_of_fit() -> None:
    words = ["ladder", "--only", "a", "b", "--data.train", "x.y", "-o", "out.d", "--schedule.images=3", "--seeds", "2"]
    assert options_in(words) == (
        ["ladder", "--only", "a", "b", "-o", "out.d", "--seeds", "2"],
        {"data.train": "x.y", "schedule.images": "3"},
    )
    with pytest.raises(ConfigError, match=r"--data\.train needs a value"):
        options_in(["--data.train", "--data.val", "x"])
    with pytest.raises(ConfigError, match=r"The command line: data\.seed is set by padinv compare itself"):
        options_in(["--data.seed=3"])
