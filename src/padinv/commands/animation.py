"""Frames to a moving picture: GIF by Pillow, MP4 by FFmpeg."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from padinv.exceptions import MissingPackageError

Frames = Iterator[NDArray[np.uint8]]


def enlarged(frame: NDArray[np.uint8], least: int = 256) -> NDArray[np.uint8]:
    """A frame as so many times its size as players and chats need to show it well, by Pillow's Lanczos filter.

    Args:
        frame: (H, W, 3).
        least: pixels of the shorter side, in the end.

    >>> enlarged(np.zeros((64, 96, 3), np.uint8)).shape, enlarged(np.zeros((300, 300, 3), np.uint8)).shape
    ((256, 384, 3), (300, 300, 3))
    """
    height, width = frame.shape[:2]
    times = -(-least // min(height, width))
    if times <= 1:
        return frame
    return np.asarray(Image.fromarray(frame).resize((times * width, times * height), Image.Resampling.LANCZOS))


def write_gif(frames: Frames, path: Path, fps: float = 20.0) -> None:
    """Writes an endless GIF.

    Args:
        frames: (H, W, 3) uint8 each, consumed one at a time.
        path: the file.
        fps: frames a second; a GIF keeps hundredths of a second for each.
    """
    images = (Image.fromarray(frame) for frame in frames)
    first = next(images)
    first.save(path, "GIF", save_all=True, append_images=images, duration=round(1000 / fps), loop=0)


def write_mp4(frames: Frames, path: Path, fps: float = 20.0) -> None:
    """Writes H.264 that every player and browser takes.

    Args:
        frames: (H, W, 3) uint8 each, H and W even, consumed one at a time.
        path: the file.
        fps: frames a second.
    """
    from imageio_ffmpeg import write_frames

    first = next(frames)
    height, width = first.shape[:2]
    writer = write_frames(str(path), (width, height), fps=fps, codec="libx264", quality=8, macro_block_size=2)
    writer.send(None)  # its first step starts FFmpeg
    for frame in chain([first], frames):
        writer.send(np.ascontiguousarray(frame))
    writer.close()


WRITERS: dict[str, Callable[[Frames, Path, float], None]] = {"gif": write_gif, "mp4": write_mp4}
"""Format → what writes it."""


def check_format(kind: str) -> None:
    """Raises MissingPackageError if a format of :data:`WRITERS` cannot be written here: better before the work."""
    if kind == "mp4" and find_spec("imageio_ffmpeg") is None:
        raise MissingPackageError('MP4 needs imageio-ffmpeg: pip install "padinv[video]", or use --format gif.')
