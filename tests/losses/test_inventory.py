import subprocess
import sys

import jsonargparse
import pytest

import padinv.losses
from padinv.losses import AdversarialLoss, ReconstructionLoss


def test_every_exported_name_exists() -> None:
    assert all(hasattr(padinv.losses, name) for name in padinv.losses.__all__)
    assert padinv.losses.__all__ == sorted(padinv.losses.__all__)


def test_import_is_light() -> None:
    heavy = [
        "lpips",
        "onnx",
        "onnx2torch",
        "onnxruntime",
        "insightface",
        "torchvision",
        "lightning",
        "pytorch_lightning",
    ]
    code = f"import padinv.losses, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("base", "class_name", "options"),
    [
        (ReconstructionLoss, "PixelLoss", {"squared": False}),
        (ReconstructionLoss, "PerceptualLoss", {"net": "vgg", "weights": "vgg.pth", "size": 256}),
        (ReconstructionLoss, "IdentityLoss", {"weights": "antelopev2"}),
        (ReconstructionLoss, "DiscriminatorFeatureLoss", {"discriminator": "congress64", "layers": [0, 1]}),
        (ReconstructionLoss, "WeightedSum", {"losses": [], "weights": [0.5]}),
        (AdversarialLoss, "AdversarialLoss", {"form": "wasserstein", "norm": "unsquared"}),
    ],
)
def test_config_files_can_name_every_option(base: type, class_name: str, options: dict[str, object]) -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(base, "loss")
    config = {"class_path": f"padinv.losses.{class_name}", "init_args": options}
    parsed = parser.parse_object({"loss": config}).as_dict()["loss"]
    assert parsed["init_args"].items() >= options.items()
    with pytest.raises(jsonargparse.ArgumentError):
        parser.parse_object({"loss": {**config, "init_args": {"no_such_option": 1}}})
