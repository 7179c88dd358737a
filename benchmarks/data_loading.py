"""Does decoding keep ahead of the encoder? Images per second of the DataModule alone, and of the published encoder.

python benchmarks/data_loading.py [--photographs DIR] [--size 1024] [--images 128]

The training loader of :class:`padinv.ImageDataModule` hands out shuffled, mirrored batches of 256 px, from JPEG files
in a folder, in a zip file and in an LMDB directory, with 0, 1 and 2 worker processes; nothing else is computed. Files
are in the page cache, as in every epoch but the first of a data set that fits into memory. The same machine then runs
the published encoder (IResNet-50, 256 px, random weights) with all its cores; first on one batch, then on batches that
one worker loads at the same time: the share of that time it waits for data tells whether decoding keeps ahead.

Without `--photographs` the files are the bundled portraits, enlarged, with grain that makes them as large as those of a
camera (2 bits a pixel): JPEG decoding takes the longer the larger a file is.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import tempfile
import time
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import in_own_process, megabytes, seconds, table, write
from PIL import Image

from padinv import Generator, ImageDataModule, PadInvEncoder
from padinv.cpu import keep_freed_memory
from padinv.images import decode
from padinv.sources.opening import open_source

RESOLUTION, BATCH = 256, 8
CONTAINERS, WORKERS = ("folder", "zip", "lmdb"), (0, 1, 2)
GRAIN = 7.0
"""Standard deviation of the noise, of 255."""


def write_photographs(folder: Path, size: int, count: int) -> None:
    """JPEG files of the bundled portraits, enlarged to `size`, as heavy as photographs."""
    source, random = open_source("congress64-train"), np.random.default_rng(0)
    grain = random.normal(0, GRAIN, (size, size, 3))
    for i in range(count):
        portrait = decode(source.read(i % len(source))).resize((size, size), Image.Resampling.BICUBIC)
        pixels = np.asarray(portrait) + np.roll(grain, i, axis=0)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:05}.jpg", quality=90)


def pack(folder: Path, target: Path) -> None:
    """The files of a folder as `target/folder`, `target/zip` and `target/lmdb`."""
    import lmdb

    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    (target / "folder").mkdir()
    (target / "lmdb").mkdir()
    size = sum(path.stat().st_size for path in files)
    with (
        zipfile.ZipFile(target / "zip", "w") as archive,
        lmdb.open(str(target / "lmdb"), map_size=2 * size + 2**24) as environment,
        environment.begin(write=True) as transaction,
    ):
        for i, path in enumerate(files):
            name = f"{i:06}{path.suffix}"
            shutil.copyfile(path, target / "folder" / name)
            archive.write(path, name)
            transaction.put(name.encode(), path.read_bytes())


def loading(photographs: str, container: str, workers: int) -> dict[str, float]:
    """Images per second of the training loader; workers are started during the warm-up."""
    torch.set_num_threads(1)
    data = ImageDataModule(
        str(Path(photographs) / container), resolution=RESOLUTION, batch_size=BATCH, num_workers=workers
    )
    loader = data.train_dataloader()
    images = len(loader) * BATCH

    def epoch() -> None:
        for batch in loader:
            assert batch["image"].shape == (BATCH, 3, RESOLUTION, RESOLUTION)

    return {"rate": images / seconds(epoch), "megabytes": megabytes("VmHWM")}


def encoding(photographs: str) -> dict[str, float]:
    """Images per second of the published encoder alone, and its share of waiting when one worker loads its images."""
    keep_freed_memory()
    encoder = PadInvEncoder(Generator(RESOLUTION).code_shape).eval().to(memory_format=torch.channels_last)
    data = ImageDataModule(str(Path(photographs) / "folder"), resolution=RESOLUTION, batch_size=BATCH, num_workers=1)
    batches = forever(data.train_dataloader())
    waited: list[float] = []

    def step() -> None:
        start = time.perf_counter()
        images = next(batches)["image"].contiguous(memory_format=torch.channels_last)
        waited.append(time.perf_counter() - start)
        encoder(images)

    with torch.inference_mode():
        images = torch.randn(BATCH, 3, RESOLUTION, RESOLUTION).contiguous(memory_format=torch.channels_last)
        alone = seconds(lambda: encoder(images))
        together = seconds(step)
    return {"rate": BATCH / alone, "waiting": sorted(waited[1:])[len(waited[1:]) // 2] / together}


def forever(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def describe(folder: Path) -> str:
    files = sorted((folder / "folder").iterdir())
    width, height = Image.open(io.BytesIO(files[0].read_bytes())).size
    kilobytes = sum(path.stat().st_size for path in files) / len(files) / 1024
    return f"{len(files)} files, the first of {width}×{height} px, {kilobytes:.0f} KiB each on average"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, help="folder of your own; otherwise files are made")
    parser.add_argument("--size", type=int, default=1024, help="of the files that are made, in pixels")
    parser.add_argument("--images", type=int, default=128, help="how many files are made")
    parser.add_argument("--point", type=json.loads, help="measure one point in this process, and print JSON")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
    if options.point is not None:
        measure: Any = loading if "container" in options.point else encoding
        print(json.dumps(measure(**options.point)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.photographs
        if folder is None:
            folder = Path(temporary) / "made"
            folder.mkdir()
            write_photographs(folder, options.size, options.images)
        pack(folder, Path(temporary))
        encoder = in_own_process(__file__, {"photographs": temporary})
        rows = []
        for container in CONTAINERS:
            for workers in WORKERS:
                point = {"photographs": temporary, "container": container, "workers": workers}
                measured = in_own_process(__file__, point)
                row = {"container": container, "workers": workers, "images/s": f"{measured['rate']:.0f}"}
                row["times the encoder"] = f"{measured['rate'] / encoder['rate']:.0f}"
                rows.append({**row, "other processes": f"{measured['others']:.0%}"})
                print(rows[-1], flush=True)
        text = (
            f"{describe(Path(temporary))}, to {RESOLUTION} px.\n\n{table(rows)}\n\nThe encoder takes "
            f"{encoder['rate']:.2f} images/s with all cores. Fed by one worker, it waits for data "
            f"{encoder['waiting']:.2%} of the time."
        )
    command = "python benchmarks/data_loading.py" + (" --photographs DIR" if options.photographs else "")
    write("data_loading", command, text)


if __name__ == "__main__":
    main()
