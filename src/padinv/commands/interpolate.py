"""``padinv interpolate PHOTO PHOTO…``: a moving picture from one code to the next, a GIF by Pillow or MP4 by FFmpeg."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from padinv.commands.photographs import Invert
from padinv.exceptions import DataError, MissingPackageError, printable
from padinv.options import number, option, whole_number
from padinv.typing import Easing

if TYPE_CHECKING:
    from padinv.bulk.running import Report
    from padinv.bulk.task import BulkOptions
    from padinv.codes import InversionCode
    from padinv.inversion import Inverter

Frames: TypeAlias = Iterator[NDArray[np.uint8]]
"""Pictures (H, W, 3), each made when it is asked for."""


TOO_FEW = "Two photographs or more are needed to go from one to the next, but there {}."


def enlarged(frame: NDArray[np.uint8], least: int = 256) -> NDArray[np.uint8]:
    """Enlarges a frame (H, W, 3) by a whole factor, so that its shorter side has at least so many pixels.

    Players and chats enlarge small frames badly; this takes Pillow's Lanczos filter.

    >>> enlarged(np.zeros((64, 96, 3), np.uint8)).shape, enlarged(np.zeros((300, 300, 3), np.uint8)).shape
    ((256, 384, 3), (300, 300, 3))
    """
    height, width = frame.shape[:2]
    times = -(-least // min(height, width))
    if times <= 1:
        return frame
    return np.asarray(Image.fromarray(frame).resize((times * width, times * height), Image.Resampling.LANCZOS))


def write_gif(frames: Frames, path: Path, fps: float = 20.0) -> None:
    """Writes frames as an endless GIF, which stores their duration in hundredths of a second."""
    images = (Image.fromarray(frame) for frame in frames)
    first = next(images)
    first.save(path, "GIF", save_all=True, append_images=images, duration=round(1000 / fps), loop=0)


def write_mp4(frames: Frames, path: Path, fps: float = 20.0) -> None:
    """Writes frames, whose height and width are even, as H.264 that every player and browser takes."""
    from imageio_ffmpeg import write_frames

    first = next(frames)
    height, width = first.shape[:2]
    writer = write_frames(str(path), (width, height), fps=fps, codec="libx264", quality=8, macro_block_size=2)
    writer.send(None)  # the first step of the generator starts FFmpeg
    for frame in chain([first], frames):
        writer.send(np.ascontiguousarray(frame))
    writer.close()


WRITERS: dict[str, Callable[[Frames, Path, float], None]] = {"gif": write_gif, "mp4": write_mp4}
"""Format → the function that writes it."""


def check_format(kind: str) -> None:
    """Raises MissingPackageError, before the work, if a format of :data:`WRITERS` cannot be written here."""
    if kind == "mp4" and find_spec("imageio_ffmpeg") is None:
        raise MissingPackageError('MP4 needs imageio-ffmpeg: pip install "padinv[video]", or use --format gif.')


@dataclass
class Interpolate(Invert):
    """Make a moving picture that goes from one photograph to the next.

    Args:
        frames: number of frames from one photograph to the next.
        fps: frames a second.
        loop: go back to the first photograph at the end.
    """

    name: ClassVar = "invert"  # so that results of either count as done
    settings: ClassVar[dict[str, Any]] = {}  # codes stay as they are
    format: str = option("gif", choices=tuple(WRITERS), group="moving picture")
    frames: int = option(30, whole_number(2, 10_000), metavar="N", group="moving picture")
    fps: float = option(20.0, number(1, 100), metavar="N", group="moving picture")
    easing: Easing = option("smooth", choices=get_args(Easing), group="moving picture")
    loop: bool = option(False, group="moving picture")

    def begin(self, photographs: Sequence[str], options: BulkOptions) -> None:
        """Checks that there are several photographs, and that the format can be written."""
        from padinv.sources.finding import find_photographs, is_code

        check_format(self.format)
        source = find_photographs(photographs, codes=True)
        if len(source) == 1 and not is_code(source.name(0)) and options.faces != "all":
            raise DataError(TOO_FEW.format("is one"))

    def finish(self, report: Report) -> None:
        """Writes the moving picture."""
        names = report.names_as_given
        if len(names) < 2:
            raise DataError(TOO_FEW.format(f"are {len(names)}"))
        codes = [report.inverter.load(report.folder.file("codes", name)).code for name in names]
        bare = [name for name, code in zip(names, codes, strict=True) if code.padding is None]
        if bare and len(bare) < len(codes):
            raise DataError(f"{bare[0]} has latents alone, and others have padding, too: there is no way between them.")
        codes += codes[: int(self.loop)]
        pictures = map(enlarged, frames(report.inverter, codes, self.frames, self.easing))
        self.path = report.folder.path / f"interpolation.{self.format}"
        report.folder.write(self.path, lambda path: WRITERS[self.format](pictures, path, self.fps))
        print(printable(str(self.path)))

    def outcome(self, report: Report) -> dict[str, Any]:
        """The path of the moving picture."""
        return {"command": "interpolate", "moving_picture": str(self.path)}


def frames(inverter: Inverter, codes: Sequence[InversionCode], count: int, easing: Easing) -> Frames:
    """Makes the frames from each code to the next. Where two ways meet, there is one frame.

    Args:
        inverter: holds the generator.
        codes: of one image each, two or more.
        count: frames for each way, both ends included.
        easing: "linear" or "smooth".
    """
    from padinv.codes import InversionCode
    from padinv.editing import interpolate
    from padinv.images import to_array

    path = (
        code
        for i, (a, b) in enumerate(pairwise(codes))
        for code in islice(interpolate(a, b, count, easing), int(i > 0), None)
    )
    while batch := list(islice(path, inverter.batch_size)):
        images = inverter.reconstruct(InversionCode.cat(batch))
        yield from to_array(images)
