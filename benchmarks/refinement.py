"""Refinement that is learned, against Adam: what small networks reach in the time of five of its steps.

    python benchmarks/refinement.py --train PORTRAITS/train --test PORTRAITS/test
    python benchmarks/refinement.py --draw docs/figures/refinement.png

A network is trained to predict the steps of the features at 16 px of the bundled model, while latents and rings stay as
the encoder gives them, so that only the generator's blocks above have to be run. Three designs:

    rates   learned step sizes of each channel and step, and momentum, on the gradient
    error   a convolutional network that sees the error image and the generator's features, but no gradient (as ReStyle)
    both    the same network, which sees the gradient as well, added to learned rates

Each step is taught by the gradient of the loss after it, log mse, which is computed for the next step anyway. So a step
of training costs hardly more than a refinement, and nothing is differentiated twice. Times are processor time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv import InversionCode, load_encoder, load_generator
from padinv.cpu import keep_freed_memory
from padinv.images import load_tensor
from padinv.inversion import refine
from padinv.losses import PerceptualLoss
from padinv.sources.opening import open_source

RESULTS = Path(__file__).parent / "results"

Curve = list[dict[str, Any]]
"""Losses on the held-out pictures, and after how many batches."""

R, T = 16, 8
"""Size of the features, and steps: eight through the upper blocks take the time of five through all."""

SCALE = 2e-5
"""Root mean square of the gradient at the encoder's code: divided by it, gradients are of order 1."""


@dataclass
class Upper:
    """The part of a synthesis above features, with everything else of some codes fixed, as a problem of its own."""

    below: Tensor
    image: Tensor
    w_plus: Tensor
    ring: Tensor
    features: Tensor
    target: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Upper:
        return Upper(**{name: function(x) for name, x in vars(self).items()})


class Problem:
    """The bundled model's features at 16 px."""

    def __init__(self) -> None:
        self.generator = load_generator("congress64").requires_grad_(False).to(memory_format=torch.channels_last)
        self.encoder = load_encoder("congress64").requires_grad_(False).eval().to(memory_format=torch.channels_last)
        self.blocks = self.generator.synthesis.blocks

    @torch.no_grad()
    def encode(self, images: Tensor) -> InversionCode:
        parts = torch.split(images.contiguous(memory_format=torch.channels_last), 16)
        return InversionCode.cat([self.encoder(part) for part in parts])

    @torch.no_grad()
    def upper(self, images: Tensor) -> Upper:
        code = self.encode(images)
        padding, latents = code.padding, code.w_plus.unbind(1)
        assert padding is not None
        assert padding.const is not None
        assert code.features is not None
        x, image = padding.const, None
        for k, r in enumerate((4, 8, R)):
            own = latents[max(2 * k - 1, 0) : 2 * k + 2]
            x, image = self.blocks[str(r)](x, image, own, ring=padding.rings[r])
        image = image - self.blocks[str(R)].get_submodule("to_rgb")(x, latents[5])  # which will see the features
        return Upper(x, image, code.w_plus, padding.rings[32], code.features[R], images)

    def synthesize(self, problem: Upper, features: Tensor, half: bool = False) -> Tensor:
        latents, x = problem.w_plus.unbind(1), problem.below + features
        image = self.blocks[str(R)].get_submodule("to_rgb")(x, latents[5]) + problem.image
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            x, image = self.blocks["32"](x, image, latents[5:8], ring=problem.ring)
            _, image = self.blocks["64"](x, image, latents[7:10])
        made: Tensor = image.float()
        return made

    def look(
        self, problem: Upper, features: Tensor, half: bool, gradient: bool
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Losses (B,), their gradient, and the error images."""
        with torch.set_grad_enabled(gradient):
            features = features.detach().requires_grad_(gradient)
            error = self.synthesize(problem, features, half) - problem.target
            losses = error.square().mean(dim=(1, 2, 3))
            found = torch.autograd.grad(losses.sum(), features)[0] if gradient else None
        return losses.detach(), found, error.detach()


class Steps(nn.Module):
    """Predicts steps of features (B, 128, 16, 16)."""

    def __init__(self, design: str, size: float, steps: int, width: int = 96, channels: int = 128) -> None:
        super().__init__()
        self.design, self.size, self.steps = design, size, steps
        self.momentum = nn.Parameter(torch.full((steps,), 0.5 if design != "error" else 0.0))
        if design != "error":
            self.rates = nn.Parameter(torch.full((steps, channels, 1, 1), 0.008))
        if design == "both":
            self.linear = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            nn.init.zeros_(self.linear.weight)
        if design != "rates":
            inputs = 48 + channels + (channels if design == "both" else 0)
            self.first = nn.Conv2d(inputs, width, 3, padding=1)
            self.second = nn.Conv2d(width, width, 3, padding=1)
            self.last = nn.Conv2d(width, channels, 3, padding=1)
            for conv in (self.first, self.second):
                nn.init.kaiming_normal_(conv.weight, a=0.2)
            for weights in self.last.parameters():
                nn.init.zeros_(weights)
            self.gains = nn.Parameter(torch.ones(steps, width, 1, 1))
            self.shifts = nn.Parameter(torch.zeros(steps, width, 1, 1))
            self.outer = nn.Parameter(torch.linspace(1, 0.4, steps))

    def forward(self, step: int, gradient: Tensor | None, before: Tensor, error: Tensor, seen: Tensor) -> Tensor:
        moved = self.momentum[step] * before
        if gradient is not None and self.design != "error":
            moved = moved - self.rates[step] * gradient / SCALE
        if self.design != "rates":
            inputs = [F.pixel_unshuffle(error, 4) * 8, seen / self.size]
            if gradient is not None and self.design == "both":
                inputs.append(gradient / SCALE)
                moved = moved - 0.1 * self.outer[step] * self.linear(gradient / SCALE)
            x = torch.cat(inputs, dim=1).contiguous(memory_format=torch.channels_last)
            x = F.leaky_relu(self.first(x) * self.gains[step] + self.shifts[step], 0.2)
            moved = moved + 0.1 * self.outer[step] * self.last(F.leaky_relu(self.second(x), 0.2))
        return moved


def follow(problem: Problem, network: Steps, upper: Upper) -> tuple[Tensor, list[float]]:
    """All steps of a network: the features, and the mean loss after each step, the start first."""
    x, losses = upper.features, []
    step = torch.zeros_like(x)
    for t in range(network.steps):
        found, gradient, error = problem.look(upper, x, False, network.design != "error")
        losses.append(float(found.mean()))
        with torch.no_grad():
            step = network(t, gradient, step, error, upper.below + x)
        x = x + step
    losses.append(float(problem.look(upper, x, False, False)[0].mean()))
    return x, losses


def teach(problem: Problem, network: Steps, batches: Iterator[Upper], seconds: float, held_out: Upper) -> Curve:
    """Trains for so much processor time, and tells how the held-out loss fell."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1.5e-3, betas=(0.9, 0.98))
    start, count = time.process_time(), 0
    curve: Curve = []
    while (gone := time.process_time() - start) < seconds:
        if gone >= len(curve) * seconds / 4:
            pause = time.process_time()
            curve.append({"batches": count, "losses": follow(problem, network, held_out)[1]})
            print(network.design, f"{gone:.0f} s", curve[-1], flush=True)
            start += time.process_time() - pause
        for group in optimizer.param_groups:
            group["lr"] = 1.5e-3 * min(1, (count + 1) / 20) * max(0.02, 1 - gone / seconds)
        upper = next(batches)
        x, step, taught = upper.features, torch.zeros_like(upper.features), None
        optimizer.zero_grad()
        for t in range(network.steps + 1):
            losses, gradient, error = problem.look(upper, x, True, True)
            assert gradient is not None
            if taught is not None:
                (taught * gradient / losses.clamp_min(1e-4)[:, None, None, None]).sum().div(len(x)).backward()
            if t < network.steps:
                with torch.autocast("cpu", torch.bfloat16):
                    taught = network(t, gradient, step, error, upper.below + x)
                step = taught.detach().float()
                x = x + step
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        count += 1
    curve.append({"batches": count, "losses": follow(problem, network, held_out)[1]})
    print(network.design, "end", curve[-1], flush=True)
    return curve


def portraits(source: str, count: int) -> Tensor:
    """The first so many pictures of a folder or a bundled data set."""
    found = open_source(source)
    return torch.stack([load_tensor(found.read(i), 64) for i in range(min(count, len(found)))])


def batches(problem: Problem, images: Tensor, size: int = 8) -> Iterator[Upper]:
    """In random orders, one after the other, without an end."""
    random = torch.Generator().manual_seed(0)
    while True:
        for chosen in torch.randperm(len(images), generator=random).split(size)[: len(images) // size]:
            yield problem.upper(images[chosen])


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Error against time, and the error after the last step against the batches of training."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    start = next(row["mse"] for row in rows if row["name"] == "encoder")
    for fixed, label, style in ((False, "Adam", "o-"), (True, "Adam, steps of 0.1", "o:")):
        adam = [row for row in rows if row["name"].startswith("Adam") and ("of" in row["name"]) == fixed]
        points = sorted((row["ms"], row["mse"]) for row in adam)
        if points:
            left.plot(*zip((0, start), *points, strict=True), style, color="0.35", label=label, markersize=4)
    for row, colour in zip((row for row in rows if "curve" in row), ("C1", "C2", "C0"), strict=False):
        steps = len(row["losses"]) - 1
        times = [row["ms"] * i / steps for i in range(steps + 1)]
        left.plot(times, row["losses"], ".-", color=colour, label=f"learned: {row['name']}")
        shown = [(point["batches"], point["losses"][-1]) for point in row["curve"]]
        right.plot(*zip(*shown, strict=True), ".-", color=colour, label=row["name"])
    left.set(xlabel="milliseconds of processor time an image", ylabel="mean square error", yscale="log")
    right.set(xlabel="batches of eight portraits in training", ylabel="error after the last step", yscale="log")
    for axis in (left, right):
        axis.grid(alpha=0.25, which="both")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", default="congress64-train")
    parser.add_argument("--test", default="congress64-val")
    parser.add_argument("--seconds", type=float, default=60, help="of processor time, to train each design")
    parser.add_argument("--held-out", type=int, default=32, metavar="N", help="pictures to measure on")
    parser.add_argument("--designs", nargs="*", default=["rates", "error", "both"])
    parser.add_argument(
        "--adam", nargs="*", default=["5", "20", "50", "5:0.1", "20:0.1", "50:0.1"], metavar="STEPS[:RATE]"
    )
    parser.add_argument("--draw", type=Path, metavar="PNG", help="draw what is in the output, and measure nothing")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "refinement.json")
    options = parser.parse_args()
    if options.draw:
        draw(json.loads(options.output.read_text()), options.draw)
        return
    torch.set_num_threads(1)
    keep_freed_memory()
    problem, lpips = Problem(), PerceptualLoss("alex")
    images = portraits(options.test, options.held_out)
    code, upper = problem.encode(images), problem.upper(images)
    rows: list[dict[str, object]] = []

    def report(name: str, made: Tensor, seconds: float, **more: object) -> None:
        with torch.no_grad():
            row = {"name": name, "mse": float((made - images).square().mean())}
            row |= {"lpips": float(lpips.each(made.clamp(-1, 1), images).mean()), "ms": 1000 * seconds / len(images)}
        rows.append({**row, **more})
        print(row, flush=True)
        options.output.write_text(json.dumps(rows, indent=1))

    with torch.no_grad():
        report("encoder", problem.generator.synthesis(*code.parts), 0.0)
    for asked in options.adam:
        steps, _, rate = asked.partition(":")
        start = time.process_time()
        refined = InversionCode.cat(
            [
                refine(
                    code[i : i + 16],
                    problem.generator,
                    images[i : i + 16],
                    int(steps),
                    rate=float(rate) if rate else None,
                )
                for i in range(0, len(code), 16)
            ]
        )
        took = time.process_time() - start
        with torch.no_grad():
            report(
                f"Adam, {steps} steps" + (f" of {rate}" if rate else ""),
                problem.generator.synthesis(*refined.parts),
                took,
            )
    size = float(upper.below.square().mean().sqrt())
    train = portraits(options.train, 10_000) if options.designs else images
    for design in options.designs:
        torch.manual_seed(0)
        network = Steps(design, size, 12 if design == "error" else T).to(memory_format=torch.channels_last)
        curve = teach(problem, network, batches(problem, train), options.seconds, upper.map(lambda x: x[:16]))
        start = time.process_time()
        features, losses = follow(problem, network, upper)
        took = time.process_time() - start
        with torch.no_grad():
            report(design, problem.synthesize(upper, features), took, losses=losses, curve=curve)


if __name__ == "__main__":
    main()
