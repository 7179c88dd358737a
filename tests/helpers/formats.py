"""Other implementations' networks in their own files: keys, filling rule, and writers of each container, from facts."""

from __future__ import annotations

import json
import pickle
import re
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from conformance import make_input
from padinv import Discriminator, Generator

DATA = Path(__file__).parents[1] / "data" / "formats"
SPEC: dict[str, dict[str, Any]] = json.loads((DATA / "spec.json").read_text())

FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def _value(seed: str, key: str, shape: tuple[int, ...]) -> np.ndarray:
    last = key.rsplit(".", 1)[-1]
    if last == "resample_filter":
        return FILTER
    if last == "kernel":  # rosinality's upsampling filters have the gain inside
        return FILTER * (4 if ".blur." in key or ".upsample." in key else 1)
    if last == "num_batches_tracked":
        return np.array(0)
    a = np.random.Generator(np.random.PCG64(zlib.crc32(f"{seed}/{key}".encode()))).standard_normal(shape)
    if last == "running_var":
        return 1 + 0.2 * np.abs(a)
    if last == "running_mean" or "noise_strength" in key or key.endswith("noise.weight"):
        return 0.1 * a
    if key.endswith(("affine.bias", "modulation.bias")):
        return 1 + 0.1 * a
    if last in ("bias", "w_avg"):
        return 0.1 * a
    if last == "weight" and len(shape) == 1:
        return 0.6 + 0.1 * a
    if last == "weight" and key.startswith(("mapping.", "style.")):
        return a / 0.01
    if seed == "psp" and last == "weight" and not key.endswith("linear.weight"):
        return a * np.sqrt(2 / np.prod(shape[1:]))
    return a


def state(form: str, network: str, divide: int = 1) -> dict[str, Tensor]:
    """A network's state dict, filled by the rule, with fewer channels if they are divided."""
    seed = "psp" if form == "psp" else f"{form}/{network}"
    filled = {}
    for key, shape in SPEC[form][network].items():
        sizes = [max(n // divide, 1) if n > 3 and axis < 2 else n for axis, n in enumerate(shape)]
        value = torch.from_numpy(np.asarray(_value(seed, key, tuple(sizes))))
        filled[key] = value.long() if key.endswith("num_batches_tracked") else value.float()
    return filled


def output(form: str) -> dict[str, Tensor]:
    """What the other implementation computed."""
    with np.load(DATA / f"{form}.npz") as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}


def inputs() -> dict[str, Tensor]:
    """z, w_plus and images."""
    return {
        "z": make_input("z", (2, 64)),
        "w_plus": make_input("wp", (1, 10, 64), 0.5),
        "images": make_input("images", (4, 3, 64, 64), 0.5),
    }


# Pickles that name classes which are not installed -------------------------------------------------------------------


class Named:
    """Pickled as a class or function of this name, whether or not there is one."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self, *_: Any) -> None:
        raise AssertionError("only pickled, never called")


class Call:
    """Pickled as the call of a function with arguments, and a state."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.parts = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


class New:
    """Pickled as a new object of a class, with a state."""

    def __init__(self, named: Named, state: Any = None) -> None:
        self.named, self.state = named, state


class Pickler(pickle._Pickler):
    """Python's pickler in Python, which can be told to write a name without looking whether it exists."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_named(self, named: Named) -> None:
        if self.proto >= 4:
            self.save(named.module)
            self.save(named.name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{named.module}\n{named.name}\n".encode())
        self.memoize(named)

    def save_new(self, new: New) -> None:
        self.save(new.named)
        self.save(())
        self.write(pickle.NEWOBJ)
        self.memoize(new)
        if new.state is not None:
            self.save(new.state)
            self.write(pickle.BUILD)

    dispatch[Named] = save_named
    dispatch[New] = save_new


def write_pickle(content: Any, path: Path, protocol: int = 4) -> Path:
    """Writes a pickle in which :class:`Named` and :class:`Call` may occur."""
    with path.open("wb") as file:
        Pickler(file, protocol).dump(content)
    return path


# NVIDIA ADA ----------------------------------------------------------------------------------------------------------

PERSISTENT = Named("torch_utils.persistence", "_reconstruct_persistent_obj")
BUFFERS = ("resample_filter", "noise_const", "w_avg", "running_mean", "running_var", "num_batches_tracked")


def persistent(
    tensors: dict[str, Tensor], facts: dict[str, dict[str, Any]] | None = None, source: str = "", prefix: str = ""
) -> Call:
    """A module of ``torch_utils.persistence``, with those inside of it.

    Args:
        tensors: its state dict.
        facts: further attributes, by the name of the module.
        source: the text of the class's file.
        prefix: of the module inside of the whole.
    """
    children: dict[str, dict[str, Tensor]] = {}
    own: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        child, dot, rest = key.partition(".")
        if dot:
            children.setdefault(child, {})[rest] = tensor
        else:
            own[key] = tensor
    fields = {
        "training": False,
        "_parameters": OrderedDict((k, torch.nn.Parameter(t)) for k, t in own.items() if k not in BUFFERS),
        "_buffers": OrderedDict((k, t) for k, t in own.items() if k in BUFFERS),
        "_non_persistent_buffers_set": set(),
        "_modules": OrderedDict(
            (name, persistent(inside, facts, source, f"{prefix}{name}.")) for name, inside in children.items()
        ),
        "_init_args": (),
        "_init_kwargs": New(Named("dnnlib.util", "EasyDict")),
        "weight_gain": np.float64(0.125),
        **(facts or {}).get(prefix.removesuffix("."), {}),
    }
    meta = {"type": "class", "version": 6, "module_src": source, "class_name": "Module", "state": fields}
    return Call(PERSISTENT, meta)


def write_ada(path: Path, protocol: int = 4, **networks: Any) -> Path:
    """Writes a file of stylegan2-ada-pytorch with these networks, ``G_ema=…``."""
    return write_pickle({**networks, "training_set_kwargs": None, "augment_pipe": None}, path, protocol)


# NVIDIA, TensorFlow ---------------------------------------------------------------------------------------------------

TF_NETWORK = Named("dnnlib.tflib.network", "Network")


def tf_network(name: str, variables: dict[str, Any], components: dict[str, Any] | None = None, **kwargs: Any) -> New:
    """A network of ``dnnlib.tflib``."""
    fields = {
        "version": 4,
        "name": name,
        "static_kwargs": kwargs,
        "components": components or {},
        "build_module_src": "raise RuntimeError('this text must never run')\n",
        "build_func_name": name,
        "variables": list(variables.items()),
    }
    return New(TF_NETWORK, fields)


def tf_generator(generator: Generator, **kwargs: Any) -> New:
    """Our generator as TensorFlow's: (k, k, in, out), upsampling kernels turned by 180°, biases of styles less 1."""
    mapping: dict[str, np.ndarray] = {}
    synthesis: dict[str, np.ndarray] = {}
    for i, dense in enumerate(generator.mapping):
        mapping |= {f"Dense{i}/weight": numpy(dense.weight).T, f"Dense{i}/bias": numpy(dense.bias)}
    synthesis["4x4/Const/const"] = numpy(generator.synthesis.const)
    number = 0
    for r, block in generator.synthesis.blocks.items():
        for module, name in (
            (block.up, "Conv0_up"),
            (block.conv, "Conv" if r == "4" else "Conv1"),
            (block.to_rgb, "ToRGB"),
        ):
            if module is None:
                continue
            scope = f"{r}x{r}/{name}"
            weight = numpy(module.weight)[:, :, ::-1, ::-1] if name == "Conv0_up" else numpy(module.weight)
            synthesis |= {
                f"{scope}/weight": weight.transpose(2, 3, 1, 0),
                f"{scope}/bias": numpy(module.bias),
                f"{scope}/mod_weight": numpy(module.style.weight).T,
                f"{scope}/mod_bias": numpy(module.style.bias) - 1,
            }
            if name != "ToRGB":
                synthesis[f"{scope}/noise_strength"] = numpy(module.noise_strength)[()]  # a number
                synthesis[f"noise{number}"] = numpy(module.noise)
                number += 1
    components = {"synthesis": tf_network("G_synthesis", synthesis), "mapping": tf_network("G_mapping", mapping)}
    return tf_network("G", {"dlatent_avg": numpy(generator.w_avg)}, components, **kwargs)


def tf_discriminator(discriminator: Discriminator, **kwargs: Any) -> New:
    """Our discriminator as TensorFlow's."""
    r = discriminator.resolution
    convolutions = {f"{r}x{r}/FromRGB": discriminator.from_rgb, "4x4/Conv": discriminator.conv}
    for r, block in discriminator.blocks.items():
        convolutions |= {f"{r}x{r}/Conv0": block.conv, f"{r}x{r}/Conv1_down": block.down, f"{r}x{r}/Skip": block.skip}
    variables: dict[str, np.ndarray] = {}
    for scope, module in convolutions.items():
        variables[f"{scope}/weight"] = numpy(module.weight).transpose(2, 3, 1, 0)
        if module.bias is not None:
            variables[f"{scope}/bias"] = numpy(module.bias)
    for scope, module in (("4x4/Dense0", discriminator.dense), ("Output", discriminator.score)):
        variables |= {f"{scope}/weight": numpy(module.weight).T, f"{scope}/bias": numpy(module.bias)}
    return tf_network("D", variables, **kwargs)


def numpy(tensor: Tensor) -> np.ndarray:
    """As an array."""
    return tensor.detach().numpy()


# Small files of every format ----------------------------------------------------------------------------------------


def shrink(tensors: dict[str, Tensor], drop: str, width: int = 4) -> dict[str, Tensor]:
    """A generator's state dict with fewer channels, without the keys that the pattern finds."""

    def cut(key: str, tensor: Tensor) -> Tensor:
        if re.search("noise|kernel|filter", key):
            return tensor
        return tensor[tuple(slice(width if n > 4 else n) for n in tensor.shape)].clone()

    return {key: cut(key, tensor) for key, tensor in tensors.items() if not re.search(drop, key)}


def small_ada() -> dict[str, Tensor]:
    """NVIDIA's generator at 8 px."""
    return shrink(state("nvidia-ada", "generator"), r"\.b(16|32|64)\.|fc[23]")


def small_rosinality() -> dict[str, Tensor]:
    """rosinality's generator at 8 px."""
    return shrink(state("rosinality", "g_ema"), r"convs\.[2-7]|to_rgbs\.[1-3]|noise_[3-8]|style\.[34]")


def hammer_generator(generator: Generator) -> dict[str, Tensor]:
    """Our generator with the published implementation's keys."""
    published: dict[str, Tensor] = {}
    for key, tensor in generator.state_dict().items():
        if match := re.fullmatch(r"synthesis\.blocks\.(\d+)\.(up|conv|to_rgb)\.(.*)", key):
            k = int(match[1]).bit_length() - 3
            layer = {"up": f"layer{2 * k - 1}", "conv": f"layer{2 * k}", "to_rgb": f"output{k}"}[match[2]]
            key = f"synthesis.{layer}.{match[3]}"
        key = re.sub(r"^mapping\.(\d+)", r"mapping.dense\1", key)
        published[key.replace("synthesis.const", "synthesis.early_layer.const")] = tensor
    return published
