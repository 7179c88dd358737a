"""Which detector is taken, and MTCNN itself where its package is installed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from detection_model import write_detection_model
from padinv import Inverter, PadInvEncoder, load_generator
from padinv.exceptions import ConfigError, MissingPackageError, WeightsNotFoundError
from padinv.inversion import FaceDetector, Inversion, MtcnnDetector, find_detector, read_photographs
from padinv.inversion.detectors import Glance, detector_at_hand, name_of

RAW = Path(__file__).parents[1] / "data" / "raw-portraits"


@pytest.fixture
def without_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("padinv.inversion.detectors.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "mtcnnruntime", None)


def mtcnn() -> MtcnnDetector:
    pytest.importorskip("mtcnnruntime", reason='MTCNN needs pip install "padinv[faces]"')
    return MtcnnDetector()


def raw_photographs() -> Path:
    """The folder of all 40 photographs that some aligned portraits come from, with ``landmarks.json``."""
    folder = os.environ.get("PADINV_TEST_PHOTOGRAPHS")
    if not folder:
        pytest.skip("PADINV_TEST_PHOTOGRAPHS names no folder of photographs with landmarks.json")
    return Path(folder)


def test_the_pack_on_this_machine_goes_first(home: Path) -> None:
    pack = home / ".insightface" / "models" / "buffalo_l"
    pack.mkdir(parents=True)
    write_detection_model(pack / "det_10g.onnx")
    assert name_of(find_detector()) == "buffalo_l"
    assert isinstance(detector_at_hand(), FaceDetector)
    assert [type(detector) for detector in Glance().detectors] == [FaceDetector]


def test_mtcnn_where_there_is_no_pack(home: Path) -> None:
    mtcnn()
    assert name_of(find_detector()) == name_of(find_detector("mtcnn")) == "mtcnn"


@pytest.mark.usefixtures("without_package")
def test_neither(home: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match=r'^buffalo_l is not in .* pip install "padinv\[faces\]" [^.]*\.$'):
        find_detector()
    with pytest.raises(MissingPackageError, match=r'pip install "padinv\[faces\]"'):
        find_detector("mtcnn")
    assert detector_at_hand() is None
    assert Glance().detectors == []


def test_a_detector_by_its_file(home: Path, tmp_path: Path) -> None:
    file = write_detection_model(tmp_path / "det.onnx")
    assert name_of(find_detector(file)) == str(file)


def test_what_found_a_face_is_saved(generator_file: str, tmp_path: Path) -> None:
    def by_eye(photograph: Tensor) -> Tensor:
        return torch.tensor([[[12, 14], [26, 14], [19, 20], [13, 27], [25, 27]]]).float()

    generator = load_generator(generator_file)
    encoder = PadInvEncoder(generator.code_shape, resolution=32, depth=18, width=2)
    inverter = Inverter(encoder, generator, device="cpu", detector=by_eye)
    inversion = inverter.invert(torch.zeros(3, 40, 40), align=True)
    assert inversion.detector == "by_eye"
    inversion.save(tmp_path / "code.safetensors")
    assert Inversion.load(tmp_path / "code.safetensors", generator).detector == "by_eye"
    assert inverter.invert(torch.zeros(3, 40, 40)).detector is None
    assert inverter.invert(torch.zeros(3, 40, 40), align=True, landmarks=by_eye(torch.zeros(1))).detector is None


# MTCNN ---------------------------------------------------------------------------------------------------------------


def distances(detector: MtcnnDetector, folder: Path, factor: int = 1) -> list[float]:
    """The mean distance of five points to those given, in distances between the eyes, for the largest face of each."""
    found = []
    for name, entry in json.loads((folder / "landmarks.json").read_text()).items():
        (photograph,), _ = read_photographs([folder / name])
        if factor > 1:
            photograph = F.interpolate(photograph[None], scale_factor=factor, mode="bicubic")[0].clamp(-1, 1)
        given = (torch.tensor(entry["landmarks"]) + 0.5) * factor - 0.5
        faces = detector(photograph)
        assert len(faces) >= 1, f"no face in {name}"
        error = (faces[0] - given).norm(dim=1).mean() / (given[1] - given[0]).norm()
        found.append(error.item())
    return found


@pytest.mark.parametrize("factor", [1, 5])
def test_points_of_photographs(factor: int) -> None:
    """Five times as large they are searched reduced."""
    errors = distances(mtcnn(), RAW, factor)
    assert sum(errors) / len(errors) < 0.05


def test_points_of_all_photographs() -> None:
    errors = distances(mtcnn(), raw_photographs())
    assert len(errors) == 40
    assert sum(errors) / len(errors) < 0.05


@pytest.mark.parametrize("size", [(8, 8), (8, 400), (8, 6400), (21, 21), (64, 64), (33, 500)])
@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_no_face(size: tuple[int, int], value: float) -> None:
    assert mtcnn()(torch.full((3, *size), value)).shape == (0, 5, 2)


@pytest.mark.parametrize("options", [{"threshold": 0.0}, {"threshold": 1.0}, {"smallest": 8}, {"size": 10}])
def test_bad_options(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        MtcnnDetector(**options)


# A glance at the middle of a photograph ------------------------------------------------------------------------------


def test_bundled_portraits_are_crops_of_faces(home: Path) -> None:
    mtcnn()
    portraits, names = read_photographs("congress64-val")
    glance = Glance()
    assert [
        name for name, portrait in zip(names[::3], portraits[::3], strict=True) if not glance.sees_face(portrait)
    ] == []


def test_photographs_around_faces_are_not(home: Path, tmp_path: Path) -> None:
    mtcnn()
    photographs, names = read_photographs(str(RAW / "*.jpg"))
    glance = Glance()
    small = [F.pad(photograph[None], [128] * 4, mode="replicate")[0] for photograph in photographs]
    aside = [photograph.roll(60, dims=-1) for photograph in photographs]
    assert len(names) == 5
    assert not any(map(glance.sees_face, [*small, *aside, torch.zeros(3, 64, 64)]))


@pytest.mark.usefixtures("without_package")
def test_a_glance_without_detectors_sees_nothing(home: Path) -> None:
    assert not Glance().sees_face(torch.zeros(3, 8, 8))
