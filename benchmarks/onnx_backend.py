"""How fast onnxruntime is, next to torch as it is, both behind the Inverter.

python benchmarks/onnx_backend.py [--sizes 64 256] [--threads 2] [--batches 1 4] [--rounds 5]

64 px: the bundled generator, and an encoder of its size. 256 px: the published networks, with random weights. Outputs
are compared first. Then both take turns in one process, with the same number of threads, and the same allocator for
torch (onnxruntime has its own). The ratio is the median of torch's time by onnxruntime's of neighbouring turns: above 1
onnxruntime is faster.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from padinv import Generator, Inverter, PadInvEncoder, load_generator

TOLERANCE = 1e-4  # of the largest value


def networks(size: int) -> tuple[PadInvEncoder, Generator]:
    torch.manual_seed(0)
    if size == 64:
        generator = load_generator("congress64")
        return PadInvEncoder(generator.code_shape, resolution=64, depth=18, width=32, w_avg=generator.w_avg), generator
    generator = Generator(size)
    return PadInvEncoder(generator.code_shape, resolution=min(size, 256)), generator


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def take_turns(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Medians of both, and of their ratio."""
    turns = [(timed(first), timed(second)) for _ in range(rounds + 1)][1:]
    one, other = (statistics.median(times) for times in zip(*turns, strict=True))
    return one, other, statistics.median(a / b for a, b in turns)


def compare(with_torch: Inverter, with_onnx: Inverter, batch: int, rounds: int) -> None:
    images = torch.rand(batch, 3, with_torch.resolution, with_torch.resolution) * 2 - 1
    code = with_torch.encode(images)
    for expected, actual in zip(code.tensors(), with_onnx.encode(images).tensors(), strict=True):
        assert (expected - actual).abs().max() < TOLERANCE * expected.abs().max()
    made = with_torch.reconstruct(code)
    assert (made - with_onnx.reconstruct(code)).abs().max() < TOLERANCE * made.abs().max()
    for name, call in (("encoder", lambda i: i.encode(images)), ("generator", lambda i: i.reconstruct(code))):
        eager, onnx, ratio = take_turns(lambda: call(with_torch), lambda: call(with_onnx), rounds)  # noqa: B023
        print(f"{name:<10} {batch:>5} {eager * 1e3:>9.1f} ms {onnx * 1e3:>9.1f} ms {ratio:>7.2f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for size in options.sizes:
        print(f"{size} px, {options.threads} threads")
        print(f"{'network':<10} {'batch':>5} {'torch':>12} {'onnxruntime':>12} {'ratio':>7}")
        pair = networks(size)
        with tempfile.TemporaryDirectory() as folder:
            with_onnx = Inverter(*pair, device="cpu", backend="onnxruntime", exported=Path(folder))
        with_torch = Inverter(*pair, device="cpu")
        for batch in options.batches:
            compare(with_torch, with_onnx, batch, options.rounds)


if __name__ == "__main__":
    main()
