from __future__ import annotations

import pytest

from padinv.commands.options import number, photograph_parser
from padinv.exceptions import ConfigError


@pytest.mark.parametrize("text", ["-1e-1", "-.5", "-1e3", "-5.", "-2", "+1", " 1", "1e-3", "-1_0"])
def test_every_number_is_a_value(text: str) -> None:
    parser = photograph_parser("edit", "")
    parser.add_argument("--strength", action="append", type=number())
    parser.add_argument("--strengths", nargs="+", type=number())
    options = parser.parse_args(["-o", "out", "--strength", text, "--strength", "1", "--strengths", text, "0", text])
    assert options.strength == [float(text), 1]
    assert options.strengths == [float(text), 0, float(text)]


def test_what_is_no_number_stays_an_option() -> None:
    with pytest.raises(ConfigError, match="unrecognized arguments: -1x; padinv edit --help"):
        photograph_parser("edit", "").parse_args(["-o", "out", "-1x"])
