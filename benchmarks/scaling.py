"""Time and memory against batch, resolution and padded resolutions, as a table and a plot.

python benchmarks/scaling.py [--vary batch resolution padded] [--threads 2]

It writes benchmarks/results/scaling.csv and scaling.md, and draws docs/figures/scaling.png; `--vary` measures some of
it anew, and without a value it only draws. Two steps are measured, both on random images:

- inference: encode and generate, by :class:`padinv.Inverter`;
- training: one step of the encoder as :class:`padinv.PadInvModule` takes it, in channels-last format: encoder,
  generator, pixel loss, backward, Adam.

Batch and padded resolutions (at batch 4) are varied with the bundled generator of 64 px and the encoder of its preset
`quickstart`; resolution, at batch 1, with networks of the published size and random weights. The encoder of a generator
of more than 256 px reads 256 px, as published. No padded resolution is the encoder to latents alone, with no constant.

Every point has a process of its own, which keeps the memory that it frees (:mod:`padinv.cpu.memory`), as both do by
default. Memory is the largest that the process had resident, and what it had before its first step.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import RESULTS, Point, command_line, in_own_process, machine, megabytes, seconds, set_up, table, write
from torch import Tensor, nn

from padinv import Generator, Inverter, PadInvEncoder, PadInvModule, load_generator
from padinv.cpu import fuse_on_cpus, keep_freed_memory

TABLE = RESULTS / "scaling.csv"
FIGURE = Path(__file__).parent.parent / "docs" / "figures" / "scaling.png"
PADDED = (4, 8, 16, 32, 64)
BATCHES, RESOLUTIONS = (1, 2, 4, 8, 16), (64, 128, 256, 512, 1024)
LARGEST_TRAINED = 256
"""At more a step takes tens of seconds on a CPU."""
SWEEPS = {"batch": "images in a batch", "resolution": "resolution, px", "padded": "padded resolutions"}
COLOURS = {"inference": "#2563a8", "training": "#c2410c"}


def points(sweep: str) -> Iterator[Point]:
    """The points of a sweep, the smallest first."""
    for mode in ("inference", "training"):
        if sweep == "batch":
            for batch in BATCHES:
                yield {"mode": mode, "networks": "bundled", "batch": batch, "resolution": 64, "padded": 4}
        elif sweep == "resolution":
            for resolution in RESOLUTIONS:
                if mode == "inference" or resolution <= LARGEST_TRAINED:
                    yield {"mode": mode, "networks": "published", "batch": 1, "resolution": resolution, "padded": 4}
        else:
            for padded in range(len(PADDED) + 1):
                yield {"mode": mode, "networks": "bundled", "batch": 4, "resolution": 64, "padded": padded}


def pair(networks: str, resolution: int, padded: int) -> tuple[Generator, Callable[..., PadInvEncoder]]:
    """A generator, and what makes its encoder."""
    options: dict[str, Any] = {"padded_resolutions": PADDED[:padded], "replace_const": padded > 0}
    if networks == "bundled":
        return load_generator("congress64"), partial(
            PadInvEncoder, resolution=64, depth=18, width=16, fpn_channels=64, **options
        )
    generator = Generator(resolution)
    for layer in generator.synthesis.modules():  # random weights begin without noise
        if isinstance(strength := getattr(layer, "noise_strength", None), Tensor):
            nn.init.constant_(strength, 0.1)
    return generator, partial(PadInvEncoder, resolution=min(resolution, 256), **options)


def inference(generator: Generator, make_encoder: Callable[..., PadInvEncoder], batch: int) -> Callable[[], object]:
    encoder = make_encoder(generator.code_shape)
    images = torch.rand(batch, 3, encoder.resolution, encoder.resolution) * 2 - 1
    inverter = Inverter(encoder, generator, device="cpu", batch_size=batch)
    return lambda: inverter.reconstruct(inverter.encode(images))


def training(generator: Generator, make_encoder: Callable[..., PadInvEncoder], batch: int) -> Callable[[], object]:
    module = PadInvModule(generator, encoder=make_encoder, lambda_per=0.0, lambda_reg=0.0, channels_last=True)
    set_up(module)
    optimizer = torch.optim.Adam(module.encoder.parameters(), 1e-4)
    fuse_on_cpus(optimizer)
    images = module.in_memory_format(torch.rand(batch, 3, module.resolution, module.resolution) * 2 - 1)

    def step() -> None:
        code = module.encoder(images)
        module.encoder_losses(code, module.reconstruct(code), images)["pix"].backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(point: Point) -> dict[str, float]:
    """Seconds of a step, and megabytes before the first and at most."""
    torch.set_num_threads(point["threads"])
    keep_freed_memory()
    torch.manual_seed(0)
    make = {"inference": inference, "training": training}[point["mode"]]
    step = make(*pair(point["networks"], point["resolution"], point["padded"]), point["batch"])
    before = megabytes()
    return {"seconds": seconds(step), "megabytes_before": before, "megabytes_peak": megabytes("VmHWM")}


def read() -> list[dict[str, str]]:
    if not TABLE.exists():
        return []
    with TABLE.open() as file:
        return list(csv.DictReader(file))


def save(rows: list[dict[str, str]]) -> None:
    RESULTS.mkdir(exist_ok=True)
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def summary(rows: list[dict[str, str]], sweep: str) -> str:
    """A sweep as a table: a line for each value, inference and training side by side."""
    lines: dict[str, dict[str, str]] = {}
    for row in (row for row in rows if row["sweep"] == sweep):
        line = lines.setdefault(row[sweep], {SWEEPS[sweep]: row[sweep]})
        line[f"{row['mode']}, s an image"] = f"{float(row['seconds']) / int(row['batch']):.3g}"
        line[f"{row['mode']}, peak MiB"] = f"{float(row['megabytes_peak']):.0f}"
        others = max(float(row["others"]), float(line.get("others", 0)))
        line |= {"others": f"{others}", "other processes": f"{others:.0%}"}
    columns = dict.fromkeys(key for line in lines.values() for key in line if not key.startswith("other"))
    return table([{key: line.get(key, "") for key in [*columns, "other processes"]} for line in lines.values()])


def draw(rows: list[dict[str, str]]) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(SWEEPS), figsize=(10, 5.6), sharex="col", layout="constrained")
    for column, (sweep, label) in enumerate(SWEEPS.items()):
        for mode, colour in COLOURS.items():
            chosen = [row for row in rows if row["sweep"] == sweep and row["mode"] == mode]
            at = [int(row[sweep]) for row in chosen]
            times = [float(row["seconds"]) / int(row["batch"]) for row in chosen]
            memory = [float(row["megabytes_peak"]) / 1024 for row in chosen]
            for axis, values in zip(axes[:, column], (times, memory), strict=True):
                axis.plot(at, values, "o-", color=colour, label=mode, markersize=4)
        networks = next((row["networks"] for row in rows if row["sweep"] == sweep), "")
        axes[0, column].set_title(f"{networks} networks", fontsize=10)
        axes[1, column].set_xlabel(label)
        if sweep != "padded":
            axes[1, column].set_xscale("log", base=2)
            ticks = sorted({int(row[sweep]) for row in rows if row["sweep"] == sweep})
            axes[1, column].set_xticks(ticks, [str(tick) for tick in ticks])
            axes[1, column].minorticks_off()
    for axis in axes.flat:
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("seconds an image")
    axes[1, 0].set_ylabel("peak memory, GiB")
    axes[0, 0].legend(frameon=False)
    figure.savefig(FIGURE, dpi=110)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--vary", nargs="*", choices=SWEEPS, default=list(SWEEPS), help="what to measure anew")
    options = parser.parse_args()
    if options.point is not None:
        print(json.dumps(measure(options.point)))
        return
    rows = read()
    for sweep in options.vary:
        rows = [row for row in rows if row["sweep"] != sweep]
        for point in points(sweep):
            measured = in_own_process(__file__, {**point, "threads": options.threads})
            rounded = {key: f"{value:.4g}" for key, value in measured.items()}
            row = {"sweep": sweep, **point, "threads": options.threads, **rounded, **machine()}
            print(*row.values(), flush=True)
            rows.append({key: str(value) for key, value in row.items()})
        save(rows)
    draw(rows)
    write("scaling", "python benchmarks/scaling.py", "\n\n".join(map(partial(summary, rows), SWEEPS)))


if __name__ == "__main__":
    main()
