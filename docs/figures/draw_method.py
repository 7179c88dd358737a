"""Draws docs/figures/padding.png: where the padding goes, for a bundled portrait.

    python docs/figures/draw_method.py

The code is found by gradient descent from the mean latent, the learned constant and rings of zeros, so that the figure
needs no trained encoder. It takes about a minute on a CPU.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from kornia.color import ColorMap, apply_colormap
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from padinv import Generator, ImageDataModule, InversionCode, PaddingCode, load_generator
from padinv.losses import DiscriminatorFeatureLoss
from padinv.ops import pad_with_ring, ring_positions

RESOLUTIONS = (4, 8, 16, 32)
WIDTH, SIDE, INK, SOFT, RING = 1600, 272, "#222222", "#777777", "#c2410c"


def find_code(generator: Generator, image: Tensor, steps: int = 700) -> InversionCode:
    """Inverts an image (1, 3, H, W) by gradient descent on latents, constant and rings."""
    channels = generator.synthesis.channels
    rings = {r: torch.zeros(1, channels[r], ring_positions(r)) for r in RESOLUTIONS}
    padding = PaddingCode(generator.synthesis.const.clone(), rings)
    code = InversionCode(generator.broadcast(generator.w_avg[None]).clone(), padding).requires_grad_()
    optimizer = torch.optim.Adam(list(code.tensors()), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    perceptual = DiscriminatorFeatureLoss("congress64")
    for _ in range(steps):
        reconstruction = generator.synthesis(*code.parts)
        loss = F.mse_loss(reconstruction, image) + 0.2 * perceptual(reconstruction, image)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return code.detach()


def stages(generator: Generator, code: InversionCode) -> dict[int, dict[str, Tensor]]:
    """What the convolution with the ring sees: {R: {"x": …, "modulated": …, "padded": …, "y": …}}."""
    seen: dict[int, dict[str, Tensor]] = {}
    handles = []
    for r in RESOLUTIONS:

        def look(
            conv: torch.nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], y: Tensor, r: int = r
        ) -> None:
            x, w = args
            modulated = x * conv.get_submodule("style")(w)[:, :, None, None]
            seen[r] = {"x": x, "modulated": modulated, "padded": pad_with_ring(modulated, kwargs["ring"]), "y": y}

        handles.append(
            generator.get_submodule(f"synthesis.blocks.{r}.conv").register_forward_hook(look, with_kwargs=True)
        )
    generator.synthesis(*code.parts)
    for handle in handles:
        handle.remove()
    return seen


def heat(values: Tensor, ring: bool = False, side: int = SIDE) -> Image.Image:
    """The mean magnitude over channels of (1, C, H, W): grey, the outermost pixels in colour if they are a ring."""
    magnitude = values.abs().mean(dim=1, keepdim=True)

    def scaled(part: Tensor) -> Tensor:
        low, high = part.min(), part.max()
        return ((magnitude - low) / (high - low).clamp_min(1e-8)).clamp(0, 1)

    grey = (0.25 + 0.7 * scaled(magnitude[..., 1:-1, 1:-1] if ring else magnitude)).expand(1, 3, -1, -1).clone()
    if ring:
        outside = torch.ones_like(magnitude, dtype=torch.bool)
        outside[..., 1:-1, 1:-1] = False
        values_of_ring = scaled(magnitude[outside])
        colours = apply_colormap((255 * (0.25 + 0.7 * values_of_ring)).byte(), ColorMap("plasma", num_colors=256))
        grey = torch.where(outside, colours.float(), grey)
    cells = grey.shape[-1]
    cell = side // cells
    picture: Image.Image = to_pil_image(F.interpolate(grey[0][None], scale_factor=cell, mode="nearest")[0])
    lines = ImageDraw.Draw(picture)
    if cell > 8:
        for i in range(1, cells):
            lines.line([(i * cell, 0), (i * cell, picture.height)], fill="white")
            lines.line([(0, i * cell), (picture.width, i * cell)], fill="white")
    if ring:
        lines.rectangle([cell - 1, cell - 1, picture.width - cell, picture.height - cell], outline="white", width=3)
    return picture


class Sheet:
    """A white sheet with pictures, captions and arrows."""

    def __init__(self, height: int) -> None:
        self.image = Image.new("RGB", (WIDTH, height), "white")
        self.draw = ImageDraw.Draw(self.image)

    def text(self, x: float, y: float, words: str, size: int = 22, colour: str = INK, anchor: str = "mm") -> None:
        """Writes one line."""
        self.draw.text((x, y), words, fill=colour, font=ImageFont.load_default(size), anchor=anchor)

    def picture(self, picture: Image.Image, x: float, y: float) -> tuple[float, float]:
        """Puts a picture with its centre at (x, y); returns its left and right."""
        left, top = round(x - picture.width / 2), round(y - picture.height / 2)
        self.image.paste(picture, (left, top))
        return left, left + picture.width

    def arrow(self, start: float, end: float, y: float, above: str = "", below: str = "") -> None:
        """Draws an arrow to the right, with words above and below it."""
        self.draw.line([(start + 10, y), (end - 18, y)], fill=SOFT, width=3)
        self.draw.polygon([(end - 8, y), (end - 24, y - 8), (end - 24, y + 8)], fill=SOFT)
        self.text((start + end) / 2, y - 22, above)
        self.text((start + end) / 2, y + 22, below, colour=SOFT, size=18)


def photograph(image: Tensor, side: int) -> Image.Image:
    """An image (1, 3, H, W) in [-1, 1]."""
    picture: Image.Image = to_pil_image(image[0].clamp(-1, 1) / 2 + 0.5)
    return picture.resize((side, side), Image.Resampling.BICUBIC)


@torch.inference_mode()
def draw(generator: Generator, image: Tensor, code: InversionCode) -> Image.Image:
    """Draws the sheet: one layer in detail, the padded layers, what padding changes."""
    seen = stages(generator, code)
    sheet = Sheet(1270)

    sheet.text(40, 40, "1  One padded layer: the stride-1 convolution at 8 px", 28, anchor="lm")
    y, layer = 230, seen[8]
    steps = [
        (heat(layer["x"], side=216), "x", "features, 8 by 8"),
        (heat(layer["modulated"], side=216), "x · s", "modulated by the style"),
        (heat(layer["padded"], ring=True, side=270), "[x · s | r]", "with the ring r, 10 by 10"),
        (heat(layer["y"], side=216), "y", "8 by 8 again"),
    ]
    centres = (160, 540, 950, 1440)
    edges = []
    for (picture, name, caption), x in zip(steps, centres, strict=True):
        edges.append(sheet.picture(picture, x, y))
        sheet.text(x, y + 160, name, 24)
        sheet.text(x, y + 188, caption, 19, SOFT)
    arrows = [("modulate", ""), ("lay ring", "not styled"), ("3 by 3 conv, no zeros", "demodulate, noise, bias, act.")]
    for (above, below), (_, start), (end, _) in zip(arrows, edges[:-1], edges[1:], strict=True):
        sheet.arrow(start, end, y, above, below)

    sheet.text(
        40, 480, "2  Where rings are: the input of the stride-1 convolution of each padded resolution", 28, anchor="lm"
    )
    y, right = 665, 0.0
    for i, r in enumerate(RESOLUTIONS):
        left, new_right = sheet.picture(heat(seen[r]["padded"], ring=True), 210 + i * 393, y)
        if i:
            sheet.arrow(right, left, y, "up", "zeros")
        right = new_right
        sheet.text(210 + i * 393, y + 160, f"{r} px: ring of {ring_positions(r)} positions", 22, RING)
    sheet.text(
        WIDTH / 2,
        y + 196,
        "At 4 px the predicted constant replaces the learned one: 16 more positions. Upsampling convolutions "
        "keep zeros. Mean magnitude: ring in colour, features in grey.",
        19,
        SOFT,
    )

    sheet.text(40, 920, "3  What it changes", 28, anchor="lm")
    w_plus = generator.synthesis(code.w_plus)
    rows = [
        (image, "photograph"),
        (w_plus, "the code's W+ alone"),
        (generator.synthesis(*code.parts), "the code's W+ and padding"),
    ]
    for i, (picture_of, caption) in enumerate(rows):
        sheet.picture(photograph(picture_of, 256), 400 + i * 400, 1080)
        sheet.text(400 + i * 400, 1232, caption, 22)
    return sheet.image


if __name__ == "__main__":
    torch.manual_seed(0)
    generator = load_generator("congress64")
    data = ImageDataModule(val="congress64-val", resolution=64, batch_size=8, num_workers=0)
    image = next(iter(data.val_dataloader()))["image"][:1]
    path = Path(__file__).with_name("padding.png")
    draw(generator, image, find_code(generator, image)).save(path, optimize=True)
    print(path)
