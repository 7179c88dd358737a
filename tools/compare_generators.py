"""Compare generators by the Fréchet distance of their samples to real images, in features of several networks.

    python tools/compare_generators.py A [B ...] --data DIR [DIR ...] [--features FILE ...]

A and B are what `padinv.load_generator` reads. Each gives `--samples` images (psi 1, constant noise) for each of
`--seeds` seeds, all generators from the same latents if theirs are of the same width. Real are all images of `--data`,
each also mirrored. The networks are two with random weights, and those that `tools/feature_network.py` wrote: none has
to do with a discriminator, as a generator's own would take its side. Smaller is better; ± is over the seeds.

For scale, the last row is the distance of half of the real images to the other half, divided anew for each seed.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from feature_network import load_features
from torch import Tensor, nn

from padinv import load_generator
from padinv.images import load_tensor
from padinv.metrics import FrechetDistance, RandomFeatures
from padinv.networks import Generator
from padinv.sources.opening import open_source

BATCH = 50


def sample(generator: Generator, count: int, seed: int) -> Iterator[Tensor]:
    """Batches of images (B, 3, R, R), `count` in all."""
    random = torch.Generator().manual_seed(seed)
    for z in torch.randn(count, generator.config["z_dim"], generator=random).split(BATCH):
        yield generator(z)


def with_mirrored(images: Tensor) -> Iterator[Tensor]:
    """Batches of images and of their mirror images."""
    for batch in images.split(BATCH // 2):
        yield torch.cat([batch, batch.flip(-1)])


def measure(metrics: dict[str, FrechetDistance], batches: Iterable[Tensor]) -> dict[str, float]:
    """The distance in each network's features."""
    for metric in metrics.values():
        metric.reset()
    for batch in batches:
        for metric in metrics.values():
            metric.update(batch, real=False)
    return {name: metric.compute().item() for name, metric in metrics.items()}


def line(name: str, runs: list[dict[str, float]]) -> str:
    """A row of the table: mean ± standard deviation in each column."""
    columns = [[run[features] for run in runs] for features in runs[0]]
    cells = [f"{statistics.mean(c):9.4f} ± {statistics.stdev(c) if len(c) > 1 else 0:6.4f}" for c in columns]
    return f"{name:<32}{''.join(f'{cell:>22}' for cell in cells)}"


@torch.inference_mode()
def main(args: list[str] | None = None) -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generators", nargs="+")
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--features", nargs="*", type=Path, default=[])
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(args)

    generators = {str(name): load_generator(name) for name in options.generators}
    resolution = next(iter(generators.values())).resolution
    source = open_source(options.data)
    real = torch.stack([load_tensor(source.read(i), resolution) for i in range(len(source))])
    networks: dict[str, nn.Module] = {f"random {seed}": RandomFeatures(seed, width=16) for seed in range(2)}
    networks |= {path.stem: load_features(path) for path in options.features}

    def metrics(images: Tensor) -> dict[str, FrechetDistance]:
        made = {name: FrechetDistance(net, resolution, reset_real_features=False) for name, net in networks.items()}
        for batch in with_mirrored(images):
            for metric in made.values():
                metric.update(batch, real=True)
        return made

    print(f"{len(real)} real images and as many mirrored; {options.samples} samples, {options.seeds} seeds")
    print(f"{'':<32}{''.join(f'{name:>22}' for name in networks)}")
    whole = metrics(real)
    for name, generator in generators.items():
        runs = [measure(whole, sample(generator, options.samples, seed)) for seed in range(options.seeds)]
        print(line(name[-31:], runs), flush=True)
    runs = []
    for seed in range(options.seeds):
        order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))
        first, second = real[order].chunk(2)
        runs.append(measure(metrics(first), with_mirrored(second)))
    print(line("half of the real images", runs))


if __name__ == "__main__":
    main()
