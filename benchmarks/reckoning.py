"""What many GPUs would do: a reckoning, not a measurement. Every input is an option, and the page docs/scaling.md names
where its default comes from.

python benchmarks/reckoning.py [--gpus 1 8 64] [--peak 312e12] [--utilisation 0.3] [--bandwidth 200e9] …

    compute    = batch · operations an image / (peak · utilisation)
    gradients  = 2 (n - 1) / n · parameters · bytes a parameter / bandwidth          (a ring all-reduce)
    hidden     = min(gradients, overlap · share of the encoder's backward · compute)
    BatchNorm  = layers · 2 · latency                                                (one message forward, one backward)
    step       = compute + gradients - hidden + BatchNorm
    cores      = images a second / images a second that one core decodes

The bandwidth is that within a node as long as all GPUs are in one, and that of a node's network beyond. Parameters and
layers are counted on the published encoder.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from measuring import table
from torch import nn

from padinv import Generator, PadInvEncoder


@dataclass(frozen=True)
class Assumptions:
    """What the reckoning rests on; rates in operations, bytes and images a second, times in seconds."""

    batch: int
    flops: float
    backward: float
    peak: float
    utilisation: float
    parameters: float
    bytes: int
    gpus_per_node: int
    bandwidth: float
    network: float
    overlap: float
    layers: int
    latency: float
    decoding: float


@dataclass(frozen=True)
class Step:
    """Seconds of a training step on n GPUs."""

    n: int
    compute: float
    gradients: float
    exposed: float
    batchnorm: float

    @property
    def total(self) -> float:
        return self.compute + self.exposed + self.batchnorm


def reckon(n: int, given: Assumptions) -> Step:
    compute = given.batch * given.flops / (given.peak * given.utilisation)
    bandwidth = given.bandwidth if n <= given.gpus_per_node else given.network
    gradients = 2 * (n - 1) / n * given.parameters * given.bytes / bandwidth
    exposed = gradients - min(gradients, given.overlap * given.backward * compute)
    return Step(n, compute, gradients, exposed, given.layers * 2 * given.latency if n > 1 else 0.0)


def row(n: int, given: Assumptions, images: float) -> dict[str, str]:
    step, alone = reckon(n, given), reckon(1, given)
    rate = n * given.batch / step.total
    return {
        "GPUs": f"{n}",
        "compute, ms": f"{step.compute * 1e3:.1f}",
        "gradients, ms": f"{step.gradients * 1e3:.1f}",
        "not hidden, ms": f"{step.exposed * 1e3:.1f}",
        "BatchNorm, ms": f"{step.batchnorm * 1e3:.1f}",
        "step, ms": f"{step.total * 1e3:.1f}",
        "images/s": f"{rate:.0f}",
        "efficiency": f"{alone.total / step.total:.0%}",
        f"hours for {images / 1e6:g} million": f"{images / rate / 3600:.1f}",
        "cores decoding": f"{rate / given.decoding:.1f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--gpus", type=int, nargs="+", default=[1, 8, 64])
    add("--batch", type=int, default=8, help="images a GPU takes for a step")
    add("--flops", type=float, default=686.6e9, help="operations of a training step, an image")
    add(
        "--encoder-flops",
        type=float,
        default=166.7e9,
        help="of these the encoder's forward; its backward is twice that",
    )
    add("--peak", type=float, default=312e12, help="operations a second of a GPU (A100, bfloat16, data sheet)")
    add("--utilisation", type=float, default=0.3, help="share of the peak that is reached (assumed)")
    add("--generator", type=int, default=256, help="resolution of the generator: its latents make the encoder's heads")
    add("--bytes", type=int, default=4, help="of a gradient; 2 with a compressing hook")
    add("--gpus-per-node", type=int, default=8)
    add("--bandwidth", type=float, default=200e9, help="bytes a second of an all-reduce within a node (assumed)")
    add("--network", type=float, default=20e9, help="the same between nodes (assumed: of a 200 Gbit/s card)")
    add("--overlap", type=float, default=0.5, help="share of the encoder's backward that hides communication (assumed)")
    add("--latency", type=float, default=50e-6, help="seconds of a small message among all GPUs (assumed)")
    add("--decoding", type=float, default=100.0, help="images a second that one core decodes (data_loading.py)")
    add("--images", type=float, default=6.4e6, help="of the whole training")
    options = parser.parse_args()
    encoder = PadInvEncoder(Generator(options.generator).code_shape)
    given = Assumptions(
        batch=options.batch,
        flops=options.flops,
        backward=2 * options.encoder_flops / options.flops,
        peak=options.peak,
        utilisation=options.utilisation,
        parameters=sum(parameter.numel() for parameter in encoder.parameters()),
        bytes=options.bytes,
        gpus_per_node=options.gpus_per_node,
        bandwidth=options.bandwidth,
        network=options.network,
        overlap=options.overlap,
        layers=sum(isinstance(layer, nn.BatchNorm2d) for layer in encoder.modules()),
        latency=options.latency,
        decoding=options.decoding,
    )
    size = given.parameters * given.bytes
    print(
        f"{given.parameters / 1e6:.1f} million parameters, {size / 1e6:.0f} MB of gradients, {given.layers} BatchNorm "
        f"layers; {given.peak * given.utilisation / 1e12:.1f} TFLOP/s a GPU.\n"
    )
    print(table([row(n, given, options.images) for n in options.gpus]))


if __name__ == "__main__":
    main()
