from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from image_files import BROKEN, encode, noise, png_header, write_zip
from padinv.exceptions import ConfigError, DataError
from padinv.images import MAX_PIXELS
from padinv.inversion.photographs import open_photographs, read_photographs

COLOUR = (200, 100, 50)
EXPECTED = torch.tensor(COLOUR) / 127.5 - 1
TRANSLUCENT = torch.tensor([244, 224, 214]) / 127.5 - 1  # 1 / 5 of the colour, 4 / 5 white: 51 = 255 / 5


def only(image: object) -> Tensor:
    (photograph,), (_,) = read_photographs(image)
    assert photograph.dtype == torch.float32
    assert photograph.ndim == 3
    return photograph


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    noise((20, 12)).save(path)
    return path


def test_all_kinds_of_one_photograph_are_the_same_bytes(file: Path) -> None:
    image = Image.open(file)
    array = np.asarray(image)
    expected = torch.from_numpy(array.copy()).permute(2, 0, 1) / 127.5 - 1
    for kind in (file, str(file), image, array, expected, expected[None], [file], [[array][0]]):
        assert torch.equal(only(kind), expected)


def test_names_of_ones_own(file: Path) -> None:
    images = [file, torch.zeros(2, 3, 9, 8)]
    assert read_photographs(images, ["a", "b", "c"])[1] == ["a", "b", "c"]
    with pytest.raises(DataError, match="b cannot be read: it has 3×9 pixels"):
        read_photographs([file, torch.zeros(3, 9, 3)], ["a", "b"])
    for names in (["a"], ["a"] * 4, []):
        with pytest.raises(ConfigError, match=f"There are {len(names)} names for 3 photographs"):
            read_photographs(images, names)


def test_a_list_of_all_kinds_keeps_order_and_names(file: Path) -> None:
    batch = torch.stack([torch.zeros(3, 9, 8), torch.ones(3, 9, 8)])
    photographs, names = read_photographs([np.zeros((10, 8), np.uint8), file, batch, Image.new("L", (8, 8))])
    assert names == ["image-0", str(file), "image-2", "image-3", "image-4"]
    assert [tuple(p.shape) for p in photographs] == [(3, 10, 8), (3, 12, 20), (3, 9, 8), (3, 9, 8), (3, 8, 8)]
    assert torch.equal(photographs[3], batch[1])


@pytest.mark.parametrize(
    ("pixel", "expected"),
    [
        (np.uint8(COLOUR), EXPECTED),
        (np.uint8([*COLOUR, 255]), EXPECTED),
        (np.uint8([*COLOUR, 0]), torch.ones(3)),
        (np.uint8([*COLOUR, 51]), TRANSLUCENT),
        (np.uint16(COLOUR) * np.uint16(257), EXPECTED),
        (np.float32(COLOUR) / np.float32(255), EXPECTED),
        (np.float64([*COLOUR, 51]) / 255, TRANSLUCENT),
        (np.float16([0, 0.5, 1]), torch.tensor([-1.0, 0.0, 1.0])),
        (np.uint8([255]), torch.ones(3)),
        (np.float32([0.25]), torch.full((3,), -0.5)),
    ],
    ids=["rgb", "opaque", "transparent", "translucent", "16 bit", "float", "float alpha", "half", "grey", "float grey"],
)
def test_arrays(pixel: np.ndarray, expected: Tensor) -> None:
    photograph = only(np.broadcast_to(pixel, (9, 8, len(pixel))))
    torch.testing.assert_close(photograph, expected[:, None, None].expand(3, 9, 8), atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "I;16"])
def test_pillow_modes_are_read_as_their_files_are(tmp_path: Path, mode: str) -> None:
    image = noise((10, 9)).convert("L") if mode == "I;16" else noise((10, 9)).convert(mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    if mode == "RGBA":
        image.putalpha(100)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    path = tmp_path / "photo"
    path.write_bytes(encode(image, kind))
    assert torch.equal(only(image), only(path))
    assert torch.equal(only(Image.open(path)), only(path))


def test_a_rotated_photograph_is_upright(tmp_path: Path) -> None:
    image, exif = noise((20, 12)), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    upright = only(image.rotate(-90, expand=True))
    assert torch.equal(only(tmp_path / "turned.png"), upright)
    assert torch.equal(only(Image.open(tmp_path / "turned.png")), upright)


def test_a_tensor_keeps_its_gradient_and_is_not_touched() -> None:
    tensor = torch.linspace(-1, 1, 3 * 8 * 8).reshape(3, 8, 8).requires_grad_()
    photograph = only(tensor)
    photograph.sum().backward()
    assert torch.equal(tensor.grad, torch.ones(3, 8, 8))
    assert photograph.data_ptr() != tensor.data_ptr()
    assert torch.equal(only(tensor[:1].detach()), tensor[:1].detach().expand(3, 8, 8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_of_other_precision(dtype: torch.dtype) -> None:
    assert torch.equal(only(torch.full((3, 8, 8), 0.5, dtype=dtype)), torch.full((3, 8, 8), 0.5))


def test_rounding_beyond_the_range_is_cut() -> None:
    assert only(torch.full((3, 8, 8), 1.0005)).max() == 1


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (torch.full((3, 8, 8), 255.0), r"reach from 255 to 255; tensors are in \[-1, 1\]"),
        (torch.full((3, 8, 8), -1.1), r"reach from -1\.1 to -1\.1"),
        (torch.full((3, 8, 8), torch.nan), "from nan to nan"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"torch\.uint8; give floating-point numbers in \[-1, 1\]"),
        (torch.zeros(8, 8), "give \\(3, H, W\\) or"),
        (torch.zeros(4, 8, 8), "give \\(3, H, W\\) or"),
        (torch.zeros(3, 0, 8), "smallest photograph 8×8"),
        (np.full((8, 8, 3), 255.0), r"floating-point arrays are in \[0, 1\]"),
        (np.full((8, 8, 3), -0.5), r"floating-point arrays are in \[0, 1\]"),
        (np.zeros((8, 8, 3), np.int64), "values are int64"),
        (np.zeros((3, 8, 8), np.uint8), r"array of shape \(3, 8, 8\)"),
        (np.zeros(8, np.uint8), r"array of shape \(8,\)"),
        (np.zeros((1, 1, 3), np.uint8), "1×1 pixels, and the smallest photograph 8×8"),
        (Image.new("RGB", (7, 100)), "7×100 pixels"),
        (Image.new("F", (8, 8)), "floating-point numbers, whose range is not defined"),
        (3.5, "it is a float; give a path"),
        (None, "it is a NoneType; give a path"),
    ],
)
def test_what_is_no_photograph(image: object, reason: str) -> None:
    with pytest.raises(DataError, match=f"image-1 cannot be read: .*{reason}"):
        read_photographs([torch.zeros(3, 8, 8), image])


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        *((name, data, "") for name, data in BROKEN.items()),
        ("pixel.png", encode(Image.new("RGB", (1, 1))), "1×1 pixels, and the smallest photograph 8×8"),
        ("huge.png", png_header(20_000, 20_000), "larger than the limit"),
        ("renamed.png", b"name,age\nAda,36\n", "not an image"),
        ("cut.jpg", encode(noise((64, 64)), "JPEG")[:-500], "truncated"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"{name} cannot be read: .*{reason}"):
        read_photographs(path)


def test_what_pillow_has_opened_may_still_be_broken(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(BROKEN["cut.jpg"])
    with Image.open(path) as image, pytest.raises(DataError, match="image-0 cannot be read: image file is truncated"):
        read_photographs(image)


def test_a_bomb_that_pillow_has_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.new("L", (1, 1))
    monkeypatch.setattr(image, "_size", (20_000, 20_000))
    with pytest.raises(DataError, match=f"20000x20000 pixels, and the limit is {MAX_PIXELS:,}"):
        read_photographs(image)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.png", r"gone\.png cannot be read: No such file"),
        ("", "no images under"),
        ("*.png", "No file matches"),
        ("https://example.org/a.png", "is a URL, and photographs are not fetched"),
    ],
)
def test_what_is_not_there(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_photographs(name if "://" in name else tmp_path / name)


def test_what_holds_several_is_as_its_files(file: Path, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    paths = [tmp_path / "p" / f"{i}.png" for i in range(2)]
    for seed, path in enumerate(paths):
        noise((9 + seed, 8), seed).save(path)
    archive = write_zip(tmp_path / "a.zip", {"x.png": file.read_bytes()})
    expected, _ = read_photographs([*paths, file])
    for kind in (tmp_path / "p", str(tmp_path / "p"), f"{tmp_path}/p/*.png", f"{tmp_path}/**/[01].png"):
        photographs, names = read_photographs([kind, archive])
        assert names == [*map(str, paths), f"{archive}/x.png"]
        assert all(map(torch.equal, photographs, expected))
    assert len(read_photographs("congress64-val")[0]) == 32
    file.rename(tmp_path / "a[1].png")
    assert read_photographs(tmp_path / "a[1].png")[1] == [str(tmp_path / "a[1].png")]


def test_photographs_are_in_8_bits_and_read_one_at_a_time(file: Path, tmp_path: Path) -> None:
    array = np.asarray(Image.open(file))
    names, photographs = open_photographs([file, array, array[..., :1], torch.zeros(3, 8, 8), tmp_path / "gone.png"])
    assert names[1:4] == ["image-1", "image-2", "image-3"]
    kinds = [next(photographs) for _ in range(4)]
    assert [kind.mode if isinstance(kind, Image.Image) else "tensor" for kind in kinds] == ["RGB"] * 3 + ["tensor"]
    with pytest.raises(DataError, match=r"gone\.png cannot be read"):
        next(photographs)


def test_no_photographs() -> None:
    for nothing in ([], torch.zeros(0, 3, 8, 8)):
        with pytest.raises(DataError, match="There are no photographs"):
            read_photographs(nothing)
