"""Where the time of inference goes, by kind of operator: why a ratio is what it is.

python benchmarks/profiles.py [--rows "encoder 256 px, batch 1" …] [--threads 2]

The networks are those of utilisation.py. "Convolutions" are the libraries' own, with the rate that they reach;
"products" are the matrix products of Winograd's algorithm, "transforms" those to its domain and back, "Inverter,
direct" has that algorithm switched off. "ms" is the median of five runs without the profiler, the rest are means of
five with it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import RUNS, command_line, in_own_process, seconds, table, write
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from utilisation import code_for, make, published_generator, read_row

from padinv import PadInvEncoder
from padinv.cpu import keep_freed_memory, winograd
from padinv.export import Session, encoder_part, export_onnx, generator_part

ROWS = ("encoder 256 px, batch 1", "encoder 256 px, batch 4", "generator 256 px, batch 1", "generator 256 px, batch 4")
VARIANTS = ("Inverter, direct", "Inverter", "Inverter, bfloat16", "onnxruntime")

Profile = dict[str, float]
"""Milliseconds by kind and in "all", and "GFLOP" of the convolutions."""

KINDS = {
    "aten::mkldnn_convolution": "convolutions",
    "aten::_slow_conv2d_forward": "convolutions",
    "aten::bmm": "products",
    "aten::mm": "transforms",
    "padinv::winograd": "transforms",
    "aten::copy_": "copies",
    "aten::cat": "copies",
    "Conv": "convolutions",
    "ConvTranspose": "transposed convolutions",
    "ReorderInput": "copies",
    "ReorderOutput": "copies",
    "Slice": "copies",
    "Concat": "copies",
    "Transpose": "transforms",
    "FusedMatMul": "transforms",
}


def in_torch(row: str, variant: str) -> Profile:
    step = make(row, variant)
    if "direct" in variant:
        winograd.MINIMUM_TILES = sys.maxsize
    taken = seconds(step, warm_up=2)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(RUNS):
            step()
    times: Counter[str] = Counter()
    for event in profiler.key_averages():
        times[KINDS.get(event.key, "rest")] += event.self_cpu_time_total / RUNS / 1e3
    with FlopCounterMode(display=False) as counter:
        step()
    flops = counter.get_flop_counts()["Global"][torch.ops.aten.convolution]
    return {**times, "all": taken * 1e3, "GFLOP": flops / 1e9}


def in_onnxruntime(row: str) -> Profile:
    import onnxruntime

    what, size, batch = read_row(row)
    generator = published_generator(size)
    encoder = PadInvEncoder(generator.code_shape)
    images, code = torch.rand(batch, 3, 256, 256) * 2 - 1, code_for(generator, batch)
    inputs = {"images": images} if what == "encoder" else code.named_tensors()
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/{what}.onnx"
        export_onnx(encoder_part(encoder, generator) if what == "encoder" else generator_part(generator), file)
        plain = Session(file)
        taken = seconds(partial(plain, inputs), warm_up=2)
        options = plain.session.get_session_options()
        options.enable_profiling, options.profile_file_prefix = True, f"{folder}/profile"
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        for _ in range(RUNS):
            session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
        events = json.loads(Path(session.end_profiling()).read_text())
    times: Counter[str] = Counter()
    flops = 0.0
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        (_, weight), output = _shapes(event, "input_type_shape", 2), _shapes(event, "output_type_shape", 1)[0]
        kind = _kind(event["args"]["op_name"], weight, output)
        times[kind] += event["dur"] / RUNS / 1e3
        if kind == "convolutions":
            flops += 2 * torch.Size(output).numel() * torch.Size(weight[1:]).numel()
    return {**times, "all": taken * 1e3, "GFLOP": flops / RUNS / 1e9}


def _shapes(event: dict[str, Any], key: str, count: int) -> list[list[int]]:
    """The first shapes of an operator's inputs or outputs, [] for those that it has not."""
    shapes = [next(iter(shape.values())) for shape in event["args"][key]]
    return [*shapes, *[[]] * count][:count]


def _kind(operator: str, weight: list[int], output: list[int]) -> str:
    if operator == "Conv" and weight[2:] == [6, 6]:  # cuts tiles out and transforms them
        return "transforms"
    if operator == "MatMul" and output[:1] == [36]:
        return "products"
    return KINDS.get(operator, "rest")


def measure(row: str, variant: str, threads: int) -> Profile:
    torch.set_num_threads(threads)
    keep_freed_memory()
    torch.manual_seed(0)
    return in_onnxruntime(row) if variant == "onnxruntime" else in_torch(row, variant)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    options = parser.parse_args()
    if options.point is not None:
        print(json.dumps(measure(**options.point)))
        return
    lines: list[dict[str, Any]] = []
    for row in options.rows:
        for variant in VARIANTS:
            r = in_own_process(__file__, {"row": row, "variant": variant, "threads": options.threads})
            kinds = ("convolutions", "transposed convolutions", "products", "transforms", "copies", "rest")
            lines.append(
                {
                    "measure": row,
                    "variant": variant,
                    "ms": f"{r['all']:.0f}",
                    **{f"{kind}, ms": f"{r[kind]:.0f}" if kind in r else "" for kind in kinds},
                    "convolutions, GFLOP/s": f"{r['GFLOP'] / r['convolutions'] * 1e3:.0f}",
                    "other processes": f"{r['others']:.0%}",
                }
            )
            print(*lines[-1].values(), sep="  ", flush=True)
    if options.rows == list(ROWS):
        write("profiles", "python benchmarks/profiles.py", table(lines))


if __name__ == "__main__":
    main()
