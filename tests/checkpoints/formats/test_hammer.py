"""Checkpoints of the published runners, with all that lies beside the weights, and every option that no shape tells."""

from __future__ import annotations

import json
import logging
import pickletools
import re
import sys
import types
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import formats
from padinv import Discriminator, Generator, PadInvEncoder, load_discriminator, load_encoder, load_generator
from padinv.checkpoints import open_checkpoint
from padinv.codes import CodeShape
from padinv.commands.checkpoints import describe
from padinv.exceptions import CheckpointError
from padinv.networks.discriminator import minibatch_stddev
from padinv.ops import map_to_ring

WIDE = {4: 16, 8: 16, 16: 16, 32: 16, 64: 16}
RUNNERS = {name: json.loads((formats.DATA / f"runner-{name}.json").read_text()) for name in ("padinv", "hammer")}


# Files as the runners write them -------------------------------------------------------------------------------------


class EasyDict(dict[str, Any]):
    """easydict's: a dictionary whose items are its attributes, too."""

    def __init__(self, items: dict[str, Any]) -> None:
        super().__init__(items)
        self.__dict__.update(items)


def loss_module(named: dict[str, list[str]]) -> dict[str, nn.Module]:
    """Whole modules of every class that a runner's file names."""
    layers = [
        nn.PReLU(), nn.ReLU(), nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1), nn.Dropout(), nn.Flatten(),
        nn.Identity(), nn.Linear(2, 2), nn.MaxPool2d(1),
    ]  # fmt: skip
    made = {"mse_loss": nn.MSELoss()}
    for module, names in named.items():
        for name in names:
            kind = type(name, (nn.Module,), {"__module__": module})
            setattr(sys.modules[module], name, kind)
            made[name] = kind()
            made[name].body = nn.Sequential(*layers)
    return made


@contextmanager
def their_classes(globals_: list[str]) -> Iterator[dict[str, list[str]]]:
    """The modules of the runner's project, importable while a file is written."""
    named: dict[str, list[str]] = {}
    for line in globals_:
        module, name = line.split()
        if module.startswith(("models", "easydict")):
            named.setdefault(module, []).append(name)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("models", "models.lpips", *named):
            patch.setitem(sys.modules, module, types.ModuleType(module))
        patch.setattr(EasyDict, "__module__", "easydict")
        named.pop("easydict")
        sys.modules["easydict"].EasyDict = EasyDict
        yield named


def runner_file(
    path: Path,
    runner: str,
    models: dict[str, dict[str, Tensor]],
    init: dict[str, dict[str, Any]] | None = None,
    val: dict[str, dict[str, Any]] | None = None,
    *,
    zipped: bool = True,
) -> Path:
    """A checkpoint of a runner. ``init`` changes what it says of networks' arguments, ``val`` of calls."""
    facts = RUNNERS[runner]
    with their_classes(facts["globals"]) as named, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the source of a class cannot be retrieved
        modules = loss_module(named) if named else {}
        optimizer = torch.optim.Adam([nn.Parameter(torch.ones(2))])
        optimizer.param_groups[0]["params"][0].grad = torch.ones(2)
        optimizer.step()

        def options(group: str, changes: dict[str, dict[str, Any]] | None) -> dict[str, Any]:
            said = {name: {**facts[group][name], **(changes or {}).get(name, {})} for name in facts[group]}
            return {name: EasyDict(kwargs) for name, kwargs in said.items()}

        loss = {**facts["loss"], **modules, "pl_mean": torch.zeros(())}
        content = {
            "models": {name: OrderedDict(state) for name, state in models.items()},
            "model_kwargs_init": options("model_kwargs_init", init),
            "model_kwargs_train": facts["model_kwargs_train"],
            "model_kwargs_val": options("model_kwargs_val", val),
            "running_metadata": facts["running_metadata"],
            "optimizers": {"encoder": optimizer.state_dict()},
            "opt_config": {name: EasyDict(kwargs or {}) for name, kwargs in facts["opt_config"].items()},
            "lr_config": {name: EasyDict(kwargs or {}) for name, kwargs in facts["lr_config"].items()},
            "loss": {key: EasyDict(value) if isinstance(value, dict) else value for key, value in loss.items()},
            "augment": OrderedDict(),
        }
        content["loss"]["seen"] = set()
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


# Networks under published keys ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    generator = Generator(64, z_dim=8, w_dim=8, mapping_layers=2, channels=WIDE).eval().requires_grad_(False)
    generator.w_avg.normal_()
    for block in generator.synthesis.blocks.values():
        block.conv.noise_strength.fill_(0.3)
    return generator


def source(generator: Generator, n: int = 4, **options: Any) -> PadInvEncoder:
    """An encoder of random weights, whose statistics are not the trivial ones."""
    torch.manual_seed(n)
    encoder = PadInvEncoder(
        CodeShape(generator.num_layers, 8, WIDE), resolution=256, depth=18, width=2, fpn_channels=16,
        padded_resolutions=[4 * 2**k for k in range(n)], padding_level=1, **options,
    )  # fmt: skip
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    for head in encoder.style_heads:
        head.linear.weight.data.mul_(10)
    return encoder.eval().requires_grad_(False)


def published_encoder(encoder: PadInvEncoder) -> dict[str, Tensor]:
    """Its state dict with the published keys."""
    inside = {"norm1": "0", "conv1": "1", "prelu": "2", "conv2": "3", "norm2": "4", "se.squeeze": "5.fc1"}
    inside |= {"se.excite": "5.fc2"}
    state: dict[str, Tensor] = {}
    for key, tensor in encoder.state_dict().items():
        key = key.replace("backbone.stem", "input_layer").replace("style_heads", "latent_heads")
        key = key.replace("backbone.stages", "backbone_stages").replace("padding_head.extractor", "padding_extractor")
        for ours, theirs in inside.items():
            key = key.replace(f".{ours}.", f".res_layer.{theirs}.")
        key = key.replace(".shortcut.", ".shortcut_layer.")
        key = re.sub(r"fpn\.lateral\.(\d)", lambda match: f"fpn.lateral_layers.{2 - int(match[1])}", key)
        if match := re.fullmatch(r"padding_head\.ring_heads\.(\d+)\.(\w+)", key):
            key = f"padding_modulation_heads.{int(match[1]).bit_length() - 3}.{match[2]}"
            tensor = tensor.unsqueeze(-1) if match[2] == "weight" else tensor
        if key not in ("w_avg", "const_avg"):
            state[key] = tensor
    return state


def published_discriminator(discriminator: Discriminator) -> dict[str, Tensor]:
    """Its state dict with the published keys."""
    last = 2 * len(discriminator.blocks)
    names = {"from_rgb": "input0", "conv": f"layer{last}", "dense": f"layer{last + 1}", "score": "output"}
    for k, r in enumerate(discriminator.blocks):
        names |= {f"blocks.{r}.conv": f"layer{2 * k}", f"blocks.{r}.down": f"layer{2 * k + 1}"}
        names |= {f"blocks.{r}.skip": f"residual{k}"}
    state = discriminator.state_dict()
    return {f"{names[name]}.{kind}": state[key] for key in state for name, _, kind in [key.rpartition(".")]}


def expected(encoder: PadInvEncoder, images: Tensor, n: int) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
    """Offsets, the constant and the rings by a direct formula: P from the 32 px level, resized to 2^(n+1) + 2."""
    levels = encoder.fpn(encoder.backbone(images)[:0:-1])
    sources = [level for level, count in zip(levels, encoder.latents_per_level, strict=True) for _ in range(count)]
    offsets = torch.stack([head(level) for head, level in zip(encoder.style_heads, sources, strict=True)], dim=1)
    assert levels[1].shape[-1] == 32
    size = 2 ** (n + 1) + 2
    p = encoder.padding_head.extractor(levels[1])
    p = F.interpolate(p, (size, size), mode="bicubic", align_corners=True)
    rings = {}
    for r in [4 * 2**k for k in range(n)]:
        head = encoder.padding_head.ring_heads[str(r)]
        whole = p if isinstance(head, nn.Identity) else F.conv2d(p, head.weight.unsqueeze(-1), head.bias)
        cut = (size - r - 2) // 2
        rings[r] = map_to_ring(whole[..., cut : cut + r + 2, cut : cut + r + 2])
    middle = (size - 4) // 2
    return offsets, p[..., middle : middle + 4, middle : middle + 4], rings


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_of_the_padinv_runner(
    tmp_path: Path, generator: Generator, zipped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    encoder, images = source(generator), torch.randn(1, 3, 256, 256)
    models = {"encoder": published_encoder(encoder), "generator": formats.hammer_generator(generator)}
    said = {"encoder": {"use_padding_modulation_head": True}}
    path = runner_file(tmp_path / "checkpoint_iter020.pth", "padinv", models, said, zipped=zipped)
    if zipped:
        with zipfile.ZipFile(path) as archive:
            (pickled,) = (archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl"))
        named = {str(argument) for opcode, argument, _ in pickletools.genops(pickled) if opcode.name == "GLOBAL"}
        assert named >= set(RUNNERS["padinv"]["globals"])
    loaded = load_encoder(path)
    code = loaded(images)
    offsets, const, rings = expected(encoder, images, 4)
    close(code.w_plus, generator.w_avg + offsets)
    close(code.padding.const, const)
    for r, ring in rings.items():
        close(code.padding.rings[r], ring)
    theirs = load_generator(path)
    assert torch.equal(theirs.synthesis(*code.parts), generator.synthesis(*code.parts))
    assert not caplog.records
    assert open_checkpoint(path).format == "PadInv, Hammer (.pth)"
    assert any("padding at 4, 8, 16, 32" in line for line in describe(path))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_of_the_hammer_runner(
    tmp_path: Path, generator: Generator, zipped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(64, channels=WIDE, mbstd_group_size=8).eval()
    published = formats.hammer_generator(generator)
    models = {"discriminator": published_discriminator(discriminator), "generator": published}
    models["generator_smooth"] = {**published, "w_avg": published["w_avg"] + 1}
    said = {"discriminator": {"mbstd_groups": 8}}
    path = runner_file(tmp_path / "checkpoint.pth", "hammer", models, said, zipped=zipped)
    assert torch.equal(load_generator(path).w_avg, generator.w_avg + 1)
    images = torch.randn(16, 3, 64, 64)
    loaded = load_discriminator(path)
    x = minibatch_stddev(loaded.features(images)[-1], 8)
    scores = loaded.score(_lrelu(loaded.dense(_lrelu(loaded.conv(x)).flatten(1))))
    close(loaded(images), scores)
    close(loaded(images), discriminator(images))
    assert not torch.allclose(loaded(images), load_discriminator(_without_groups(path, models))(images), rtol=1e-4)
    assert ["groups of 4" in record.message for record in caplog.records] == [True]


def _lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2) * 2**0.5


def _without_groups(path: Path, models: dict[str, dict[str, Tensor]]) -> Path:
    torch.save({"models": models}, path.with_name("bare.pth"))
    return path.with_name("bare.pth")


# The encoder's options -----------------------------------------------------------------------------------------------

OPTIONS: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    **{f"pad_layer_num {n}": (n, {}, {"pad_layer_num": n}) for n in (1, 2, 3, 5)},
    "one map for 2 rings": (2, {"padding_heads": False}, {"pad_layer_num": 2, "use_padding_modulation_head": False}),
    "one map for 5 rings": (5, {"padding_heads": False}, {"pad_layer_num": 5, "use_padding_modulation_head": False}),
    "constant kept": (4, {"replace_const": False}, {"encode_const_input": False}),
    "constant kept, one map": (
        3,
        {"replace_const": False, "padding_heads": False},
        {"encode_const_input": False, "pad_layer_num": 3, "use_padding_modulation_head": False},
    ),
    "from no mean": (4, {}, {"start_from_latent_avg": False}),
    "a class among options": (1, {}, {"norm_layer": nn.BatchNorm2d, "pad_layer_num": 1}),
    "no bottlenecks": (4, {"padding_depth": 0}, {"depth_padding_extractor": 0}),
    "three bottlenecks": (4, {"padding_depth": 3}, {"depth_padding_extractor": 3}),
    "other levels": (4, {"latents_per_level": [0, 4, 6]}, {"num_latents_per_level": [0, 4, 6]}),
}
"""What is said in the file: number of rings, our options of the same meaning, theirs."""


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_the_encoder(tmp_path: Path, generator: Generator, name: str) -> None:
    n, ours, theirs = OPTIONS[name]
    encoder, images = source(generator, n, **ours), torch.randn(1, 3, 256, 256)
    models = {"encoder": published_encoder(encoder), "generator": formats.hammer_generator(generator)}
    said = {"encoder": {"use_padding_modulation_head": True, **theirs}}
    loaded = load_encoder(runner_file(tmp_path / "checkpoint.pth", "padinv", models, said))
    code = loaded(images)
    offsets, const, rings = expected(encoder, images, n)
    mean = generator.w_avg if theirs.get("start_from_latent_avg", True) else torch.zeros(8)
    close(code.w_plus, mean + offsets)
    if theirs.get("encode_const_input", True):
        close(code.padding.const, const)
    else:
        assert code.padding.const is None
        with_learned = code.padding.map(lambda ring: ring)
        with_learned = type(with_learned)(generator.synthesis.const, with_learned.rings)
        close(generator.synthesis(*code.parts), generator.synthesis(code.w_plus, with_learned))
    assert code.padding.rings.keys() == rings.keys()
    for r, ring in rings.items():
        close(code.padding.rings[r], ring)


def test_an_encoder_without_squeeze_and_excitation(tmp_path: Path, generator: Generator) -> None:
    encoder, images = source(generator), torch.randn(1, 3, 256, 256)
    published = {key: tensor for key, tensor in published_encoder(encoder).items() if ".res_layer.5." not in key}
    for module in encoder.modules():
        if hasattr(module, "se"):
            module.se = nn.Identity()
    said = {"encoder": {"use_padding_modulation_head": True, "use_se": False}}
    models = {"encoder": published, "generator": formats.hammer_generator(generator)}
    code = load_encoder(runner_file(tmp_path / "checkpoint.pth", "padinv", models, said))(images)
    offsets, const, rings = expected(encoder, images, 4)
    close(code.w_plus, generator.w_avg + offsets)
    close(code.padding.const, const)
    for r, ring in rings.items():
        close(code.padding.rings[r], ring)


def test_an_encoder_called_with_another_level(tmp_path: Path, generator: Generator) -> None:
    models = {"encoder": published_encoder(source(generator)), "generator": formats.hammer_generator(generator)}
    said = {"encoder": {"use_padding_modulation_head": True}}
    path = runner_file(tmp_path / "checkpoint.pth", "padinv", models, said, {"encoder": {"feature_idx": 2}})
    assert load_encoder(path).padding_level == 2


def test_without_options_what_is_assumed_is_said(
    tmp_path: Path, generator: Generator, caplog: pytest.LogCaptureFixture
) -> None:
    images = torch.randn(1, 3, 256, 256)
    for heads in (True, False):
        encoder = source(generator, padding_heads=heads)
        models = {"encoder": published_encoder(encoder), "generator": {"w_avg": generator.w_avg}}
        torch.save({"models": models}, tmp_path / "checkpoint.pth")
        code = load_encoder(tmp_path / "checkpoint.pth")(images)
        for r, ring in expected(encoder, images, 4)[2].items():
            close(code.padding.rings[r], ring)
    for record in caplog.records:
        assert record.levelno == logging.WARNING
        assert "no model_kwargs_init" in record.getMessage()
        assert (
            "offsets from the mean latent; the constant is predicted; rings at 4, 8, 16, 32 px" in record.getMessage()
        )
    assert len(caplog.records) == 2


# Options of generators and discriminators ----------------------------------------------------------------------------


@pytest.mark.parametrize(("use_wscale", "gain", "lr_mul"), [(True, 2.0, 0.5), (False, 1.0, 1.0), (False, 3.0, 0.1)])
def test_scales_of_a_generator(
    tmp_path: Path, generator: Generator, use_wscale: bool, gain: float, lr_mul: float
) -> None:
    published = formats.hammer_generator(generator)
    z, w, x = torch.randn(2, 8), torch.randn(2, 8), torch.randn(2, 16, 4, 4)
    options = {"use_wscale": use_wscale, "wscale_gain": gain, "lr_mul": lr_mul}
    options |= {f"mapping_{name}": value for name, value in options.items()}
    path = runner_file(tmp_path / "checkpoint.pth", "hammer", {"generator": published}, {"generator": options})
    loaded = load_generator(path)

    def dense(x: Tensor, name: str) -> Tensor:
        weight, bias = published[f"{name}.weight"], published[f"{name}.bias"]
        scale = gain * lr_mul / weight.shape[1] ** 0.5 if use_wscale else lr_mul
        return x @ weight.T * scale + bias * lr_mul

    hidden = z / (z.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    for i in range(2):
        hidden = _lrelu(dense(hidden, f"mapping.dense{i}"))
    close(loaded.mapping(z), hidden)
    close(loaded.synthesis.blocks["4"].conv.style(w), dense(w, "synthesis.layer0.style"))
    scale = gain * lr_mul / 16**0.5 if use_wscale else lr_mul
    styled = x * dense(w, "synthesis.output0.style")[..., None, None] * scale
    rgb = torch.einsum("oi,bihw->bohw", published["synthesis.output0.weight"][..., 0, 0], styled)
    rgb += published["synthesis.output0.bias"][:, None, None] * lr_mul
    torch.testing.assert_close(loaded.synthesis.blocks["4"].to_rgb(x, w), rgb, rtol=1e-3, atol=1e-4)


def test_scales_of_a_discriminator(tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = published_discriminator(Discriminator(8, channels={4: 4, 8: 4}))
    x = torch.randn(2, 3, 8, 8)
    for use_wscale, gain, lr_mul in ((True, 2.0, 0.5), (False, 3.0, 0.1)):
        options = {"use_wscale": use_wscale, "wscale_gain": gain, "lr_mul": lr_mul}
        path = runner_file(
            tmp_path / "checkpoint.pth", "hammer", {"discriminator": published}, {"discriminator": options}
        )
        scale = gain * lr_mul / 3**0.5 if use_wscale else lr_mul
        rgb = F.conv2d(x, published["input0.weight"] * scale, published["input0.bias"] * lr_mul)
        close(load_discriminator(path).from_rgb(x), rgb)


def test_a_generator_without_noise_and_with_a_clamp(tmp_path: Path, generator: Generator) -> None:
    published = {key: tensor for key, tensor in formats.hammer_generator(generator).items() if "noise" not in key}
    options = {"noise_type": "none", "conv_clamp": 0.5}
    path = runner_file(tmp_path / "checkpoint.pth", "hammer", {"generator": published}, {"generator": options})
    loaded, w_plus = load_generator(path), torch.randn(1, generator.num_layers, 8)
    clamped = Generator(**{**generator.config, "conv_clamp": 0.5}).eval()
    clamped.load_state_dict(generator.state_dict())
    close(loaded.synthesis(w_plus), clamped.synthesis(w_plus, noise="none"))
    assert loaded.config["conv_clamp"] == 0.5


REFUSED = [
    ("generator", "architecture", "resnet"),
    ("generator", "architecture", "origin"),
    ("generator", "const_input", False),
    ("generator", "demodulate", False),
    ("generator", "eps", 1e-4),
    ("generator", "filter_kernel", (1, 2, 1)),
    ("generator", "final_tanh", True),
    ("generator", "image_channels", 1),
    ("generator", "init_res", 8),
    ("generator", "label_dim", 10),
    ("generator", "noise_type", "channel"),
    ("generator", "normalize_z", False),
    ("generator", "repeat_w", False),
    ("discriminator", "architecture", "skip"),
    ("discriminator", "mbstd_channels", 2),
    ("discriminator", "label_dim", 3),
    ("encoder", "only_pad_even", False),
    ("encoder", "norm_layer", "nn.InstanceNorm2d"),
]


@pytest.mark.parametrize(("network", "option", "value"), REFUSED)
def test_options_that_ours_lack_are_refused(
    tmp_path: Path, generator: Generator, network: str, option: str, value: Any
) -> None:
    models = {"generator": formats.hammer_generator(generator)}
    if network == "discriminator":
        models["discriminator"] = published_discriminator(Discriminator(64, channels=WIDE))
    if network == "encoder":
        models["encoder"] = published_encoder(source(generator))
    load = {"generator": load_generator, "discriminator": load_discriminator, "encoder": load_encoder}[network]
    runner = "padinv" if network == "encoder" else "hammer"
    path = runner_file(tmp_path / "checkpoint.pth", runner, models, {network: {option: value}})
    with pytest.raises(
        CheckpointError, match=rf"checkpoint\.pth .* was built with {option}=.*, but padinv has .* alone"
    ):
        load(path)


@pytest.mark.parametrize(
    ("network", "option", "value"),
    [
        ("encoder", "pad_layer_num", "many"),
        ("encoder", "encode_const_input", "no"),
        ("encoder", "use_padding_modulation_head", False),
        ("generator", "mapping_lr_mul", 0),
        ("generator", "use_wscale", 2),
        ("discriminator", "mbstd_groups", 0),
    ],
)
def test_options_that_make_no_sense(
    tmp_path: Path, generator: Generator, network: str, option: str, value: Any
) -> None:
    models = {"generator": formats.hammer_generator(generator), "encoder": published_encoder(source(generator))}
    models["discriminator"] = published_discriminator(Discriminator(64, channels=WIDE))
    said = {"encoder": {"use_padding_modulation_head": True}}
    said[network] = {**said.get(network, {}), option: value}
    if (network, option) == ("encoder", "pad_layer_num"):  # of no account with heads, which can be counted
        models["encoder"] = {key: tensor for key, tensor in models["encoder"].items() if "modulation" not in key}
        said[network]["use_padding_modulation_head"] = False
    load = {"generator": load_generator, "discriminator": load_discriminator, "encoder": load_encoder}[network]
    runner = "padinv" if network == "encoder" else "hammer"
    path = runner_file(tmp_path / "checkpoint.pth", runner, models, said)
    with pytest.raises(CheckpointError, match=rf"checkpoint\.pth .* its .*{option}"):
        load(path)


def test_options_that_are_not_known_are_named(
    tmp_path: Path, generator: Generator, caplog: pytest.LogCaptureFixture
) -> None:
    models = {"generator": formats.hammer_generator(generator)}
    load_generator(runner_file(tmp_path / "a.pth", "hammer", models, {"generator": {"use_magic": [1]}}))
    assert [record.getMessage() for record in caplog.records] == [
        "The checkpoint's Generator was built with options that padinv does not know: use_magic=a list. They are left "
        "out of account."
    ]


@pytest.mark.parametrize(
    ("drop", "add", "message"),
    [
        (r"synthesis\.output[0-3]\.", {"synthesis.residual1.weight": (16, 16, 1, 1)}, "architecture 'resnet', but"),
        (r"synthesis\.output[0-3]\.", {}, "architecture 'origin', but padinv has 'skip' alone"),
        ("-", {"mapping.embedding.weight": (8, 3)}, "conditional network"),
        ("-", {"synthesis.filter": (3, 3)}, r"'synthesis.filter' is not StyleGAN2's filter"),
    ],
)
def test_other_kinds_of_generators_are_told_by_keys(
    tmp_path: Path, generator: Generator, drop: str, add: dict[str, tuple[int, ...]], message: str
) -> None:
    published = formats.hammer_generator(generator)
    state = {key: tensor for key, tensor in published.items() if not re.match(drop, key)}
    state |= {key: torch.ones(shape) for key, shape in add.items()}
    torch.save(state, tmp_path / "network.pth")
    with pytest.raises(CheckpointError, match=message):
        load_generator(tmp_path / "network.pth")


# GenForce ------------------------------------------------------------------------------------------------------------


def genforce(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published keys of a generator or a discriminator as GenForce's, and what they hold."""
    theirs: dict[str, Tensor] = {}
    last = max([int(match[1]) for key in state if (match := re.match(r"layer(\d+)\.", key))], default=-1)
    for key, tensor in state.items():
        if key.endswith("style.bias"):
            tensor = tensor - 1
        if re.fullmatch(r"synthesis\.layer(1|3|5|7)\.weight", key):
            tensor = torch.rot90(tensor, 2, (2, 3))
            theirs[key.replace("weight", "filter.kernel")] = 4 * torch.tensor(formats.FILTER)[None, None].float()
        key = re.sub(r"^residual", "skip_layer", key).replace("output.", f"layer{last + 1}.")
        theirs["truncation.w_avg" if key == "w_avg" else key] = tensor
    return theirs


def test_files_of_genforce(tmp_path: Path, generator: Generator, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(64, channels=WIDE).eval()
    smooth = genforce(formats.hammer_generator(generator))
    networks = {"generator": {**smooth, "truncation.w_avg": smooth["truncation.w_avg"] + 1}}
    networks |= {"discriminator": genforce(published_discriminator(discriminator)), "generator_smooth": smooth}
    assert {"truncation.w_avg", "synthesis.layer1.filter.kernel"} <= smooth.keys()
    assert {"skip_layer3.weight", "layer10.weight"} <= networks["discriminator"].keys()
    w_plus, images = torch.randn(1, generator.num_layers, 8), torch.randn(4, 3, 64, 64)
    path = tmp_path / "network.pth"
    for content in (networks, {"models": networks, "running_metadata": {"iter": 1}}):
        torch.save(content, path)
        loaded = load_generator(path)
        assert torch.equal(loaded.w_avg, generator.w_avg)
        close(loaded.synthesis(w_plus), generator.synthesis(w_plus))
        close(load_discriminator(path)(images), discriminator(images))
        assert open_checkpoint(path).format == "GenForce (.pth)"
    torch.save(smooth, path)
    close(load_generator(path).synthesis(w_plus), generator.synthesis(w_plus))
    assert all(
        record.getMessage().endswith("groups of 4 in the minibatch standard deviation.") for record in caplog.records
    )
    assert len(caplog.records) == 2  # of discriminators alone


def test_networks_by_their_names_without_models(tmp_path: Path, generator: Generator) -> None:
    torch.save({"generator_smooth": formats.hammer_generator(generator), "step": 1}, tmp_path / "network.pth")
    assert torch.equal(load_generator(tmp_path / "network.pth").w_avg, generator.w_avg)
