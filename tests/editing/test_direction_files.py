from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from code_samples import make_code, same
from padinv import InversionCode, load_generator
from padinv.checkpoints import fingerprint
from padinv.editing import Direction, import_boundary, load_directions, save_directions
from padinv.exceptions import CheckpointError, ConfigError

NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name.isprintable())


def facts(direction: Direction) -> list[object]:
    return [getattr(direction, name) for name in ("name", "layers", "intercept", "kind", "generator", "metadata")]


@given(
    st.lists(NAMES, min_size=1, max_size=3, unique=True),
    st.none() | st.sets(st.integers(0, 5), min_size=1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.dictionaries(st.text(max_size=5).filter(lambda key: not key.isdecimal()), st.text() | st.floats(-9, 9)),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    layers: set[int] | None,
    intercept: float | None,
    padding: bool,
    metadata: dict[str, str | float],
) -> None:
    written = [
        Direction(
            name,
            make_code(1, seed).w_plus[0],
            layers and tuple(layers),
            intercept,
            "linear",
            "a93c8609b59035e5",
            metadata,
            make_code(1, seed).padding if padding else None,
            normal=make_code(1, seed, features=True).features if padding else None,
        )
        for seed, name in enumerate(names)
    ]
    path = save_directions(written, tmp_path_factory.mktemp("directions") / "some.safetensors")
    read = load_directions(path, "a93c8609b59035e5")
    assert list(read) == names
    for before, after in zip(written, read.values(), strict=True):
        assert facts(before) == facts(after)
        assert same(*(InversionCode(d.vector[None], d.padding, d.normal) for d in (before, after)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    directions = [Direction(name, torch.ones(16), fingerprint="0123456789abcdef") for name in ("smile", "age")]
    return save_directions(directions, tmp_path / "directions.safetensors")


def test_unknown_direction_lists_the_known(file: Path) -> None:
    with pytest.raises(ConfigError, match="no direction 'smiel'; there are: smile, age"):
        load_directions(file)["smiel"]


def test_folder_of_a_model(file: Path) -> None:
    assert list(load_directions(file.parent)) == ["smile", "age"]


def test_another_generator_is_an_error_that_names_both(file: Path) -> None:
    generator = load_generator("congress64")
    assert load_directions(file, "0123456789abcdef")
    with pytest.raises(CheckpointError, match=f"0123456789abcdef, not for {fingerprint(generator)}"):
        load_directions(file, generator)


@pytest.mark.parametrize(("shape", "rows"), [((512,), 1), ((1, 512), 1), ((14, 512), 14), ((1, 14, 512), 14)], ids=str)
@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4"])
def test_interfacegan_boundary(tmp_path: Path, shape: tuple[int, ...], rows: int, dtype: str) -> None:
    array = np.random.default_rng(0).standard_normal(shape)
    array /= np.linalg.norm(array)
    np.save(tmp_path / "smile.npy", array.astype(dtype))
    np.save(tmp_path / "intercept.npy", np.array([0.25], dtype))
    direction = load_directions(tmp_path / "smile.npy")["smile"]
    assert (direction.kind, direction.intercept) == ("imported", None)
    torch.testing.assert_close(direction.vector, torch.from_numpy(array).float().reshape(rows, 512))
    named = import_boundary(tmp_path / "smile.npy", "grin", tmp_path / "intercept.npy")
    assert (named.name, named.intercept) == ("grin", 0.25)
    code = InversionCode(torch.zeros(1, 14, 512))
    torch.testing.assert_close(named.distance(code), torch.tensor([0.25]))  # of the origin, as the vector has length 1


VECTORS = np.random.default_rng(1).standard_normal((5, 16)).astype(np.float32)


def save(content: Any, path: Path) -> Path:
    """Writes a tensor by torch, an array by NumPy, and a dictionary of arrays as the suffix has it."""
    if path.suffix == ".pt":
        torch.save(content, path)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **content)
    elif path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        with path.open("wb") as file:
            np.save(file, np.array(content) if isinstance(content, dict) else content)
    return path


GANSPACE = {
    "lat_comp": VECTORS[:, None],
    "lat_stdev": np.arange(1, 6, dtype=np.float32),
    "lat_mean": VECTORS[:1],
    "act_comp": 7 * VECTORS[:, None],
    "act_stdev": np.ones(5, np.float32),
    "var_ratio": np.full(5, 0.2, np.float32),
}
SEFA = {"eigen_vectors": VECTORS, "eigen_values": np.arange(5.0)[::-1].copy(), "layers": [0, 1, 5]}
AGES = {"age": VECTORS[:1], "smile": VECTORS[1:2]}
STEPS = VECTORS * np.arange(1, 6, dtype=np.float32)[:, None]


def numbered(name: str, vectors: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{name}-{i}": vector[None] for i, vector in enumerate(vectors)}


@pytest.mark.parametrize(
    ("name", "content", "vectors", "kind"),
    [
        ("smile.pt", torch.from_numpy(VECTORS[:1]), {"smile": VECTORS[:1]}, "imported"),
        ("smile.pt", torch.from_numpy(VECTORS[0]), {"smile": VECTORS[:1]}, "imported"),
        ("smile.pt", torch.from_numpy(VECTORS)[None], {"smile": VECTORS}, "imported"),
        ("smile.pt", torch.from_numpy(VECTORS).half(), {"smile": VECTORS.astype(np.float16)}, "imported"),
        ("smile.NPY", VECTORS, {"smile": VECTORS}, "imported"),
        ("smile.npy", {"boundary": VECTORS[:1], "intercept": -0.5}, {"smile": VECTORS[:1]}, "imported"),
        ("all.pt", AGES, AGES, "imported"),
        ("one.npy", {"age": VECTORS[:1]}, {"age": VECTORS[:1]}, "imported"),
        ("a.npy", VECTORS[:, None], numbered("a", VECTORS), "imported"),
        ("a.npz", GANSPACE, numbered("ganspace", STEPS), "ganspace"),
        ("a.pkl", GANSPACE, numbered("ganspace", STEPS), "ganspace"),
        (
            "ffhq_pca.pt",
            {"comp": torch.from_numpy(VECTORS), "std": torch.arange(1.0, 6), "mean": torch.ones(16)},
            numbered("ganspace", STEPS),
            "ganspace",
        ),
        ("factor.npy", SEFA, numbered("sefa", VECTORS), "sefa"),
        ("factor.pt", {"ckpt": "a.pt", "eigvec": torch.from_numpy(VECTORS.T)}, numbered("sefa", VECTORS), "sefa"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_directions_as_the_field_ships_them(
    tmp_path: Path, name: str, content: Any, vectors: dict[str, np.ndarray], kind: str
) -> None:
    read = load_directions(save(content, tmp_path / name))
    assert list(read) == list(vectors)
    for key, vector in vectors.items():
        torch.testing.assert_close(read[key].vector, torch.from_numpy(vector).float())
        assert read[key].kind == kind


def test_facts_beside_the_vectors_are_read(tmp_path: Path) -> None:
    sefa = load_directions(save(SEFA, tmp_path / "factor.npy"))["sefa-1"]
    assert (sefa.layers, sefa.metadata) == ((0, 1, 5), {"eigenvalue": 3.0})
    assert load_directions(save(GANSPACE, tmp_path / "a.npz"))["ganspace-0"].metadata[
        "variance_share"
    ] == pytest.approx(0.2)
    boundary = import_boundary(save({"boundary": VECTORS[:1], "intercept": -0.5}, tmp_path / "a.npy"))
    assert (boundary.name, boundary.intercept) == ("a", -0.5)
    with pytest.raises(CheckpointError, match="holds 5 directions"):
        import_boundary(tmp_path / "factor.npy")


def damaged(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    if name == "objects.npy":
        np.save(path, np.array({"network": {"weight": np.ones((4, 4))}, "a": np.ones((2, 3, 4, 4))}))
    elif name == "cut.npy":
        np.save(path, np.ones((1, 512)))
        path.write_bytes(path.read_bytes()[:1000])
    elif name == "archive.npy":
        np.savez(tmp_path / "archive", np.ones((1, 3)), np.ones((1, 4)))
        (tmp_path / "archive.npz").replace(path)
    else:
        arrays = {
            "scalar.npy": np.array(1.0),
            "nan.npy": np.full(8, np.nan),
            "empty.npy": np.zeros((0, 8)),
            "zero.npy": np.zeros(8),
            "words.npy": np.array(["a"]),
            "images.npy": np.ones((2, 3, 4)),
        }
        np.save(path, arrays[name])
    return path


@pytest.mark.parametrize(
    "name",
    [
        *("objects.npy", "cut.npy", "archive.npy", "scalar.npy", "nan.npy", "empty.npy"),
        *("zero.npy", "words.npy", "images.npy"),
    ],
)
def test_what_is_no_boundary_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=name):
        load_directions(damaged(tmp_path, name))


def test_intercept_of_many_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(8))
    with pytest.raises(CheckpointError, match="holds 8 numbers, but an intercept is one"):
        import_boundary(tmp_path / "a.npy", intercept=tmp_path / "a.npy")


def test_what_is_no_file_of_directions_is_named(tmp_path: Path, generator_file: str) -> None:
    (tmp_path / "text.safetensors").write_text("hello, this is no safetensors file")
    (tmp_path / "cut.safetensors").write_bytes(Path(generator_file).read_bytes()[:2000])
    for source, message in [
        ("nowhere", "There are no directions at 'nowhere'"),
        (tmp_path, "There are no directions at"),
        (tmp_path / "text.safetensors", "holds no directions"),
        (tmp_path / "cut.safetensors", "is damaged"),
        (generator_file, "holds no directions"),
        (tmp_path / "none.npy", "There are no directions at"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            load_directions(source)


def test_no_generator_in_a_file_of_directions(file: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no Generator, but a Directions"):
        load_generator(file)


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="each of its own name"):
        save_directions([Direction("a", torch.ones(3))] * 2, tmp_path / "a.safetensors")
