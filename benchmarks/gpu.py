"""Is padinv right on this GPU, how fast is it, why not faster, and what fits? One script of at most nine minutes.

python benchmarks/gpu.py [PART …] [--device cuda] [--minutes 9] [--quick]

Each part runs in a process of its own, within its own time limit; a part that fails or runs out of time leaves the
others standing, and what it had measured. The table in benchmarks/results/gpu.md is written anew after each of them.
``--device cpu --quick`` tries the script itself, on small networks, in a few minutes.

Rates are images a second in bfloat16, channels last, data in memory, at the batch that gives the best rate: the batch
is doubled until the rate rises by less than 3 %, memory ends, or the part's time does. Two ceilings are measured in the
same run: a bfloat16 product of two 8192×8192 matrices, and a copy within the device. What an H100 must reach is known;
of another card the same share of its ceiling is asked. A row that misses its target by more than a fifth is profiled:
the shares of its time that go to products (convolutions among them), to kernels bound by memory, and to waiting for
launches.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, Literal

import torch
from measuring import RESULTS, machine, table
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

Row = dict[str, Any]
Rows = list[Row]
Step = Callable[[], object]

H100 = {"product": 790.0, "copy": 3.0}
"""Ceilings of the card that targets are given for: TFLOP/s of the product, TB/s of the copy, read and written."""

TARGETS: dict[str, tuple[float, float, str]] = {
    "encoder 256 px": (1400, 2000, "product"),
    "generator 256 px": (2500, 3500, "copy"),
    "generator 1024 px": (700, 1000, "copy"),
    "encode and generate 256 px": (900, 1150, "product"),
    "E step 256 px": (250, 350, "product"),
    "E step 256 px, generator 1024 px": (200, 280, "copy"),
    "GAN training 64 px": (300, 450, "copy"),
    "GAN training 256 px, half width": (160, 200, "copy"),
    "GAN training 1024 px": (22, 26, "copy"),
    "photograph 64 px, batch 1": (250, 667, "copy"),  # 4 and 1.5 ms
}
"""Images a second that an H100 must reach, those to aim at, and the ceiling that another card's are scaled by."""


@dataclass
class Machine:
    """Where and how a part measures: the device, whether networks are small, and until when (``time.monotonic()``)."""

    device: torch.device
    quick: bool
    until: float

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, step: Step, runs: int = 3, least: float = 0.3) -> float:
        """Mean seconds of a step, over some runs that take long enough to be measured, after one to warm up."""
        step()
        self.synchronize()
        start, done = time.perf_counter(), 0
        while done < runs or (time.perf_counter() - start < least and done < 1000):
            step()
            done += 1
            if done % runs == 0:  # launches are asynchronous: without it the clock would see none of the work
                self.synchronize()
        self.synchronize()
        return (time.perf_counter() - start) / done

    @contextmanager
    def half(self) -> Iterator[None]:
        with torch.autocast(self.device.type, torch.bfloat16):
            yield

    def free(self) -> None:
        """Frees the memory of what is not used any more, and forgets the peak. Compiled networks are cycles."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.peak()

    def peak(self) -> float:
        """GiB that tensors have taken at most since the last call, 0 on a CPU."""
        if self.device.type != "cuda":
            return 0.0
        peak = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
        return peak


# Networks -------------------------------------------------------------------------------------------------------------


def networks(on: Machine, resolution: int, published_encoder: bool = True) -> tuple[Any, Any]:
    """The published encoder of 256 px and a generator with random weights; tiny ones when quick."""
    from padinv import Generator, PadInvEncoder

    torch.manual_seed(0)
    if on.quick:
        channels = {4 * 2**i: 16 for i in range(resolution.bit_length() - 2) if 4 * 2**i <= resolution}
        generator = Generator(resolution, channels=channels)
        encoder = PadInvEncoder(generator.code_shape, resolution=64, depth=18, width=8, fpn_channels=16)
    else:
        generator = Generator(resolution)
        encoder = PadInvEncoder(generator.code_shape) if published_encoder else None  # type: ignore[assignment]
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):  # at their initial strength of zero the noises would cost nothing
            torch.nn.init.constant_(parameter, 0.1)
    return encoder, generator


def inverter(on: Machine, resolution: int, compile: bool) -> Any:
    from padinv import Inverter

    encoder, generator = networks(on, resolution)
    return Inverter(
        encoder, generator, device=on.device, precision="bf16", batch_size=4096, compile=compile, keep_memory=False
    )


def images_for(on: Machine, encoder: Any, batch: int) -> Tensor:
    size = encoder.resolution
    images = torch.rand(batch, 3, size, size, device=on.device) * 2 - 1
    return images.contiguous(memory_format=torch.channels_last)


def encoding(on: Machine, batch: int, compile: bool) -> Step:
    one = inverter(on, 64 if on.quick else 256, compile)
    return partial(one.encode, images_for(on, one.encoder, batch))


def generating(on: Machine, batch: int, compile: bool, resolution: int) -> Step:
    one = inverter(on, 64 if on.quick else resolution, compile)
    return partial(one.reconstruct, one.encode(images_for(on, one.encoder, 1)).expand(batch))


def inverting(on: Machine, batch: int, compile: bool) -> Step:
    one = inverter(on, 64 if on.quick else 256, compile)
    images = images_for(on, one.encoder, batch)
    return lambda: one.reconstruct(one.encode(images))


def quiet_trainer(on: Machine, **options: Any) -> Any:
    from pytorch_lightning import Trainer

    return Trainer(
        accelerator="gpu" if on.device.type == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed",
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def encoder_step(
    on: Machine, batch: int, compile: bool, resolution: int, recomputed: bool | Literal["cheap"] = False
) -> Step:
    """E's part of a training step: encoder, generator, pixel loss, LPIPS with AlexNet, backward, fused Adam."""
    from padinv import PadInvModule

    encoder, generator = networks(on, 64 if on.quick else resolution)
    module = PadInvModule(
        generator,
        encoder=lambda _: encoder,
        channels_last=True,
        compile=compile,
        checkpoint_activations=recomputed,
        sync_batchnorm=False,
    )
    module.trainer = quiet_trainer(on)  # which setup asks
    module.setup("fit")
    module.to(on.device)
    optimizer = torch.optim.Adam(module.encoder.parameters(), 1e-4, fused=True)
    images = images_for(on, encoder, batch)

    def step() -> None:
        with on.half():
            code = module.encoder(images)
            terms = module.encoder_losses(code, module.reconstruct(code), images)
            loss = torch.stack([module.lambdas[name] * term.float() for name, term in terms.items()]).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def photograph(on: Machine, batch: int, compile: bool) -> Step:
    """The bundled model on one photograph of 64 px; "compiled" replays encoder and generator as one CUDA graph."""
    from padinv import Inverter

    one = Inverter.from_pretrained("congress64", device=on.device, precision="bf16", keep_memory=False)
    images = images_for(on, one.encoder, batch)

    def step() -> None:  # without the checks that wait for the device
        one._pair.synthesize(*one._pair.encode(images).parts)

    if compile and on.device.type == "cuda":
        with torch.inference_mode(), on.half():
            for _ in range(3):
                step()
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()

        def replay(kept: object = (images, one)) -> None:  # the graph reads images and weights where they lie
            graph.replay()

        return replay

    def eager() -> None:
        with torch.inference_mode(), on.half():
            step()

    return eager


# Parts ----------------------------------------------------------------------------------------------------------------


def ceilings(on: Machine) -> Rows:
    size, numbers = (512, 2**22) if on.quick else (8192, 2**30)
    a, b = (torch.randn(size, size, device=on.device, dtype=torch.bfloat16) for _ in range(2))
    source = torch.empty(numbers, device=on.device, dtype=torch.uint8).random_()
    target = torch.empty_like(source)
    product = 2 * size**3 / on.seconds(lambda: a @ b, 10) / 1e12
    copy = 2 * numbers / on.seconds(lambda: target.copy_(source), 10) / 1e12
    return [{"measure": "ceilings", "product": product, "copy": copy}]


def correct(on: Machine) -> Rows:
    """The tests marked gpu: conformance, bundled model, refinement, determinism, training, export."""
    environment = {**os.environ} if on.device.type == "cuda" else {**os.environ, "PADINV_TEST_GPU": str(on.device)}
    command = [sys.executable, "-m", "pytest", "-v", "-m", "gpu and not slow", "-p", "no:cacheprovider", "tests"]
    root = Path(__file__).parents[1]
    with tempfile.TemporaryFile("w+") as output:
        late = ""
        try:
            limit = on.until - time.monotonic()
            subprocess.run(command, cwd=root, env=environment, stdout=output, stderr=output, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            late = f"stopped after {limit:.0f} s; "
        output.seek(0)
        lines = output.read().strip().splitlines() or ["pytest printed nothing"]
    passed = sum(" PASSED " in line for line in lines)
    failed = [line.split()[0] for line in lines if re.search(" (FAILED|ERROR) ", line)]
    found = f"{late}{passed} passed" if late else lines[-1].strip("= ")
    return [{"measure": "tests marked gpu", "value": "; ".join([found, *failed])}]


def precision(on: Machine) -> Rows:
    """How far TF32 and bfloat16 move the published networks' outputs, relative to the largest value in float32."""
    encoder, generator = (network.to(on.device).eval() for network in networks(on, 64 if on.quick else 256))
    images = images_for(on, encoder, 2)

    def outputs() -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            code = encoder(images)
            return code.w_plus.float(), generator.synthesis(*code.parts).float()

    def switch(tf32: bool) -> None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32

    switch(False)
    exact, rows = outputs(), []
    for name in ("float32 again", "TF32", "bfloat16", "float16"):
        switch(name == "TF32")
        half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(name)
        with torch.autocast(on.device.type, half or torch.bfloat16, enabled=half is not None):
            other = outputs()
        errors = [float((a - b).abs().max() / a.abs().max()) for a, b in zip(exact, other, strict=True)]
        rows.append({"measure": f"precision, {name}", "value": "latents {:.1e}, image {:.1e}".format(*errors)})
    return rows


def best_rate(
    on: Machine, name: str, make: Callable[[int, bool], Step], batches: tuple[int, int], compiling: float = 45
) -> Iterator[Row]:
    """Images a second at the best batch, plain and, if so many seconds are left, compiled; why, where that is slow."""
    best: Row = {}
    for compile in (False, True):
        if compile and (on.quick or time.monotonic() > on.until - compiling):
            continue
        rate, batch, peak = 0.0, 0, 0.0
        size = best.get("batch", batches[0])  # compiling for each batch would take all the time
        while size <= batches[1] and time.monotonic() < on.until:
            try:
                on.free()
                now = size / on.seconds(make(size, compile))
            except torch.OutOfMemoryError:
                break
            if now <= rate * 1.03:
                break
            rate, batch, peak, size = now, size, on.peak(), size * (10**6 if compile else 2)
        if batch:
            how = "compiled" if compile else "plain"
            row = {"measure": name, "variant": how, "batch": batch, "rate": rate, "peak GiB": peak}
            yield row
            best = max(best or row, row, key=lambda each: each["rate"])
        on.free()
    if best and misses(best):
        why = explain(on, make(best["batch"], best["variant"] == "compiled"))
        yield {"measure": name, "variant": best["variant"], "why": why}


def misses(row: Mapping[str, Any]) -> bool:
    """Whether a rate is more than a fifth below what is aimed at."""
    return bool(row["rate"] < 0.8 * TARGETS[row["measure"]][1])


PRODUCTS = re.compile(r"gemm|conv|cudnn|xmma|cutlass|wgrad|dgrad|fprop|winograd|mm_|nvjet", re.IGNORECASE)


def profiler_for(on: Machine) -> profile:
    return profile(activities=[ProfilerActivity.CUDA if on.device.type == "cuda" else ProfilerActivity.CPU])


def explain(on: Machine, step: Step) -> str:
    """Where the time of a step goes."""
    wall = on.seconds(step, 1, 0)
    with profiler_for(on) as profiler:
        step()
        on.synchronize()
    return shares(profiler, wall)


def shares(profiler: profile, wall: float) -> str:
    """Shares of so many seconds: products, other kernels, nothing on the device; and the five longest kernels."""
    times: dict[str, float] = {}
    for event in profiler.key_averages():
        taken = getattr(event, "self_device_time_total", 0) or event.self_cpu_time_total
        times[event.key] = times.get(event.key, 0.0) + taken / 1e6
    products = sum(taken for name, taken in times.items() if PRODUCTS.search(name))
    busy = sum(times.values())
    longest = sorted(times, key=lambda name: -times[name])[:5]
    parts = {"products": products, "other kernels": busy - products, "launches and waiting": max(0.0, wall - busy)}
    share = ", ".join(f"{name} {taken / wall:.0%}" for name, taken in parts.items())
    return share + "; " + ", ".join(f"{name[:60]} {times[name] / wall:.0%}" for name in longest)


class Feed(torch.utils.data.Dataset[dict[str, Any]]):
    """One batch on the device, again and again."""

    def __init__(self, images: Tensor, steps: int) -> None:
        self.batch, self.steps = {"image": images, "name": [str(i) for i in range(len(images))]}, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.batch


def gan_training(on: Machine, name: str, resolution: int, width: float, batches: tuple[int, int]) -> Iterator[Row]:
    """Whole steps under the Trainer, both regularizations included: R1 every 16, path lengths every 4 steps."""
    from pytorch_lightning import Callback

    from padinv import Discriminator, Generator
    from padinv.gan import AdaptiveAugmentation, StyleGAN2Module

    full = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}
    if on.quick:
        resolution, width = 16, 1 / 32
    channels = {r: max(8, int(c * width) if r >= 64 or on.quick else c) for r, c in full.items() if r <= resolution}

    class Clock(Callback):
        """Times rounds of 16 steps for four seconds, after one to warm up; profiles one more where they are slow."""

        start, rate, rounds, why = 0.0, 0.0, 0, ""
        profiler: profile | None = None

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, i: int) -> None:
            if (i + 1) % 16:
                return
            on.synchronize()
            now, images = time.perf_counter(), 16 * len(batch["image"])
            if self.profiler is not None:
                self.profiler.stop()
                self.why, trainer.should_stop = shares(self.profiler, images / self.rate), True
                return
            self.start = self.start or now
            if now > self.start:
                self.rounds += 1
                self.rate = self.rounds * images / (now - self.start)
                if now - self.start > 4 or on.quick:
                    if misses({"measure": name, "rate": self.rate}):
                        self.profiler = profiler_for(on)
                        self.profiler.start()
                    else:
                        trainer.should_stop = True

    batch = batches[0]
    while batch <= batches[1] and time.monotonic() < on.until:
        torch.manual_seed(0)
        module = StyleGAN2Module(
            Generator(resolution, channels=channels),
            Discriminator(resolution, channels=channels),
            augmentation=AdaptiveAugmentation(),
            channels_last=True,
        )
        images = torch.rand(batch, 3, resolution, resolution, device=on.device) * 2 - 1
        loader = torch.utils.data.DataLoader(Feed(images, 48 if on.quick else 600), batch_size=None)
        clock = Clock()
        trainer = quiet_trainer(on, max_epochs=1, callbacks=[clock])
        try:
            on.free()
            trainer.fit(module, loader)
        except torch.OutOfMemoryError:
            break
        row = {"measure": name, "variant": "plain", "batch": batch, "rate": clock.rate, "peak GiB": on.peak()}
        yield row | ({"why": clock.why} if clock.why else {})
        batch *= 2


def memory(on: Machine) -> Iterator[Row]:
    """The largest batch of the E step, and what the ffhq preset takes at batch 8 (generator of 1024 px)."""
    for recomputed in (False, True):
        how = "recomputed" if recomputed else "kept"
        largest, size = 0, 8
        while size <= (16 if on.quick else 4096) and time.monotonic() < on.until:
            try:
                on.free()
                step = encoder_step(on, size, False, 1024, recomputed)
                step()
                on.synchronize()
            except torch.OutOfMemoryError:
                break
            if size == 8:
                step()
                yield {"measure": f"ffhq, batch 8, activations {how}", "value": f"{on.peak():.1f} GiB"}
            largest, size = size, size * 2
            del step
        yield {"measure": f"largest batch of powers of two, activations {how}", "value": str(largest)}


def loading(on: Machine) -> Rows:
    """Whether one training loader feeds the E step: JPEG files of 1024 px, decoded and resized to 256 px."""
    from data_loading import write_photographs

    from padinv import ImageDataModule

    count = 64 if on.quick else 512
    workers = max(1, min(14, (os.cpu_count() or 2) - 2))
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder), 256 if on.quick else 1024, min(count, 64))
        data = ImageDataModule(train=folder, resolution=256, batch_size=16, num_workers=workers)
        data.setup("fit")
        seen, start = 0, 0.0
        for batch in (batch for _ in repeat(None, 64) for batch in data.train_dataloader()):
            start = start or time.perf_counter()  # workers have started by the first batch
            seen += len(batch["image"])
            if seen >= count or time.monotonic() > on.until:
                break
        rate = (seen - 16) / (time.perf_counter() - start)
    return [{"measure": "decoding 1024 px to 256 px", "value": f"{rate:.0f} images/s with {workers} workers"}]


Part = Callable[[Machine], Iterable[Row]]


def _rate(name: str, make: Callable[[Machine, int, bool], Step], first: int, last: int) -> Part:
    def part(on: Machine) -> Iterable[Row]:
        batches = (first if first == 1 else 4, min(8, last)) if on.quick else (first, last)
        # A graph is captured at once, and cannot have another batch.
        return best_rate(on, name, lambda batch, compile: make(on, batch, compile), batches, 5 if last == 1 else 45)

    return part


def _gan(name: str, resolution: int, width: float, first: int, last: int) -> Part:
    return lambda on: gan_training(on, name, resolution, width, (4, 4) if on.quick else (first, last))


PARTS: dict[str, tuple[float, Part]] = {
    "ceilings": (30, ceilings),
    "correct": (150, correct),
    "photograph": (40, _rate("photograph 64 px, batch 1", photograph, 1, 1)),
    "E": (120, _rate("E step 256 px", lambda on, b, c: encoder_step(on, b, c, 256), 32, 512)),
    "E1024": (130, _rate("E step 256 px, generator 1024 px", lambda on, b, c: encoder_step(on, b, c, 1024), 32, 128)),
    "encoder": (50, _rate("encoder 256 px", encoding, 16, 1024)),
    "generator": (50, _rate("generator 256 px", lambda on, b, c: generating(on, b, c, 256), 16, 1024)),
    "generator1024": (110, _rate("generator 1024 px", lambda on, b, c: generating(on, b, c, 1024), 8, 128)),
    "inversion": (50, _rate("encode and generate 256 px", inverting, 16, 1024)),
    "gan64": (40, _gan("GAN training 64 px", 64, 0.5, 32, 128)),
    "gan256": (40, _gan("GAN training 256 px, half width", 256, 0.5, 16, 64)),
    "gan1024": (60, _gan("GAN training 1024 px", 1024, 1.0, 4, 16)),
    "memory": (60, memory),
    "precision": (30, precision),
    "loading": (40, loading),
}
"""What can be chosen by name: seconds each may take, and what measures it. The most important come first.

Only E, E1024 and generator1024 have the time to compile. All limits together are more than nine minutes, but most parts
end before theirs.
"""


# The script ----------------------------------------------------------------------------------------------------------


ROW = '{"measure": '
"""How a line begins by which a part's process tells what it has measured."""


def run(part: str, options: argparse.Namespace, limit: float) -> Rows:
    """The rows of a part, measured by a process of its own; the last says why there are no more, if it did not end."""
    command = [sys.executable, __file__, "--only", part, "--device", options.device, "--limit", str(limit)]
    command += ["--quick"] * options.quick
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    late = False
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        late = True
    finally:
        with suppress(ProcessLookupError):  # with all that it has started, which would take the others' time
            os.killpg(process.pid, signal.SIGKILL)
    if late:
        output, errors = process.communicate()
    rows: Rows = [json.loads(line) for line in output.splitlines() if line.startswith(ROW)]
    if late:
        rows.append({"measure": part, "value": f"not done within {limit:.0f} s"})
    elif process.returncode:
        reason = (errors.strip().splitlines() or ["no word"])[-1]
        rows.append({"measure": part, "value": f"failed: {reason[:200]}"})
    return rows


def card(device: str) -> str:
    """The device's name, driver, and the software."""
    if not device.startswith("cuda"):
        return "{cpu}, {cores} cores, torch {torch}".format_map(machine())
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    return f"{torch.cuda.get_device_name()}, driver {driver}, CUDA {torch.version.cuda}, torch {torch.__version__}"


def report(rows: Rows) -> str:
    """All rows as two tables: rates beside their targets, and everything else."""
    measured: Mapping[str, float] = next((row for row in rows if row["measure"] == "ceilings" and "product" in row), {})
    text = ""
    if measured:
        text += "Ceilings: {product:.0f} TFLOP/s (bfloat16 product), {copy:.2f} TB/s (copy).\n\n".format_map(measured)
    rates, others, why = [], [], []
    for row in rows:
        if "rate" in row:
            must, aim, ceiling = TARGETS[row["measure"]]
            share = measured[ceiling] / H100[ceiling] if measured else 1.0
            rates.append(
                {
                    "measure": row["measure"],
                    "variant": row["variant"],
                    "batch": row["batch"],
                    "images/s": f"{row['rate']:.0f}",
                    "ms a step": f"{1e3 * row['batch'] / row['rate']:.2f}",
                    "must": f"{must * share:.0f}",
                    "aim": f"{aim * share:.0f}",
                    "peak GiB": f"{row['peak GiB']:.1f}",
                }
            )
        elif "value" in row:
            others.append({"measure": row["measure"], "found": row["value"].replace("|", "/")})
        if "why" in row:
            why.append(f"- {row['measure']}, {row['variant']}: {row['why']}")
    text += "\n\n".join(table(part) for part in (rates, others) if part)
    return text + ("\n\nWhere the time goes:\n\n" + "\n".join(why) if why else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=9, help="no part starts when these are over")
    parser.add_argument("--quick", action="store_true", help="small networks: tries the script, and writes nothing")
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu.md")
    parser.add_argument("--only", help=argparse.SUPPRESS)  # one part, in this process
    parser.add_argument("--limit", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        until = time.monotonic() + 0.8 * options.limit  # what has begun by then may end
        for row in PARTS[options.only][1](Machine(torch.device(options.device), options.quick, until)):
            print("\n" + json.dumps(row), flush=True)  # now: what comes next may fail
        return
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"there is no part {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device; --device cpu --quick tries the script itself")
    end = time.monotonic() + 60 * options.minutes
    rows: Rows = []
    about = card(options.device)
    for part in options.parts or PARTS:
        left = end - time.monotonic()
        limit = PARTS[part][0] * (10 if options.device == "cpu" else 1)
        new = run(part, options, min(limit, left)) if left > 5 else [{"measure": part, "value": "no time was left"}]
        rows += new
        print(f"{part}:", *new, sep="\n  ", flush=True)
        if not options.quick:
            words = " ".join(["python benchmarks/gpu.py", *options.parts])
            options.output.parent.mkdir(exist_ok=True)
            options.output.write_text(f"`{words}`\n\n{about}\n\n{report(rows)}\n")
    print(f"\n{about}\n\n{report(rows)}")


if __name__ == "__main__":
    main()
