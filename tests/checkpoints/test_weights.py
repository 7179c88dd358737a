import hashlib
import sys
import urllib.error
import zipfile
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import torch

from padinv.checkpoints.weights import FacePack, Weights, face_pack, lpips_backbone, read_state_dict, reason
from padinv.exceptions import CheckpointError, ConfigError, MissingPackageError, WeightsNotFoundError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "USERPROFILE", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    return tmp_path / "home"


def weights_at(file: Path, hash_prefix: str | None = None) -> Weights:
    """Weights whose source is a file: torch fetches it by its URL, as it would from a server."""
    return Weights(
        filename="backbone.pth",
        url=file.as_uri(),
        hash_prefix=hash_prefix,
        licence="none",
        input_range=(-1.0, 1.0),
        input_size=64,
        instead="--model.lambda_x 0",
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "source.pth"
    torch.save({"weight": torch.ones(3)}, file)
    return file


def test_fetches_once_then_takes_the_cache(source: Path, home: Path) -> None:
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    weights = weights_at(source, digest[:8])
    path = weights.resolve()
    assert path == home / "hub" / "checkpoints" / "backbone.pth"
    assert path.read_bytes() == source.read_bytes()
    source.unlink()
    assert weights.resolve() == path
    assert torch.equal(read_state_dict(path)["weight"], torch.ones(3))


def test_a_wrong_hash_leaves_nothing_behind(source: Path, home: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match="invalid hash value"):
        weights_at(source, "00000000").resolve()
    assert not list((home / "hub" / "checkpoints").iterdir())


def test_what_cannot_be_fetched_is_one_sentence(tmp_path: Path, home: Path) -> None:
    with pytest.raises(WeightsNotFoundError) as error:
        weights_at(tmp_path / "gone.pth").resolve()
    message = str(error.value)
    for part in ("backbone.pth", str(home / "hub" / "checkpoints"), "gone.pth", "--model.lambda_x 0"):
        assert part in message
    assert isinstance(error.value.__cause__, urllib.error.URLError)


def test_a_given_file_is_taken_instead(source: Path, home: Path) -> None:
    weights = weights_at(Path("/nowhere"))
    assert weights.resolve(source) == source
    assert not home.exists()
    with pytest.raises(WeightsNotFoundError, match="mend the path, or use --model"):
        weights.resolve(source.with_name("gone.pth"))


def test_weights_are_a_value(source: Path) -> None:
    assert weights_at(source) == weights_at(source)
    with pytest.raises(FrozenInstanceError):
        weights_at(source).filename = "other"


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_backbones_carry_their_hash_in_their_name(net: str) -> None:
    weights = lpips_backbone(net)
    assert len(weights.hash_prefix) == 8
    assert int(weights.hash_prefix, 16) >= 0
    assert weights.filename.endswith(f"-{weights.hash_prefix}.pth")
    assert weights.url.endswith("/" + weights.filename)


def test_unknown_backbone() -> None:
    with pytest.raises(ConfigError, match="not 'resnet'"):
        lpips_backbone("resnet")


def _serve(monkeypatch: pytest.MonkeyPatch, content: dict[str, bytes] | None) -> list[str]:
    """Stands in for the server behind InsightFace's downloader; None is a page that is no zip file."""
    asked: list[str] = []

    def download_file(url: str, path: str, overwrite: bool) -> str:
        asked.append(url)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            Path(path).write_text("<!doctype html>")
            return path
        with zipfile.ZipFile(path, "w") as file:
            for name, data in content.items():
                file.writestr(name, data)
        return path

    monkeypatch.setattr("insightface.utils.storage.download_file", download_file)
    return asked


def test_face_pack_is_fetched_by_insightface(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _serve(monkeypatch, {"det_10g.onnx": b"1", "w600k_r50.onnx": b"2"})
    pack = face_pack("buffalo_l")
    path = pack.resolve()
    assert path == home / ".insightface" / "models" / "buffalo_l"
    assert sorted(file.name for file in path.iterdir()) == ["det_10g.onnx", "w600k_r50.onnx"]
    assert pack.resolve() == path
    assert asked == [pack.url]
    assert list(path.parent.iterdir()) == [path]  # neither the zip file nor a scratch folder


def test_half_a_face_pack_is_not_left_behind(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _serve(monkeypatch, None)
    with pytest.raises(WeightsNotFoundError, match=r"buffalo_l.*--model\.lambda_id 0"):
        face_pack().resolve()
    assert not list((home / ".insightface" / "models").iterdir())
    assert not capsys.readouterr().out  # InsightFace's own words


def test_a_face_pack_that_another_process_has_fetched_meanwhile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _serve(monkeypatch, {"w600k_r50.onnx": b"late"})
    theirs = home / ".insightface" / "models" / "buffalo_l" / "w600k_r50.onnx"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"early")
    FacePack._fetch(face_pack(), theirs.parent)
    assert theirs.read_bytes() == b"early"


@pytest.mark.parametrize("content", [b"", b"<!doctype html>"])
def test_damaged_state_dicts(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "damaged.pth"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged\.pth"):
        read_state_dict(file)


class _Code:
    """Unpickled, it touches a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.file,)


def test_pickles_are_not_run(tmp_path: Path) -> None:
    file = tmp_path / "code.pth"
    torch.save({"weight": _Code(tmp_path / "touched")}, file)
    with pytest.raises(CheckpointError, match=r"code\.pth"):
        read_state_dict(file)
    assert not (tmp_path / "touched").exists()


def test_fetching_a_face_pack_needs_insightface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "insightface.utils.storage", None)
    with pytest.raises(MissingPackageError, match="pip install insightface"):
        face_pack().resolve()


def test_reasons_are_the_systems_own_words() -> None:
    """Behind what libraries of the network make of them."""
    refused = OSError(-2, "Name or service not known")
    wrapped = OSError(RuntimeError("HTTPSConnectionPool(host='a', port=443): Max retries exceeded", refused))
    assert reason(wrapped) == reason(urllib.error.URLError(refused)) == "Name or service not known"
    assert reason(RuntimeError("x" * 300)) == "x" * 100 + "…"
    assert reason(RuntimeError("invalid hash value")) == "invalid hash value"
