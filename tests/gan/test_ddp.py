"""``padinv fit-gan --trainer.devices 2`` over gloo: both ranks stay the same, on latents of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from fitting import padinv_process
from rank_recorder import recorded, recording, validations

STEPS = 6  # of which the path length is regularized in two, R1 is in one, and the augmentation adapts in one


def fit(folder: Path, generator: str, discriminator: str, pictures: Path, *args: str) -> Path:
    """Fits in processes of their own, and returns the folder."""
    folder.mkdir(exist_ok=True)
    command = ["fit-gan", "--config", "gan64", "--trainer.precision=32-true"]
    command += [f"--model.generator={generator}", f"--model.discriminator={discriminator}", "--model.fid_samples=9"]
    command += ["--model.augmentation.probability=0.5", f"--data.train={pictures}", f"--data.val={pictures}"]
    command += ["--data.resolution=32", "--data.batch_size=4", f"--schedule.images={STEPS * 8}"]
    result = padinv_process(*command, *recording(folder, 2, STEPS - 2), *args, test_file=__file__)
    assert result.returncode == 0, result.stderr
    return folder


PROJECTED = [
    "--model.projected=ProjectedDiscriminator",
    "--model.projected.features=padinv.metrics.RandomFeatures",
    "--model.projected.resolution=32",
    "--model.projected.width=8",
]


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize("extra", [[], PROJECTED], ids=["plain", "projected"])
def test_two_processes_stay_the_same_and_resume(
    tmp_path: Path, generator_file: str, discriminator_file: str, picture_folder: Path, extra: list[str]
) -> None:
    files = (generator_file, discriminator_file, picture_folder, *extra)
    one, other = both = recorded(fit(tmp_path, *files), 2)
    assert [step["digest"] for step in one] == [step["digest"] for step in other]
    assert len({step["digest"] for step in one}) == STEPS
    names = {"loss/g", "loss/d", "loss/path", "loss/r1"}
    assert names | ({"loss/g_projected", "loss/d_projected"} if extra else set()) == set(one[0]["losses"])
    for mine, theirs in zip(one, other, strict=True):
        assert not set(mine["names"]) & set(theirs["names"])
        assert mine["losses"]["loss/g"] != theirs["losses"]["loss/g"]  # of other latents

    written = sorted(path.name for path in (tmp_path / "gan64" / "version_0" / "networks").iterdir())
    assert written == ["discriminator.safetensors", "generator.safetensors"]
    assert len(validations(tmp_path / "gan64", "val/fid")) == 1

    resumed = recorded(fit(tmp_path / "resumed", *files, f"--ckpt_path={tmp_path / 'saved.ckpt'}"), 2)
    for before, after in zip(both, resumed, strict=True):
        assert [step["digest"] for step in after] == [step["digest"] for step in before[STEPS - 2 :]]


@pytest.mark.ddp
@pytest.mark.slow
def test_validation_is_that_of_one_process(
    tmp_path: Path, generator_file: str, discriminator_file: str, picture_folder: Path
) -> None:
    """The generator learns nothing here, so that it is the same one that is measured."""
    files = (generator_file, discriminator_file, picture_folder)
    still = ["--model.optimizer_g.lr=0", "--schedule.images=8"]
    one = fit(tmp_path / "1", *files, *still, "--trainer.devices=1", "--data.batch_size=8")
    two = fit(tmp_path / "2", *files, *still)
    (one_fid,), (two_fid,) = (validations(folder / "gan64", "val/fid") for folder in (one, two))
    assert one_fid == pytest.approx(two_fid, rel=1e-4)
