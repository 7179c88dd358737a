"""Colour profiles in bytes, and what colours in them are by arithmetic."""

from __future__ import annotations

import struct

import numpy as np

WHITE = (0.3127, 0.3290)
PRIMARIES = {
    "sRGB": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    "Display P3": ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
    "AdobeRGB": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
}
D50 = (0.9642, 1.0, 0.8249)


def to_xyz(name: str) -> np.ndarray:
    """From linear RGB to XYZ under D65."""
    white, *colours = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in (WHITE, *PRIMARIES[name]))
    matrix = np.stack(colours, axis=1)
    return matrix * np.linalg.solve(matrix, white)


def srgb_curve(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clip(1e-9) ** (1 / 2.4) - 0.055)


def srgb_light(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def true_srgb(pixels: np.ndarray, name: str, exponent: float | None = None) -> np.ndarray:
    """What 8-bit numbers (…, 3) of a space are in sRGB, 0 to 255; without an exponent its curve is sRGB's."""
    values = pixels / 255
    light = srgb_light(values) if exponent is None else values**exponent
    return 255 * srgb_curve((light @ (np.linalg.inv(to_xyz("sRGB")) @ to_xyz(name)).T).clip(0, 1))


def _assemble(tags: dict[bytes, bytes], kind: bytes, space: bytes, between: bytes) -> bytes:
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + b"x\0",
        b"wtpt": _xyz(D50),
    } | tags
    table, body = struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        table += struct.pack(">4sII", tag, 132 + 12 * len(tags) + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4xI", 132 + 12 * len(tags) + len(body), 0x02100000) + kind + space + between
    head += bytes(12) + b"acsp" + bytes(28) + _xyz(D50)[8:]
    return head + bytes(128 - len(head)) + table + body


def _xyz(values: object) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def _curve(exponent: float | None) -> bytes:
    if exponent is not None:
        return b"curv" + struct.pack(">4xIH", 1, round(exponent * 256))
    points = np.round(srgb_light(np.linspace(0, 1, 1024)) * 65535).astype(">u2")
    return b"curv" + struct.pack(">4xI", 1024) + points.tobytes()


def rgb_profile(name: str, exponent: float | None = None) -> bytes:
    """Of a screen: three primaries and one curve, sRGB's if there is no exponent."""
    white = to_xyz(name).sum(axis=1)
    cones = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    adapted = np.linalg.inv(cones) @ np.diag(cones @ D50 / (cones @ white)) @ cones @ to_xyz(name)
    tags = {b"rXYZ": _xyz(adapted[:, 0]), b"gXYZ": _xyz(adapted[:, 1]), b"bXYZ": _xyz(adapted[:, 2])}
    return _assemble(tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(exponent)), b"mntr", b"RGB ", b"XYZ ")


def grey_profile(exponent: float) -> bytes:
    return _assemble({b"kTRC": _curve(exponent)}, b"mntr", b"GRAY", b"XYZ ")


def cmyk_profile() -> bytes:
    """Of a press whose black ink alone darkens, and which has no way back: L* = 100 · (1 - K), no colour."""
    identity = np.arange(256, dtype=np.uint8).tobytes()
    lightness = [255 * (1 - (i & 1)) for i in range(16)]  # K changes fastest
    grid = np.array([[value, 128, 128] for value in lightness], np.uint8).tobytes()
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"mft1" + struct.pack(">4x4B", 4, 3, 2, 0) + matrix + identity * 4 + grid + identity * 3
    return _assemble({b"A2B0": table, b"A2B1": table}, b"prtr", b"CMYK", b"Lab ")
