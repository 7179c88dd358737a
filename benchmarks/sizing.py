"""What runs take: parameters and files by resolution, and the time, memory and disk of presets.

python benchmarks/sizing.py [--threads 1]

It writes benchmarks/results/sizing.md. Parameters are counted, on no device. Every preset is run by its command on
bundled images, in a process of its own: for few images to load what is loaded once, for few again, and for 320 more.
Time is the processor's, which others change little: the difference of the last two runs for training, and all but the
start of Python for commands on photographs. Memory is the largest that the process had resident. Disk is what the run
left; nearly all of it is the same after any number of images.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from measuring import Point, command_line, in_own_process, megabytes, table, write
from torch import nn

from padinv import Discriminator, Generator, PadInvEncoder
from padinv.cli import main as padinv
from padinv.ops.ring import ring_positions

RESOLUTIONS = (64, 128, 256, 512, 1024)
FEW, IMAGES = 64, 320
TRAINED = {"quickstart": "fit", "congress64": "fit", "features": "fit", "gan64": "fit-gan", "gan64-aided": "fit-gan"}
PHOTOGRAPHS = {
    "invert": ["invert", "congress64-val"],
    "invert --refine 200": ["invert", "congress64-val", "--refine", "200"],
    "edit --direction light": ["edit", "congress64-val", "--direction", "light"],
    "evaluate --model congress64": ["evaluate", "--model", "congress64", "--data", "congress64-val"],
}
BUNDLED = 32
"""Photographs in congress64-val."""


def parameters(network: nn.Module) -> float:
    """Millions."""
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6


def counted() -> list[dict[str, str]]:
    """A row for each resolution: networks of the published size, and files of them in float32."""
    rows = []
    for resolution in RESOLUTIONS:
        with torch.device("meta"):
            generator, discriminator = Generator(resolution), Discriminator(resolution)
            shape = generator.code_shape
            encoder = PadInvEncoder(shape, resolution=min(resolution, 256))
            plain = PadInvEncoder(shape, resolution=min(resolution, 256), padded_resolutions=[], replace_const=False)
        rings = [r for r in (4, 8, 16, 32) if r in shape.channels]
        numbers = shape.num_layers * shape.w_dim + 16 * shape.channels[4]
        numbers += sum(ring_positions(r) * shape.channels[r] for r in rings)
        saved = 4 * parameters(encoder)  # the average, and Adam's two moments, are as large as the weights
        rows.append(
            {
                "generator, px": str(resolution),
                "generator, million": f"{parameters(generator):.1f}",
                "discriminator": f"{parameters(discriminator):.1f}",
                "encoder": f"{parameters(encoder):.1f}",
                "encoder, W+ alone": f"{parameters(plain):.1f}",
                "generator and encoder, MB": f"{4 * (parameters(generator) + parameters(encoder)):.0f}",
                "a run's last.ckpt, MB": f"{4 * saved:.0f}",
                "a code, KB": f"{numbers * 4 / 1e3:.0f}",
            }
        )
    return rows


def train(preset: str, folder: Path) -> dict[str, float]:
    """Images in a second of processor time, and megabytes on disk."""
    took = []
    for images in (FEW, FEW, FEW + IMAGES):
        args = [TRAINED[preset], "--config", preset, "--trainer.num_sanity_val_steps", "0"]
        args += ["--schedule.images", str(images), "--schedule.validate_every", str(images)]
        args += ["--trainer.logger.save_dir", str(folder), "--trainer.enable_progress_bar", "false"]
        args += ["--model.scheduler_images", "1"] if TRAINED[preset] == "fit" else ["--model.fid_samples", "64"]
        start = time.process_time()
        if padinv(args):
            raise SystemExit(" ".join(["failed: padinv", *args]))
        took.append(time.process_time() - start)
    run = folder / preset / "version_2"
    last = (run / "checkpoints" / "last.ckpt").stat().st_size / 1e6
    return {"rate": IMAGES / (took[2] - took[1]), "disk": megabytes_in(run), "last": last}


def photographs(command: str, folder: Path) -> dict[str, float]:
    """Seconds of the processor for all, and megabytes on disk."""
    start = time.process_time()
    try:
        padinv([*PHOTOGRAPHS[command], "-o", str(folder / "out")])
    except SystemExit as end:
        if end.code:
            raise
    return {"seconds": time.process_time() - start, "disk": megabytes_in(folder / "out")}


def megabytes_in(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def measure(point: Point) -> dict[str, float]:
    torch.set_num_threads(point["threads"])
    with tempfile.TemporaryDirectory() as folder:
        measured = (train if point["what"] in TRAINED else photographs)(point["what"], Path(folder))
    return {**measured, "peak": megabytes("VmHWM")}


def main() -> None:
    options = command_line(__doc__).parse_args()
    if options.point is not None:
        print(json.dumps(measure(options.point)))
        return
    trained: list[dict[str, Any]] = []
    used: list[dict[str, Any]] = []
    for what in [*TRAINED, *PHOTOGRAPHS]:
        measured = in_own_process(__file__, {"what": what, "threads": options.threads})
        print(what, measured, file=sys.stderr, flush=True)
        about = {"peak MiB": f"{measured['peak']:.0f}", "other processes": f"{measured['others']:.0%}"}
        if what in TRAINED:
            row = {
                "preset": f"`padinv {TRAINED[what]} --config {what}`",
                "images in a processor second": f"{measured['rate']:.1f}",
            }
            row |= {"hours of a core for 60,000": f"{60_000 / measured['rate'] / 3600:.1f}", **about}
            trained.append(
                row | {"run's folder, MB": f"{measured['disk']:.0f}", "of it last.ckpt": f"{measured['last']:.0f}"}
            )
        else:
            row = {
                "command": f"`padinv {what}`",
                f"processor s for {BUNDLED} photographs": f"{measured['seconds']:.1f}",
                **about,
            }
            used.append(row | {"results, MB": f"{measured['disk']:.1f}"})
    parts = [table(counted()), f"Threads: {options.threads}.", table(trained), table(used)]
    write("sizing", f"python benchmarks/sizing.py --threads {options.threads}", "\n\n".join(parts))


if __name__ == "__main__":
    main()
