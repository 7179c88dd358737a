from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from padinv import Generator, Inversion, InversionCode, PaddingCode, load_generator
from padinv.checkpoints import fingerprint, save_network
from padinv.exceptions import CheckpointError, ConfigError, DataError
from padinv.images import to_tensor
from padinv.inversion import centre_square, paste_back
from padinv.inversion.inversion import METADATA_KEY

NAMES = ("somebody.jpg", "группа.png", "группа.png")


@pytest.fixture
def generator(generator_file: str) -> Generator:
    return load_generator(generator_file)


@pytest.fixture
def inversion(generator: Generator) -> Inversion:
    """Three squares, two of them from one photograph of 40×50 px."""
    torch.manual_seed(0)
    channels = generator.code_shape.channels
    rings = {r: torch.randn(3, channels[r], 4 * r + 4) for r in (4, 16)}
    padding = PaddingCode(torch.randn(3, channels[4], 4, 4), rings)
    code = InversionCode(torch.randn(3, 8, 16), padding, {16: torch.randn(3, channels[16], 16, 16)})
    return Inversion(
        code,
        generator.synthesis(*code.parts),
        (centre_square((30, 30)), centre_square((40, 50)), centre_square((40, 50))),
        NAMES,
        fingerprint(generator),
        aligned=True,
        targets=torch.zeros(3, 3, 32, 32),
    )


def same(a: Inversion, b: Inversion) -> bool:
    mine, other = ({**one.code.named_tensors(), "images": one.images} for one in (a, b))
    plain = [(one.crop, one.names, one.generator, one.aligned) for one in (a, b)]
    return plain[0] == plain[1] and mine.keys() == other.keys() and all(torch.equal(mine[k], other[k]) for k in mine)


def test_a_file_gives_back_every_bit(tmp_path: Path, inversion: Inversion, generator: Generator) -> None:
    path = inversion.save(tmp_path / "code.safetensors")
    loaded = Inversion.load(path, generator)
    assert same(loaded, inversion)
    # Identical in the last bit only because load() aligns the tensors in memory as torch does.
    assert torch.equal(generator.synthesis(*loaded.code.parts), inversion.images)


def test_without_images_they_are_made_anew(tmp_path: Path, inversion: Inversion, generator: Generator) -> None:
    small = inversion.save(tmp_path / "small.safetensors", images=False)
    assert small.stat().st_size < inversion.save(tmp_path / "large.safetensors").stat().st_size - 3 * 3 * 32 * 32 * 4
    loaded = Inversion.load(small, generator)
    assert same(replace(loaded, images=inversion.images), inversion)
    torch.testing.assert_close(loaded.images, inversion.images, rtol=0, atol=1e-5 * float(inversion.images.abs().max()))


def test_codes_without_padding(tmp_path: Path, inversion: Inversion, generator: Generator) -> None:
    plain = replace(inversion, code=InversionCode(inversion.code.w_plus))
    assert same(Inversion.load(plain.save(tmp_path / "code.safetensors"), generator), plain)


@given(st.lists(st.text(), min_size=3, max_size=3))
def test_any_name(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    generator = Generator(8, z_dim=4, w_dim=4, mapping_layers=1, channels={4: 2, 8: 2})
    code = InversionCode(torch.zeros(3, 4, 4))
    inversion = Inversion(code, torch.zeros(3, 3, 8, 8), (centre_square((9, 8)),) * 3, tuple(names), "", False)
    inversion = replace(inversion, fingerprint=fingerprint(generator))
    path = tmp_path_factory.getbasetemp() / "any-name.safetensors"
    assert Inversion.load(inversion.save(path), generator).names == tuple(names)


def test_drawing(tmp_path: Path, inversion: Inversion) -> None:
    with Image.open(inversion.draw(tmp_path / "both.png", tile=40)) as image:
        assert image.size == (3 * 44 + 4, 2 * 44 + 4)
        assert image.getpixel((30, 30)) == (128, 128, 128)  # the photographs, which are grey, come first
        assert image.getpixel((30, 74)) != (128, 128, 128)
    with Image.open(replace(inversion, targets=None).draw(tmp_path / "one.png")) as image:
        assert image.size == (3 * 132 + 4, 132 + 4)
    for path in (tmp_path / "missing" / "a.png", tmp_path / "a.text"):
        with pytest.raises(ConfigError, match=f"{path} cannot be written"):
            inversion.draw(path)


def test_another_generator_is_refused_and_both_are_named(tmp_path: Path, inversion: Inversion) -> None:
    path = inversion.save(tmp_path / "code.safetensors")
    bundled = load_generator("congress64")
    with pytest.raises(
        CheckpointError, match=f"generator {inversion.fingerprint}, but this one is {fingerprint(bundled)}"
    ):
        Inversion.load(path, bundled)


def test_files_that_are_no_inversion(tmp_path: Path, inversion: Inversion, generator: Generator) -> None:
    path = tmp_path / "code.safetensors"
    with pytest.raises(CheckpointError, match=r"code\.safetensors cannot be read"):
        Inversion.load(path, generator)
    save_network(generator, path)
    with pytest.raises(CheckpointError, match="holds no inversion"):
        Inversion.load(path, generator)
    inversion.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"code\.safetensors cannot be read"):
        Inversion.load(path, generator)


@pytest.mark.parametrize(
    "change",
    [
        {"names": ["one"]},
        {"crop": None},
        {"crop": [{"quad": [[0, 0]], "size": [1, 1]}] * 3},
        {"generator": None},
    ],
)
def test_metadata_that_make_no_sense(
    tmp_path: Path, inversion: Inversion, generator: Generator, change: dict[str, object]
) -> None:
    description = {
        "generator": inversion.fingerprint,
        "aligned": True,
        "crop": [crop.to_dict() for crop in inversion.crop],
        "names": inversion.names,
    }
    path = tmp_path / "code.safetensors"
    tensors = {**inversion.code.named_tensors(), "images": inversion.images.contiguous()}
    save_file(tensors, str(path), {METADATA_KEY: json.dumps(description | change)})
    with pytest.raises(
        CheckpointError, match=r"code\.safetensors (is damaged|was made with the generator None)"
    ) as error:
        Inversion.load(path, generator)
    assert "object" not in str(error.value)  # no words of Python's


def test_a_file_that_cannot_be_written(tmp_path: Path, inversion: Inversion) -> None:
    with pytest.raises(CheckpointError, match="cannot be written"):
        inversion.save(tmp_path / "missing" / "code.safetensors")


@pytest.mark.parametrize(("index", "chosen"), [(1, [1]), (-1, [2]), (slice(1, None), [1, 2]), ([2, 0], [2, 0])])
def test_selecting(inversion: Inversion, index: int | slice | list[int], chosen: list[int]) -> None:
    part = inversion[index]
    assert len(part) == len(chosen)
    assert part.names == tuple(NAMES[i] for i in chosen)
    assert part.crop == tuple(inversion.crop[i] for i in chosen)
    assert torch.equal(part.images, inversion.images[chosen])
    assert torch.equal(part.code.padding.rings[16], inversion.code.padding.rings[16][chosen])
    assert part.targets.shape[0] == len(chosen)


def test_going_through(inversion: Inversion) -> None:
    assert [one.names[0] for one in inversion] == list(NAMES)
    with pytest.raises(IndexError):
        inversion[3]


def test_parts_must_be_of_one_number(inversion: Inversion) -> None:
    with pytest.raises(ConfigError, match=r"one number of images, not \[3, 3, 3, 1, 3\]"):
        replace(inversion, names=("one",))


def test_moving(inversion: Inversion) -> None:
    moved = inversion.to("meta")
    tensors = [*moved.code.tensors(), moved.images, moved.targets]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert replace(inversion, targets=None).cpu().targets is None


def test_pasting(inversion: Inversion) -> None:
    photograph = torch.zeros(3, 50, 40)
    alone = paste_back(photograph, inversion.images[1], inversion.crop[1])
    assert torch.equal(inversion[1].paste(photograph), alone)
    edited = torch.ones(2, 3, 32, 32)
    both = inversion[1:].paste(photograph, edited, feather=0.2)
    once = paste_back(photograph, edited[0], inversion.crop[1], feather=0.2)
    assert torch.equal(both, paste_back(once, edited[1], inversion.crop[2], feather=0.2))
    assert not photograph.any()


def test_pasting_what_does_not_belong(inversion: Inversion) -> None:
    with pytest.raises(ConfigError, match="3 places in this inversion, but 1 images"):
        inversion.paste(torch.zeros(3, 50, 40), torch.zeros(1, 3, 32, 32))
    with pytest.raises(DataError, match="30×30"):
        inversion.paste(torch.zeros(3, 50, 40))


def test_representation_is_one_line_with_shapes(inversion: Inversion) -> None:
    assert repr(inversion) == (
        f"Inversion(3 faces, images (3, 3, 32, 32), {inversion.code!r}, for {inversion.fingerprint})"
    )
    assert "\n" not in repr(inversion)


def test_pictures_for_notebooks(inversion: Inversion) -> None:
    with Image.open(io.BytesIO(inversion._repr_png_())) as shown:
        assert (shown.format, shown.size) == ("PNG", (3 * 132 + 4, 2 * 132 + 4))
    pictures = inversion.pil()
    assert [(picture.mode, picture.size) for picture in pictures] == [("RGB", (32, 32))] * 3
    expected = inversion.images[1].clamp(-1, 1)
    torch.testing.assert_close(to_tensor(pictures[1]), expected, rtol=0, atol=1.001 / 255)


def test_a_file_from_before_features_is_a_code_without(
    tmp_path: Path, inversion: Inversion, generator: Generator
) -> None:
    before = replace(inversion, code=InversionCode(inversion.code.w_plus, inversion.code.padding))
    path = before.save(tmp_path / "code.safetensors", images=False)
    assert Inversion.load(path, generator).code.features is None


def test_features_of_another_generator_are_refused(tmp_path: Path, inversion: Inversion, generator: Generator) -> None:
    features = {16: torch.zeros(3, 5, 16, 16)}
    path = replace(inversion, code=replace(inversion.code, features=features)).save(tmp_path / "code.safetensors")
    with pytest.raises(CheckpointError, match=r"code.safetensors is damaged.*features at 16 px .* \(3, 5, 16, 16"):
        Inversion.load(path, generator)
