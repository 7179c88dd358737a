"""How fast onnxruntime is, next to torch.

python benchmarks/onnx_backend.py [--sizes 64 256] [--threads 2] [--batches 1 4] [--rounds 11]

64 px: the bundled generator, and an encoder of its size. 256 px: the published networks, with random weights. Outputs
are compared first. Then three take turns in one process, with the same number of threads: the network in eager torch
(channels-last), the Inverter, which folds it and has faster convolutions, and the Inverter with onnxruntime. Torch
keeps the memory that it frees (:mod:`padinv.cpu.memory`), onnxruntime has an allocator of its own. Ratios are medians
over neighbouring turns: above 1, onnxruntime is faster.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from measuring import table, write

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


def take_turns(calls: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each turn of each call."""
    turns = [[timed(call) for call in calls] for _ in range(rounds + 1)][1:]
    return [list(times) for times in zip(*turns, strict=True)]


def compare(with_torch: Inverter, with_onnx: Inverter, batch: int, rounds: int) -> Iterator[dict[str, str]]:
    images = torch.rand(batch, 3, with_torch.resolution, with_torch.resolution) * 2 - 1
    code = with_torch.encode(images)
    for expected, actual in zip(code.tensors(), with_onnx.encode(images).tensors(), strict=True):
        assert (expected - actual).abs().max() < TOLERANCE * expected.abs().max()
    made = with_torch.reconstruct(code)
    assert (made - with_onnx.reconstruct(code)).abs().max() < TOLERANCE * made.abs().max()
    laid_out = images.contiguous(memory_format=torch.channels_last)
    calls: dict[str, list[Callable[[], object]]] = {
        "encoder": [
            lambda: with_torch.encoder(laid_out),
            lambda: with_torch.encode(images),
            lambda: with_onnx.encode(images),
        ],
        "generator": [
            lambda: with_torch.generator.synthesis(*code.parts),
            lambda: with_torch.reconstruct(code),
            lambda: with_onnx.reconstruct(code),
        ],
    }
    for name, three in calls.items():
        with torch.inference_mode():
            eager, inverter, onnx = take_turns(three, rounds)
        milliseconds = [f"{statistics.median(times) * 1e3:.1f}" for times in (eager, inverter, onnx)]
        ratios = [statistics.median(a / b for a, b in zip(times, onnx, strict=True)) for times in (eager, inverter)]
        yield {
            "network": f"{name}, {with_torch.resolution} px, batch {batch}",
            **dict(zip(("eager, ms", "Inverter, ms", "onnxruntime, ms"), milliseconds, strict=True)),
            "times as fast as eager": f"{ratios[0]:.2f}",
            "times as fast as the Inverter": f"{ratios[1]:.2f}",
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for size in options.sizes:
        pair = networks(size)
        with tempfile.TemporaryDirectory() as folder:
            with_onnx = Inverter(*pair, device="cpu", backend="onnxruntime", exported=Path(folder))
        with_torch = Inverter(*pair, device="cpu")
        for batch in options.batches:
            for row in compare(with_torch, with_onnx, batch, options.rounds):
                rows.append(row)
                print(*row.values(), sep="  ", flush=True)
    write("onnx_backend", " ".join(["python benchmarks/onnx_backend.py", *sys.argv[1:]]), table(rows))


if __name__ == "__main__":
    main()
