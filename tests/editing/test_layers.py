from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from padinv.editing import parse_layers
from padinv.editing.layers import format_layers
from padinv.exceptions import ConfigError


@given(st.sets(st.integers(0, 17), min_size=1))
def test_written_ranges_are_read_back(layers: set[int]) -> None:
    assert parse_layers(format_layers(layers), 18) == parse_layers(layers, 18) == tuple(sorted(layers))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [(None, (0, 1, 2, 3)), (" 1 , 3", (1, 3)), ("2-", (2, 3)), (range(2), (0, 1)), ("1,0-1", (0, 1))],
)
def test_forms(layers: object, expected: tuple[int, ...]) -> None:
    assert parse_layers(layers, 4) == expected


@pytest.mark.parametrize("layers", ["", "a", "-1", "1--2", "3-1", "0-4", "4", "4-", [4], [-1], [], "0-99999999999999"])
def test_what_is_no_layer_is_named(layers: object) -> None:
    with pytest.raises(ConfigError, match="layers"):
        parse_layers(layers, 4)
