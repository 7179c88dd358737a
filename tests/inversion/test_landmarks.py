import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from detection_model import FACE, write_detection_model
from padinv.exceptions import CheckpointError, ConfigError, DataError, MissingPackageError, WeightsNotFoundError
from padinv.inversion.landmarks import (
    FaceDetector,
    as_landmarks,
    choose_faces,
    find_landmarks,
    given_landmarks,
    load_landmarks,
)
from padinv.inversion.photographs import read_photographs
from published import published
from recognition_model import weights_folder, write_recognition_model

RED, GREEN, BLUE = (torch.tensor(colour).reshape(3, 1, 1) for colour in ([1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1]))


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a folder of InsightFace's holds: a recognition model, and a detector by its usual name."""
    folder = tmp_path_factory.mktemp("pack")
    write_recognition_model(folder / "arcface.onnx", embedding=8)
    write_detection_model(folder / "det_10g.onnx")
    return folder


@pytest.fixture(scope="module")
def detector(pack: Path) -> FaceDetector:
    return FaceDetector(pack, sizes=[64])


def photograph(*, size: tuple[int, int] = (64, 64), green: bool = True) -> Tensor:
    """A red block of 8 px at x = 40, y = 8, and a green one of 16 px at x = 16, y = 32, on black."""
    image = -torch.ones(3, *size)
    image[:, 8:16, 40:48] = RED
    if green:
        image[:, 32:48, 16:32] = GREEN
    return image


SMALL_FACE = torch.tensor(FACE * 8 + (40, 8)).float()
LARGE_FACE = torch.tensor(FACE * 16 + (16, 32)).float()


def test_finds_faces_the_largest_first(detector: FaceDetector) -> None:
    torch.testing.assert_close(detector(photograph()), torch.stack([LARGE_FACE, SMALL_FACE]))


def test_finds_them_in_a_photograph_of_another_size(detector: FaceDetector) -> None:
    wide = photograph().repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)[:, :100]
    torch.testing.assert_close(detector(wide), 2 * torch.stack([LARGE_FACE, SMALL_FACE]), atol=1e-4, rtol=0)


def test_sees_colours_not_mixed_up(detector: FaceDetector) -> None:
    image = -torch.ones(3, 64, 64)
    image[:, 32:64, 32:64] = BLUE  # it is neither red nor green for the finer grids
    torch.testing.assert_close(detector(image), torch.tensor(FACE * 32 + 32).float()[None])


def test_each_size_is_searched(pack: Path) -> None:
    image = -torch.ones(3, 128, 128)
    image[:, 64:96, 64:96] = GREEN  # 32 px: a cell of 16 px only at half the size
    assert len(FaceDetector(pack, sizes=[64])(image)) == 1
    found = FaceDetector(pack, sizes=[64, 128])(image)
    assert len(found) > 1
    torch.testing.assert_close(found[0], torch.tensor(FACE * 32 + 64).float())


def test_the_threshold_decides(pack: Path) -> None:
    faint = photograph().mul(0.875)
    assert len(FaceDetector(pack, threshold=0.9, sizes=[64])(faint)) == 2
    assert len(FaceDetector(pack, threshold=0.9999, sizes=[64])(faint)) == 0


@pytest.mark.parametrize("size", [(64, 64), (8, 8), (8, 6400), (6400, 8)])
def test_no_face_is_an_error_that_names_the_photograph(detector: FaceDetector, size: tuple[int, int]) -> None:
    assert detector(-torch.ones(3, *size)).shape == (0, 5, 2)
    with pytest.raises(DataError, match=r"No face was found in holiday\.jpg"):
        find_landmarks(-torch.ones(3, *size), detector, "holiday.jpg")


def test_find_landmarks_takes_any_detector() -> None:
    points = torch.rand(2, 5, 2)
    assert torch.equal(find_landmarks(photograph(), lambda image: points), points)


def test_default_sizes_and_a_single_file(pack: Path) -> None:
    found = FaceDetector(pack / "det_10g.onnx")(photograph(green=False))
    assert len(found) > 0
    assert (found[0] - SMALL_FACE).abs().max() < 8


def test_a_pack_by_name(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    folder = tmp_path / ".insightface" / "models" / "buffalo_l"
    shutil.copytree(pack, folder)
    assert len(FaceDetector(sizes=[64])(photograph())) == 2


def test_offline_without_a_pack(home: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"buffalo_l is not in .* or use landmarks of your own"):
        FaceDetector()
    with pytest.raises(WeightsNotFoundError, match=r"no weights at .*gone\.onnx"):
        FaceDetector(tmp_path / "gone.onnx")


def test_what_is_no_detector(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no face detector"):
        FaceDetector(tmp_path)
    write_recognition_model(tmp_path / "w600k_r50.onnx", embedding=8)
    write_detection_model(tmp_path / "boxes.onnx", points=False)
    with pytest.raises(CheckpointError, match="has no face detector with landmarks"):
        FaceDetector(tmp_path)
    (tmp_path / "det_10g.onnx").write_text("<!doctype html>")
    with pytest.raises(CheckpointError, match=r"det_10g\.onnx is not an ONNX file"):
        FaceDetector(tmp_path)


@pytest.mark.parametrize("options", [{"threshold": 0.0}, {"threshold": 1.5}, {"sizes": []}, {"sizes": [100]}])
def test_bad_options(pack: Path, options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        FaceDetector(pack, **options)


def test_insightface_missing(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "insightface.model_zoo", None)
    with pytest.raises(MissingPackageError, match="pip install insightface"):
        FaceDetector(pack)


def test_choose_faces() -> None:
    faces = torch.stack([SMALL_FACE, LARGE_FACE, SMALL_FACE + 1])
    assert torch.equal(choose_faces(faces), LARGE_FACE[None])
    assert torch.equal(choose_faces(faces, "all"), faces)
    assert torch.equal(choose_faces(faces, 2), SMALL_FACE[None] + 1)
    with pytest.raises(DataError, match=r"group\.jpg has no face number 3: there are 3"):
        choose_faces(faces, 3, "group.jpg")
    for nonsense in (-1, "smallest"):
        with pytest.raises(ConfigError, match="faces is"):
            choose_faces(faces, nonsense)


@pytest.mark.parametrize("convert", [np.asarray, Tensor.tolist, Tensor.double, lambda tensor: list(tensor.numpy())])
def test_landmarks_of_any_kind(convert: object) -> None:
    assert torch.equal(as_landmarks(convert(LARGE_FACE)), LARGE_FACE[None])
    assert torch.equal(
        as_landmarks(convert(torch.stack([LARGE_FACE, SMALL_FACE]))), torch.stack([LARGE_FACE, SMALL_FACE])
    )


@pytest.mark.parametrize(
    "points", [[], [[1, 2]] * 4, np.zeros((68, 2)), [[1, 2]] * 4 + [[3]], "eyes", None, np.full((5, 2), np.nan), {}]
)
def test_what_are_no_landmarks(points: object) -> None:
    with pytest.raises(DataError, match="mine must be"):
        as_landmarks(points, "mine")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    one, two = SMALL_FACE.tolist(), LARGE_FACE.tolist()
    path = tmp_path / "landmarks.json"
    path.write_text(json.dumps({"a.jpg": {"landmarks": one, "aligned": "a.png"}, "b.jpg": [one, two], "c.jpg": two}))
    return path


def test_a_file_of_landmarks(file: Path) -> None:
    landmarks = load_landmarks(file)
    assert {name: tuple(as_landmarks(points).shape) for name, points in landmarks.items()} == {
        "a.jpg": (1, 5, 2),
        "b.jpg": (2, 5, 2),
        "c.jpg": (1, 5, 2),
    }
    assert torch.equal(as_landmarks(landmarks["b.jpg"])[1], LARGE_FACE)


@pytest.mark.parametrize("entry", ["null", "[]", '{"landmarks": []}', '{"eyes": []}', "[[1, 2]]", "[[1e999, 1]]", "{}"])
def test_a_bad_entry_concerns_its_own_photograph(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "landmarks.json"
    path.write_text(f'{{"a.jpg": {entry}, "b.jpg": {json.dumps(SMALL_FACE.tolist())}}}')
    assert torch.equal(given_landmarks(path, ["b.jpg"])[0][0], SMALL_FACE)
    with pytest.raises(DataError, match=r"The landmarks of x/a\.jpg must be"):
        given_landmarks(path, ["x/a.jpg", "b.jpg"])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "landmarks.json"
    path.write_text(json.dumps({"caf\u00e9\\a.jpg": SMALL_FACE.tolist()}, ensure_ascii=False), encoding=encoding)
    assert torch.equal(given_landmarks(path, ["/p/cafe\u0301/a.jpg"])[0][0], SMALL_FACE)


def test_a_picture_in_place_of_landmarks(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF")
    with pytest.raises(DataError, match=r"a\.jpg is not a JSON file of landmarks: it is no text in UTF-8\.$"):
        load_landmarks(tmp_path / "a.jpg")


def test_landmarks_of_equally_named_photographs(tmp_path: Path) -> None:
    table = {"one/1.jpg": SMALL_FACE, "two/1.jpg": LARGE_FACE}
    points = given_landmarks(table, ["/d/one/1.jpg", "/d/two/1.jpg"])
    assert torch.equal(torch.cat(points), torch.stack([SMALL_FACE, LARGE_FACE]))
    with pytest.raises(DataError, match=r"landmarks has several entries that could be meant by /d/1\.jpg"):
        given_landmarks(table, ["/d/1.jpg"])
    with pytest.raises(DataError, match=r"landmarks has one entry, 1\.jpg, for a/1\.jpg, b/1\.jpg: name there the"):
        given_landmarks({"1.jpg": SMALL_FACE}, ["a/1.jpg", "b/1.jpg"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("eyes", "not a JSON file of landmarks"),
        ("\x00", "not a JSON file of landmarks"),
        ("[1, 2]", "must map file names to landmarks, and is a list"),
        ('{"a.jpg": [], "a.jpg": [[1, 2]]}', r"two entries for 'a\.jpg'"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_damaged_files_of_landmarks(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "landmarks.json"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"landmarks\.json.* {reason}"):
        load_landmarks(path)


def test_no_file_of_landmarks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.json cannot be read: No such file"):
        load_landmarks(tmp_path / "gone.json")


def test_given_by_name(file: Path) -> None:
    for source in (file, str(file), load_landmarks(file)):
        points = given_landmarks(source, ["photos/c.jpg", "a.jpg", "b.jpg"])
        assert [tuple(p.shape) for p in points] == [(1, 5, 2)] * 3
        assert torch.equal(torch.cat(points), torch.stack([LARGE_FACE, SMALL_FACE, LARGE_FACE]))
    assert len(given_landmarks(file, ["b.jpg"], faces="all")[0]) == 2
    with pytest.raises(DataError, match=r"landmarks\.json has no entry for photos/d\.jpg: add 'd\.jpg'"):
        given_landmarks(file, ["photos/d.jpg"])


def test_the_whole_name_goes_before_its_last_part() -> None:
    table = {"x/a.jpg": SMALL_FACE, "a.jpg": LARGE_FACE}
    points = given_landmarks(table, ["x/a.jpg", "y/a.jpg"])
    assert torch.equal(torch.cat(points), torch.stack([SMALL_FACE, LARGE_FACE]))


def test_given_by_order() -> None:
    both = torch.stack([SMALL_FACE, LARGE_FACE])
    assert torch.equal(torch.cat(given_landmarks(both, ["a", "b"])), both)
    assert torch.equal(torch.cat(given_landmarks([SMALL_FACE.tolist(), both], ["a", "b"])), both)
    assert torch.equal(given_landmarks(SMALL_FACE, ["a"])[0], both[:1])
    assert torch.equal(given_landmarks(both, ["a"], faces="all")[0], both)
    with pytest.raises(DataError, match="2 entries for 3 photographs"):
        given_landmarks(both, ["a", "b", "c"])


@pytest.mark.parametrize("size", [None, 640])
def test_a_detector_of_one_size_says_that_sizes_have_no_effect(
    tmp_path: Path, size: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    model = write_detection_model(tmp_path / "det.onnx", size=size)
    detector = FaceDetector(model, sizes=(128, 256))
    assert detector.sizes == ((128, 256) if size is None else (640,))
    assert ("takes images of 640 px alone, so that sizes=(128, 256) has no effect" in caplog.text) == (size is not None)
    assert detector(torch.full((3, 640, 640), -1.0)).shape == (0, 5, 2)


@pytest.mark.weights
@pytest.mark.parametrize("kind", ["fixed_640", "dynamic"])
def test_published_detectors(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = weights_folder()
    detector = FaceDetector(folder / f"scrfd_2.5g_bnkps_{kind}.onnx")
    assert ("has no effect" in caplog.text) == (kind == "fixed_640")
    photographs, _ = read_photographs([folder / "solvay_conference_1927.jpg"])
    assert len(detector(photographs[0])) == 29


@pytest.mark.weights
@pytest.mark.slow
def test_a_published_detector_finds_every_portrait() -> None:
    """In congress photographs as they were published, 256 px, the face filling half of them."""
    detector = FaceDetector(published("scrfd_2.5g_bnkps_dynamic.onnx"))
    folder = published("raw")
    entries = json.loads((folder / "landmarks.json").read_text())
    assert len(entries) == 40
    for name, entry in entries.items():
        photographs, _ = read_photographs([folder / name])
        found = detector(photographs[0])
        assert len(found) >= 1, name
        expected = torch.tensor(entry["landmarks"])
        distance = (found[0] - expected).norm(dim=1).mean() / (expected[0] - expected[1]).norm()
        assert distance < 0.1, name  # of the distance between the eyes; 0.08 at most when this was written
