"""Does measuring keep up with decoding? Pairs per second of decoding alone, and of padinv evaluate's metrics.

python benchmarks/evaluation.py [--pairs 10000] [--workers 2]

Pairs are JPEG files of 256 px in two folders, in the page cache: the bundled portraits, enlarged, and again with noise.
`decoding alone` reads both files of each pair into arrays of 8-bit RGB, `decoding to tensors` as the training's loader
does, in as many processes as metrics have. Each row is measured in turn, in three rounds, and the best of each is
taken, as other work on a machine only slows down. Seconds of processors tell more than the clock where other work runs.
Memory is the peak of the measuring process, for a quarter of the pairs and for all.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measuring import in_own_process, megabytes, table, write
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from padinv.evaluation import Files, Pairs, Settings, evaluate, match
from padinv.images import decode, load_tensor
from padinv.sources.opening import open_source

SIZE, DISTINCT, SLOW = 256, 128, 500
CHEAP, ALL = "mse, psnr", "all default metrics"
CHOSEN = {CHEAP: ["mse", "psnr"], "ms_ssim": ["ms_ssim"], "lpips": ["lpips"], ALL: []}


def write_pairs(root: Path, count: int) -> None:
    """Folders a and b: 128 pairs, and as many links to them as it takes."""
    source, random = open_source("congress64-train"), np.random.default_rng(0)
    for name, noise in (("a", 4), ("b", 12)):
        (root / name).mkdir()
        for i in range(count):
            path = root / name / f"{i:05}.jpg"
            if i >= DISTINCT:
                os.link(root / name / f"{i % DISTINCT:05}.jpg", path)
                continue
            portrait = decode(source.read(i)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
            pixels = np.asarray(portrait) + random.normal(0, noise, (SIZE, SIZE, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


class Decoded(Dataset[int]):
    """Decodes both files of a pair into arrays, and keeps nothing."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> int:
        photograph, made = self.pairs.read(index)
        for image in (photograph, *made):
            np.array(image)
        return index


class Loaded(Decoded):
    """Decodes both files of a pair into tensors in [-1, 1], as the loader of the training does."""

    def __getitem__(self, index: int) -> int:
        sources = [self.pairs.photographs, *self.pairs.reconstructions]
        for source, place in zip(sources, self.pairs.places[index], strict=True):
            load_tensor(source.read(int(place)), SIZE)
        return index


def read_all(dataset: Decoded, workers: int) -> None:
    for _ in DataLoader(dataset, batch_size=16, num_workers=workers):
        pass


def measure_all(pairs: Pairs, workers: int, only: list[str]) -> None:
    measures = {"only": only, "features": None if only else "alexnet"}
    evaluate(Files(pairs, ["b"]), Settings(workers=workers, measures=measures))


def spent(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock, and of all processors in this process and its workers."""
    wall, own = time.perf_counter(), os.times()
    work()
    now = os.times()
    return time.perf_counter() - wall, sum(now[:4]) - sum(own[:4])


def memory(folder: str, count: int) -> dict[str, float]:
    """The peak of this process, in MiB, after `count` pairs."""
    pairs = match(open_source(f"{folder}/a"), [open_source(f"{folder}/b")])
    pairs = Pairs(pairs.photographs, pairs.reconstructions, pairs.names, pairs.places[:count])
    evaluate(Files(pairs, ["b"]), Settings(measures={"only": ["mse", "psnr"], "features": None}))
    return {"peak": megabytes("VmHWM")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--point", type=json.loads, help="measure one point in this process, and print JSON")
    options = parser.parse_args()
    if options.point is not None:
        print(json.dumps(memory(**options.point)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_pairs(Path(folder), options.pairs)
        pairs = match(open_source(f"{folder}/a"), [open_source(f"{folder}/b")])
        few = Pairs(pairs.photographs, pairs.reconstructions, pairs.names, pairs.places[:SLOW])
        works: dict[str, Callable[[], None]] = {
            "decoding alone": lambda: read_all(Decoded(pairs), options.workers),
            "decoding to tensors": lambda: read_all(Loaded(pairs), options.workers),
        }
        for name, only in CHOSEN.items():
            chosen = pairs if name == CHEAP else few
            works[name] = lambda only=only, chosen=chosen: measure_all(chosen, options.workers, only)  # type: ignore[misc]
        counts_of = {name: len(few) if name in CHOSEN and name != CHEAP else len(pairs) for name in works}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
        for turn in range(options.rounds):
            for name, work in works.items():
                if turn == 0 or name not in CHOSEN or name == CHEAP:  # the others are far from it: once is enough
                    found[name].append(spent(work))
                    print(name, found[name][-1], flush=True)
        wall, processor = (
            {name: min(each[kind] for each in times) for name, times in found.items()} for kind in (0, 1)
        )
        rows = [
            {
                "": name,
                "pairs/s": f"{counts_of[name] / wall[name]:.0f}",
                "ms of processors a pair": f"{1000 * processor[name] / counts_of[name]:.2f}",
            }
            for name in works
        ]
        counts = [len(pairs) // 4, len(pairs)]
        peaks = [in_own_process(__file__, {"folder": folder, "count": count})["peak"] for count in counts]
    text = (
        f"{options.pairs:,} pairs of {SIZE} px, {options.workers} decoding processes, without a GPU.\n\n"
        f"{table(rows)}\n\n"
        f"`{CHEAP}`, intervals included: {wall['decoding to tensors'] / wall[CHEAP]:.2f} of the rate of decoding to "
        f"tensors by the clock, {processor['decoding to tensors'] / processor[CHEAP]:.2f} by processors; "
        f"{wall['decoding alone'] / wall[CHEAP]:.2f} and {processor['decoding alone'] / processor[CHEAP]:.2f} of the "
        "rate of decoding alone.\n\n"
        f"Peak of memory after {counts[0]:,} pairs {peaks[0]:.0f} MiB, after {counts[1]:,} pairs {peaks[1]:.0f} MiB."
    )
    write("evaluation", f"python benchmarks/evaluation.py --pairs {options.pairs} --rounds {options.rounds}", text)


if __name__ == "__main__":
    main()
