from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from padinv import Generator, Inversion, load_generator
from padinv.exceptions import CheckpointError
from padinv.inversion import read_latents

W = torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def generator(generator_file: str) -> Generator:
    return load_generator(generator_file)


def write(content: Any, path: Path) -> Path:
    if path.suffix.lower() == ".pt":
        torch.save(content, path)
    else:
        with path.open("wb") as file:  # savez and save would add their own suffix to another
            if isinstance(content, dict) and path.suffix == ".npz":
                np.savez(file, **{key: value.numpy() for key, value in content.items()})
            else:
                np.save(file, content.numpy() if isinstance(content, torch.Tensor) else np.array(content))
    return path


@pytest.mark.parametrize(
    ("name", "content", "expected", "names"),
    [
        ("latents.pt", W, W, ["latents-0", "latents-1", "latents-2"]),  # e4e
        ("latents.pt", W.half(), W.half().float(), ["latents-0", "latents-1", "latents-2"]),
        ("projected_w.npz", {"w": W[:1]}, W[:1], ["projected_w"]),  # NVIDIA
        ("a.npy", W[:1].double(), W[:1], ["a"]),
        ("a.NPY", W[0], W[:1], ["a"]),
        ("a.pt", W[:1, None], W[:1], ["a"]),
        ("a.pt", W[0, 0], W[:1, :1], ["a"]),  # W
        ("a.pt", W[:, 0], W[:, :1], ["a-0", "a-1", "a-2"]),
        ("a.pt", W[:, :1], W[:, :1], ["a-0", "a-1", "a-2"]),
        ("a.pt", [W[0], W[1]], W[:2], ["a-0", "a-1"]),
        (
            "a.pt",
            {"in/x.png": {"img": None, "latent": W[0], "noise": [W]}, "y.png": {"latent": W[1]}},
            W[:2],
            ["x", "y"],
        ),
        ("a.npy", {"x.jpg": [W[1].numpy(), W[0].numpy()]}, W[:1], ["x"]),  # ReStyle: the last step
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_latents_of_other_tools(
    generator: Generator, tmp_path: Path, name: str, content: Any, expected: torch.Tensor, names: list[str]
) -> None:
    path = write(content, tmp_path / name)
    code, called = read_latents(path, generator)
    assert code.padding is None
    torch.testing.assert_close(code.w_plus, expected.expand(-1, 8, -1))
    assert list(called) == names
    inversion = Inversion.load(path, generator)
    assert torch.equal(inversion.images, torch.cat([generator.synthesis(one.w_plus) for one in code]))
    assert inversion.names == called


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            torch.ones(1, 18, 512),
            r"latents of shape \(1, 18, 512\), but this generator takes \(B, 8, 16\), or \(B, 16\)",
        ),
        (torch.ones(8, 15), "latents of shape"),
        (torch.ones(2, 2, 8, 16), "latents of shape"),
        (W * torch.nan, "NaN or infinite"),
        ({"a": "text"}, "holds no latents"),
        (torch.ones(1, 8, 16).int(), "holds no latents"),
        (torch.ones(0, 8, 16), "holds no latents"),
    ],
)
def test_what_is_no_latent_is_named(generator: Generator, tmp_path: Path, content: Any, message: str) -> None:
    path = write(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message):
        read_latents(path, generator)
