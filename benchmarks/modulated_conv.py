"""What it is worth to scale activations instead of weights in StyleGAN2's modulated convolution.

python benchmarks/modulated_conv.py [--sizes 64 256] [--threads 1] [--rounds 7]

- ours: :func:`padinv.ops.modulated_conv.modulated_conv2d`. One weight for the whole batch; demodulation by a matrix
  product of squared styles and summed squared weights.
- straightforward: the definition. Each sample's own weight is made, modulated and demodulated, and all samples go
  through one convolution, each as a group.

All else is the same: network, weights, latents, noise, precision, memory format, process, and that freed memory is kept
(:mod:`padinv.cpu.memory`). Their images
and gradients are compared first. Then each takes turns with a training step of the generator (forward, and backward to
all its parameters), and of the whole GAN (both losses, both backwards, both optimizers). Ratios are of neighbouring
turns, their medians are told: what else a machine does meanwhile slows both. CPU time leaves out what a process waits
for others.

The gain is largest where weights are large beside maps: at low resolutions. Another part of it is that samples stay
samples, so that convolutions run in channels-last format without copies.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from unittest.mock import patch

import torch
import torch.nn.functional as F
from measuring import table, write
from torch import Tensor

from padinv import Discriminator, Generator
from padinv.cpu import keep_freed_memory
from padinv.losses import AdversarialLoss
from padinv.networks import generator as generator_module
from padinv.networks import stylegan2_channels
from padinv.ops.modulated_conv import EPSILON, modulated_conv2d
from padinv.ops.resampling import blur

BATCH = {64: 16, 256: 4}
CHANNELS = {64: (2048, 256), 256: (8192, 256)}  # base and maximum: those of the bundled networks, and a quarter at 256
MODES = {
    "bfloat16, channels last, as the presets train": (True, torch.channels_last),
    "float32": (False, torch.contiguous_format),
}
TOLERANCE = 1e-4  # of the largest value


def straightforward(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    *,
    ring: Tensor | None = None,
    upsample_kernel: Tensor | None = None,
    bias: Tensor,
    gain: float,
    frozen: object = None,
) -> Tensor:
    """The same function, but for the ring, by a weight of its own for each sample."""
    assert ring is None
    return (convolve(x, weight, style, upsample_kernel) + bias[:, None, None].to(x.dtype)) * gain


def convolve(x: Tensor, weight: Tensor, style: Tensor, upsample_kernel: Tensor | None) -> Tensor:
    batch, inputs, height, width = x.shape
    outputs, _, size, _ = weight.shape
    weights = weight * (1 / math.sqrt(inputs * size**2)) * style[:, None, :, None, None]
    weights = weights * (weights.square().sum(dim=(2, 3, 4), keepdim=True) + EPSILON / (inputs * size**2)).rsqrt()
    x = x.reshape(1, batch * inputs, height, width)
    if upsample_kernel is None:
        x = F.conv2d(x, weights.reshape(batch * outputs, inputs, size, size), padding=size // 2, groups=batch)
        return x.view(batch, outputs, height, width)
    weights = weights.transpose(1, 2).reshape(batch * inputs, outputs, size, size)
    x = F.conv_transpose2d(x, weights, stride=2, groups=batch)
    return blur(x.view(batch, outputs, *x.shape[2:]), upsample_kernel, padding=(1, 1), gain=4)


class Steps:
    """The steps that are timed, of a GAN with random weights."""

    def __init__(self, size: int) -> None:
        base, maximum = CHANNELS[size]
        channels = stylegan2_channels(size, base, maximum)
        torch.manual_seed(0)
        self.generator = Generator(size, z_dim=256, w_dim=256, mapping_layers=4, channels=channels)
        self.discriminator = Discriminator(size, channels=channels)
        self.z = torch.randn(BATCH[size], 256)
        self.real = torch.rand(BATCH[size], 3, size, size) * 2 - 1
        self.loss = AdversarialLoss()
        self.optimizers = [torch.optim.Adam(n.parameters(), 1e-4) for n in (self.generator, self.discriminator)]

    def to(self, memory_format: torch.memory_format) -> None:
        """Lays out weights and real images anew."""
        for network in (self.generator, self.discriminator):
            network.to(memory_format=memory_format)
        self.real = self.real.contiguous(memory_format=memory_format)

    def generator_alone(self) -> tuple[Tensor, list[Tensor]]:
        """Forward and backward; the images and all gradients."""
        self.generator.zero_grad()
        images = self.generator(self.z)
        images.square().mean().backward()
        return images.detach(), [p.grad for p in self.generator.parameters() if p.grad is not None]

    def whole_gan(self) -> None:
        """A step of the generator, and one of the discriminator."""
        self.discriminator.requires_grad_(False)
        self.optimizers[0].zero_grad()
        self.loss.encoder(self.discriminator(self.generator(self.z, noise="random"))).backward()
        self.optimizers[0].step()
        self.discriminator.requires_grad_(True)
        self.optimizers[1].zero_grad()
        with torch.no_grad():
            fake = self.generator(self.z, noise="random")
        self.loss.discriminator(self.discriminator(self.real), self.discriminator(fake)).backward()
        self.optimizers[1].step()


def difference(steps: Steps) -> float:
    """The largest difference in images and gradients, each relative to its largest value.

    In double precision: some gradients, those of the noises' strengths, are small sums of large terms.
    """
    steps.generator.double()
    steps.z = steps.z.double()
    images, gradients = steps.generator_alone()
    with patch.object(generator_module, "modulated_conv2d", straightforward):
        others, other_gradients = steps.generator_alone()
    steps.generator.float()
    steps.z = steps.z.float()
    pairs = [(images, others), *zip(gradients, other_gradients, strict=True)]
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-12)) for a, b in pairs)


def race(step: Callable[[], object], rounds: int, bfloat16: bool) -> list[list[tuple[float, float]]]:
    """Wall and CPU seconds of each turn: [ours, the straightforward one's]."""
    times: list[list[tuple[float, float]]] = [[], []]
    contestants = (modulated_conv2d, straightforward)
    for turn in range(rounds + 1):
        for which in (0, 1) if turn % 2 else (1, 0):
            # Autocast keeps converted weights until its end, which therefore comes with that of the step.
            with (
                patch.object(generator_module, "modulated_conv2d", contestants[which]),
                torch.autocast("cpu", torch.bfloat16, enabled=bfloat16),
            ):
                wall, cpu = time.perf_counter(), time.process_time()
                step()
                times[which].append((time.perf_counter() - wall, time.process_time() - cpu))
    return [turns[1:] for turns in times]  # the first is to warm up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", choices=BATCH, default=list(BATCH))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    rows = []
    for size in options.sizes:
        steps = Steps(size)
        difference_found = difference(steps)
        if difference_found > TOLERANCE:
            raise SystemExit(f"They are not the same function: more than {TOLERANCE}.")
        for mode, (bfloat16, memory_format) in MODES.items():
            steps.to(memory_format)
            for name, step in (("generator", steps.generator_alone), ("whole GAN", steps.whole_gan)):
                ours, other = race(step, options.rounds, bfloat16)
                ratios = [[b[clock] / a[clock] for a, b in zip(ours, other, strict=True)] for clock in range(2)]
                speeds = [BATCH[size] / min(wall for wall, _ in turns) for turns in (ours, other)]  # at their fastest
                rows.append(
                    {
                        "resolution, batch": f"{size} px, {BATCH[size]}",
                        "numbers": mode,
                        "step of": name,
                        "ours, images/s": f"{speeds[0]:.2f}",
                        "straightforward": f"{speeds[1]:.2f}",
                        "times as fast": f"{statistics.median(ratios[0]):.2f}",
                        "from, to": f"{min(ratios[0]):.2f}, {max(ratios[0]):.2f}",
                        "by CPU time": f"{statistics.median(ratios[1]):.2f}",
                        "largest difference": f"{difference_found:.1e}",
                    }
                )
                print(*rows[-1].values(), sep="  ", flush=True)
    write("modulated_conv", " ".join(["python benchmarks/modulated_conv.py", *sys.argv[1:]]), table(rows))


if __name__ == "__main__":
    main()
