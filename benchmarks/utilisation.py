"""How much of the processor the networks use.

python benchmarks/utilisation.py [--rows "encoder 256 px, batch 1" …] [--variants Inverter …] [--threads 2]

Rows that are named take the place of the same in the results.

Utilisation is  operations of the published computation / time / best rate of a 3×3 convolution  (512 channels, 32×32,
float32), which is measured in the same process. Operations that are saved raise it. The networks have the published
size and random weights; "photograph" is one of 64 px, with the bundled model, from tensor to reconstruction.

Variants of inference: "network" is the network by itself, in evaluation mode; "Inverter" is what
:class:`padinv.Inverter` makes of it. Those of the E step (encoder, generator, pixel loss, LPIPS with AlexNet, backward,
Adam; batch 2): "module" is :class:`padinv.PadInvModule`, "recomputed" the same with `checkpoint_activations`, of all
layers, of those whose maps have 128 px a side, or of all but convolutions. What is called "given back" leaves the C
library its way with freed memory, all others keep it (:mod:`padinv.cpu.memory`), the E step after its first run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from measuring import command_line, in_own_process, megabytes, read_table, seconds, set_up, table, write
from torch import Tensor, nn

from padinv import Generator, InversionCode, Inverter, PaddingCode, PadInvEncoder, PadInvModule
from padinv.cpu import fuse_on_cpus, keep_freed_memory, set_apart
from padinv.losses import PerceptualLoss
from padinv.ops import ring_positions

GFLOP = {"encoder 256": 166.7, "generator 256": 90.7, "generator 1024": 150.8, "E step 256": 686.6}
"""Operations of the published computation for one image, multiplications and additions counted separately."""

Step = Callable[[], object]

INFERENCE = ("network", "Inverter", "Inverter, bfloat16")
MORE = ("network, given back", "Inverter, given back", *INFERENCE, "Inverter, compiled")
TRAINING = (
    "module, given back",
    "module",
    "module, cheap recomputed",
    "module, 128 px recomputed",
    "module, all recomputed",
    "module, bfloat16",
)
RECOMPUTED: dict[str, bool | int | Literal["cheap"]] = {"cheap": "cheap", "128 px": 128, "all": True}

ROWS: dict[str, tuple[str, ...]] = {
    "encoder 256 px, batch 1": MORE,
    "encoder 256 px, batch 4": INFERENCE,
    "generator 256 px, batch 1": MORE,
    "generator 256 px, batch 4": INFERENCE,
    "generator 1024 px, batch 1": MORE,
    "E step 256 px, batch 2": TRAINING,
    "photograph 64 px, batch 1": ("Inverter, given back", "Inverter", "Inverter, compiled", "Inverter, onnxruntime"),
}


def convolution_rate() -> float:
    """The best rate of a 3×3 convolution with 512 channels at 32×32 px, in GFLOP/s, over layouts and batches."""
    best = 0.0
    with torch.inference_mode():
        for memory_format in (torch.contiguous_format, torch.channels_last):
            conv = nn.Conv2d(512, 512, 3, padding=1, bias=False).to(memory_format=memory_format)
            for batch in (1, 4):
                x = torch.randn(batch, 512, 32, 32).contiguous(memory_format=memory_format)
                best = max(best, batch * 2 * 9 * 512 * 512 * 32 * 32 / seconds(partial(conv, x)) / 1e9)
    return best


def published_generator(size: int) -> Generator:
    generator = Generator(size).requires_grad_(False).eval()
    for block in generator.synthesis.modules():  # at their initial strength of zero the noises would cost nothing
        if isinstance(strength := getattr(block, "noise_strength", None), Tensor):
            nn.init.constant_(strength, 0.1)
    return generator


def code_for(generator: Generator, batch: int) -> InversionCode:
    """A random code with the published padding."""
    channels = generator.code_shape.channels
    rings: dict[int, Tensor] = {
        r: torch.randn(batch, channels[r], ring_positions(r)) * 0.5 for r in (4, 8, 16, 32) if r in channels
    }
    padding = PaddingCode(torch.randn(batch, channels[4], 4, 4) * 0.5, rings)
    return InversionCode(torch.randn(batch, generator.num_layers, 512) * 0.5, padding)


def options(variant: str) -> dict[str, Any]:
    """Of the Inverter."""
    return {
        "device": "cpu",
        "keep_memory": False,  # this is seen to already, or not wanted
        "compile": "compiled" in variant,
        "precision": "bf16" if "bfloat16" in variant else "32",
        "backend": "onnxruntime" if "onnxruntime" in variant else "torch",
    }


def inference(what: str, size: int, batch: int, variant: str) -> Step:
    """Encoding or generating, by a network alone or by an Inverter."""
    generator = published_generator(size)
    encoder = PadInvEncoder(generator.code_shape).requires_grad_(False).eval()
    images, code = torch.rand(batch, 3, 256, 256) * 2 - 1, code_for(generator, batch)
    if variant.startswith("network"):
        step = partial(encoder, images) if what == "encoder" else partial(generator.synthesis, *code.parts)
        return torch.inference_mode()(step)
    inverter = Inverter(encoder, generator, **options(variant))
    return partial(inverter.encode, images) if what == "encoder" else partial(inverter.reconstruct, code)


def encoder_step(batch: int, variant: str) -> Step:
    """E's part of a training step."""
    module = PadInvModule(
        published_generator(256),
        encoder=PadInvEncoder,
        perceptual_loss=PerceptualLoss(),
        lambda_reg=0.0,
        channels_last=True,
        checkpoint_activations=next((value for name, value in RECOMPUTED.items() if name in variant), False),
        sync_batchnorm=False,
    )
    set_up(module)
    optimizer = torch.optim.Adam(module.encoder.parameters(), 1e-4)
    fuse_on_cpus(optimizer)
    images = module.in_memory_format(torch.rand(batch, 3, 256, 256) * 2 - 1)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled="bfloat16" in variant):
            code = module.encoder(images)
            terms = module.encoder_losses(code, module.reconstruct(code), images)
            loss = torch.stack([module.lambdas[name] * term for name, term in terms.items()]).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def photograph(variant: str) -> Step:
    """One photograph of 64 px with the bundled model, loaded: encoder and generator."""
    inverter = Inverter.from_pretrained("congress64", **options(variant))
    return partial(inverter.invert, torch.rand(3, 64, 64) * 2 - 1)


def read_row(row: str) -> tuple[str, int, int]:
    """What a row measures, at how many pixels, in what batch.

    >>> read_row("E step 256 px, batch 2")
    ('E step', 256, 2)
    """
    network, batch = row.split(" px, batch ")
    what, size = network.rsplit(" ", 1)
    return what, int(size), int(batch)


def make(row: str, variant: str) -> Step:
    what, size, batch = read_row(row)
    if what == "photograph":
        return photograph(variant)
    if what == "E step":
        return encoder_step(batch, variant)
    return inference(what, size, batch, variant)


def measure(row: str, variant: str, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    keep = "given back" not in variant
    if keep and not row.startswith("E step"):
        keep_freed_memory()
    step = make(row, variant)
    if keep and row.startswith("E step"):  # as padinv fit does
        set_apart()
        step()
        keep_freed_memory()
    before, taken = megabytes(), seconds(step, warm_up=2)
    memory = {"before": before, "peak": megabytes("VmHWM"), "files": megabytes("RssFile")}
    return {"seconds": taken, **memory, "rate": convolution_rate()}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--variants", nargs="+", metavar="VARIANT", help="measure these alone, and write nothing")
    options = parser.parse_args()
    if options.point is not None:
        print(json.dumps(measure(**options.point)))
        return
    lines: list[dict[str, Any]] = []
    for row in options.rows:
        first = None
        for variant in options.variants or ROWS[row]:
            r = in_own_process(__file__, {"row": row, "variant": variant, "threads": options.threads})
            first = first or r["seconds"]
            gflop = GFLOP.get(row.split(" px")[0], 0) * int(row[-1])
            lines.append(
                {
                    "measure": row,
                    "variant": variant,
                    "s": f"{r['seconds']:.3f}",
                    "times the first": f"{first / r['seconds']:.2f}",
                    "utilisation": f"{gflop / r['seconds'] / r['rate']:.2f}" if gflop else "",
                    "convolution, GFLOP/s": f"{r['rate']:.0f}",
                    "peak GiB": f"{r['peak'] / 1024:.1f}",
                    "of it files": f"{r['files'] / 1024:.1f}",
                    "before": f"{r['before'] / 1024:.1f}",
                    "other processes": f"{r['others']:.0%}",
                }
            )
            print(*lines[-1].values(), sep="  ", flush=True)
    if options.variants is None:
        others = [line for line in read_table("utilisation") if line["measure"] not in options.rows]
        lines = sorted(others + lines, key=lambda line: list(ROWS).index(line["measure"]))
        write("utilisation", "python benchmarks/utilisation.py", table(lines))


if __name__ == "__main__":
    main()
