"""From photographs to codes and back: an encoder and the generator that it was trained for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from inspect import signature
from typing import TYPE_CHECKING, Any, TypedDict, get_args

import torch
from torch import Tensor, nn

from padinv.batches import check_images, check_values
from padinv.checkpoints import fingerprint, load_pair
from padinv.codes import InversionCode
from padinv.cpu import keep_freed_memory
from padinv.exceptions import ConfigError, DataError
from padinv.images import to_tensor
from padinv.inversion.alignment import PORTRAIT, Crop, Recipe, centre_square, face_square
from padinv.inversion.backends import Backend, TorchPair, check_networks, find_device, prepare
from padinv.inversion.detectors import find_detector, name_of
from padinv.inversion.inversion import Inversion, read_inversion
from padinv.inversion.landmarks import Detector, Faces, Points, choose_faces, find_landmarks, given_landmarks
from padinv.inversion.photographs import Photographs, open_photographs, size_of, take_square
from padinv.inversion.refinement import refine as refine_codes
from padinv.networks import Generator
from padinv.typing import PathLike, Precision

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from padinv.export import ExportedPair

HALF = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}


class InverterOptions(TypedDict, total=False):
    """The options of an :class:`Inverter`, which says what they are."""

    device: torch.device | str | None
    batch_size: int
    recipe: Recipe
    detector: Detector | None
    backend: Backend
    exported: PathLike | None
    keep_memory: bool
    compile: bool
    precision: Precision


class Inverter:
    """Inverts photographs: finds the code from which the generator makes them again.

    On a CPU it changes the process for good, unless ``keep_memory=False``: the C library then keeps freed memory for
    the next network, which is 1.3 to 1.8 times as fast (:func:`padinv.cpu.keep_freed_memory`).

    It works on copies of the networks, ``encoder`` and ``generator`` on its ``device``, in evaluation mode and without
    gradients. Results depend on what else is in a batch only by rounding: in float32, codes and images differ by less
    than 1e-5 of their largest value, an 8-bit pixel now and then by 1. With ``batch_size=1`` they are the same bit for
    bit.

    Args:
        encoder: a :class:`~padinv.PadInvEncoder`, or any module with a ``resolution`` that maps images (B, 3, R, R) in
            [-1, 1] to an :class:`~padinv.InversionCode`.
        generator: the one that it was trained for.
        device: where to compute; if not given a CUDA device if there is one, else the CPU.
        batch_size: images that go through the networks at once.
        recipe: how faces are cropped with ``align=True``: as the generator's training images were.
        detector: finds the faces for ``align=True``; :func:`~padinv.inversion.find_detector` if not given, when it is
            first needed.
        backend: what runs the networks; refinement, which needs gradients, is always torch's. "onnxruntime" exports
            them first (:class:`padinv.export.ExportedPair`), which takes a while.
        exported: folder that keeps those files for the next time; one in padinv's cache if not given.
        keep_memory: whether this process keeps the memory that it frees, as said above.
        compile: whether to compile the networks with ``torch.compile``, which takes a minute or two at the first batch
            of each size, and a compiler. Refinement is not compiled.
        precision: "32"; or "bf16" or "16" for half precision, which is faster where the device has it.

    Raises:
        ConfigError: if encoder and generator do not fit each other, ``batch_size`` is not positive, or there is no
            such device, backend or precision.
        CheckpointError: if ``exported`` has files of other networks, or that cannot be read or written.
        MissingPackageError: if the backend needs a package that is missing.

    >>> from padinv import PadInvEncoder
    >>> generator = Generator(32, z_dim=8, w_dim=8, mapping_layers=1, channels={4: 8, 8: 8, 16: 4, 32: 4})
    >>> encoder = PadInvEncoder(generator.code_shape, resolution=32, depth=18, width=2)
    >>> inversion = Inverter(encoder, generator).invert(torch.zeros(3, 40, 30))
    >>> inversion.images.shape, inversion.crop[0].quad[0]  # the square begins (40 - 30) / 2 px below the upper edge
    (torch.Size([1, 3, 32, 32]), (0.0, 5.0))
    """

    def __init__(
        self,
        encoder: nn.Module,
        generator: Generator,
        *,
        device: torch.device | str | None = None,
        batch_size: int = 16,
        recipe: Recipe = PORTRAIT,
        detector: Detector | None = None,
        backend: Backend = "torch",
        exported: PathLike | None = None,
        keep_memory: bool = True,
        compile: bool = False,
        precision: Precision = "32",
    ) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigError(f"batch_size must be 1 or more, not {batch_size!r}.")
        check_networks(encoder, generator)
        if backend not in (backends := get_args(Backend)):
            raise ConfigError(f"backend must be one of {', '.join(backends)}, not {backend!r}.")
        if precision not in HALF or (precision != "32" and backend != "torch"):
            raise ConfigError(
                f"precision must be one of {', '.join(HALF)}, and 32 unless the backend is torch, not {precision!r}."
            )
        self.device = find_device(device)
        self.encoder = prepare(encoder, self.device)
        self.generator = prepare(generator, self.device)
        self.batch_size = batch_size
        self.recipe = recipe
        self._detector = detector
        self._half = HALF[precision]
        if keep_memory and self.device.type == "cpu":
            keep_freed_memory()
        self._pair: TorchPair | ExportedPair
        if backend == "torch":
            self._pair = TorchPair(self.encoder, self.generator, self._half, compile)
        else:
            from padinv.export import ExportedPair  # torch.export takes half a second to import

            self._pair = ExportedPair(self.encoder, self.generator, exported, self.device)

    @classmethod
    def from_pretrained(
        cls,
        source: PathLike,
        generator: PathLike | Generator | None = None,
        sha256: str | None = None,
        **options: Unpack[InverterOptions],
    ) -> Self:
        """Loads an encoder and its generator.

        Args:
            source: the name of a bundled model ("congress64"); a folder with ``generator.safetensors`` and
                ``encoder.safetensors``; or whatever :func:`padinv.load_encoder` reads, such as the checkpoint of a
                ``padinv fit`` run.
            generator: the generator, or where to load it from. Needed with a file of an encoder alone, unless it was
                trained for a bundled generator, and says so.
            sha256: what the SHA-256 of ``source`` must be, hexadecimal; ``https://`` does not do without.
            **options: those of the class.

        Raises:
            CheckpointError: if one of them cannot be read, no generator is found, or the encoder was trained for
                another one.
            WeightsNotFoundError: if a file cannot be fetched.
            ConfigError: if encoder and generator do not fit each other.
        """
        signature(cls).bind(None, None, **options)  # an unknown option is an error before networks are read,
        options["device"] = find_device(options.get("device"))  # and so is a device
        return cls(*load_pair(source, generator, sha256), **options)

    def __repr__(self) -> str:
        sides = f"{type(self.encoder).__name__} {self.resolution} px, Generator {self.generator.resolution} px"
        numbers = "float32" if self._half is None else str(self._half).removeprefix("torch.")
        backend = "torch" if isinstance(self._pair, TorchPair) else "onnxruntime"
        return f"Inverter({sides}, {numbers} on {self.device} by {backend}, batch_size={self.batch_size})"

    @cached_property
    def fingerprint(self) -> str:
        """Names the generator (:func:`padinv.checkpoints.fingerprint`)."""
        return fingerprint(self.generator)

    @property
    def resolution(self) -> int:
        """The side of the images that the encoder reads, in pixels."""
        resolution: int = self.encoder.resolution  # type: ignore[assignment]  # check_networks has seen to it
        return resolution

    def invert(
        self,
        images: Photographs,
        *,
        align: bool = False,
        landmarks: PathLike | Mapping[str, Points] | Points | None = None,
        faces: Faces = "largest",
        refine: int = 0,
        refine_features: Sequence[int] | None = None,
        progress: bool = False,
        on_step: Callable[[int, Tensor], None] | None = None,
        names: Sequence[str] | None = None,
    ) -> Inversion:
        """Inverts photographs of any size.

        Args:
            images: a path, a Pillow image, an array (H, W[, C]), a tensor (3, H, W) or (B, 3, H, W) in [-1, 1]; a
                folder, zip file, pattern, or bundled data set, as for the commands; or a list of these
                (:func:`~padinv.inversion.read_photographs`).
            align: whether to turn and crop to the face; otherwise the largest square in the middle is taken.
            landmarks: five points of each face, for ``align``: a JSON file, a mapping from names, or the points
                themselves (:func:`~padinv.inversion.given_landmarks`). If not given, they are detected.
            faces: which of several faces, for ``align``: "largest", "all", or a number.
            refine: steps of optimization, starting from the encoder's code (:func:`~padinv.inversion.refine`).
            refine_features: resolutions whose features are optimized, too; those that the encoder predicts if not
                given, an empty list for none.
            progress: whether to show a progress bar.
            on_step: called after each step of refinement of each batch, as :func:`~padinv.inversion.refine` does.
            names: of the photographs, for landmarks, messages and the inversion; if not given as
                :func:`~padinv.inversion.read_photographs` names them.

        Returns:
            The inversion of all squares, in the order of the photographs, on the device of the networks.

        Raises:
            DataError: if a photograph cannot be read, has no face or no landmarks, or the networks give NaN or infinite
                numbers for it; it is named.
            ConfigError: if ``landmarks`` or ``faces`` are given without ``align``, ``refine`` is negative, or there is
                not one name for each photograph.
        """
        if not isinstance(refine, int) or refine < 0:
            raise ConfigError(f"refine is a number of steps, 0 for none, not {refine!r}.")
        if refine_features is not None and refine == 0:
            raise ConfigError("refine_features is for refining: set refine to a number of steps, or leave it out.")
        if not align and (landmarks is not None or faces != "largest"):
            raise ConfigError("landmarks and faces are for aligning: set align=True, or leave them out.")
        given = [one for one in (images if isinstance(images, list | tuple) else [images]) if isinstance(one, Tensor)]
        all_names, photographs = open_photographs(images, names)
        known = None if landmarks is None else given_landmarks(landmarks, all_names, faces)
        resolutions = {self.resolution, self.generator.resolution}
        places: list[Crop] = []
        called: list[str] = []
        squares: list[dict[int, Tensor]] = []
        for i, (name, photograph) in enumerate(zip(all_names, photographs, strict=True)):
            if align:  # one at a time: 12 megapixels take 36 MB, and 144 MB in floating-point numbers
                photograph = photograph if isinstance(photograph, Tensor) else to_tensor(photograph)
                crops = self._find_squares(photograph, faces, name, None if known is None else known[i])
            else:
                crops = [centre_square(size_of(photograph))]
            for crop in crops:
                places.append(crop)
                called.append(name)
                squares.append({r: take_square(photograph, crop, r, align) for r in resolutions})
        check_values(given, "The tensors")

        codes: list[InversionCode] = []
        targets: list[Tensor] = []
        with _Bar(len(places), refine, progress, on_step) as bar:
            for start in range(0, len(places), self.batch_size):
                batch = slice(start, start + self.batch_size)
                stacks = {r: torch.stack([square[r].to(self.device) for square in squares[batch]]) for r in resolutions}
                targets.append(stacks[self.generator.resolution])
                code = self._encode_all(stacks[self.resolution])
                self._check_finite(code.is_finite(), called[batch])
                with self._precision():
                    refined = refine_codes(
                        code, self.generator, targets[-1], refine, features=refine_features, on_step=bar.step
                    )
                codes.append(refined)
                bar.finish(start + len(code))
        code = InversionCode.cat(codes)
        return Inversion(
            code,
            self._reconstruct(code, called),
            tuple(places),
            tuple(called),
            self.fingerprint,
            align,
            torch.cat(targets).detach(),
            name_of(self._detector) if align and known is None and self._detector is not None else None,
        )

    def _find_squares(self, photograph: Tensor, faces: Faces, name: str, landmarks: Tensor | None) -> list[Crop]:
        """Finds the squares of the faces in a photograph (3, H, W), by their landmarks (N, 5, 2) if these are known."""
        if landmarks is None:
            self._detector = self._detector or find_detector()
            landmarks = choose_faces(find_landmarks(photograph, self._detector, name), faces, name)
        try:
            return [face_square(face, size_of(photograph), self.recipe) for face in landmarks]
        except DataError as error:
            raise DataError(f"{name}: {error}") from error

    def encode(self, images: Tensor) -> InversionCode:
        """Encodes images (B, 3, R, R) in [-1, 1] of the encoder's resolution R.

        Raises:
            DataError: if the images are something else, or a code of theirs has numbers that are not finite.
            ConfigError: if they are of another resolution.
        """
        check_images(images)
        code = self._encode_all(images)
        self._check_finite(code.is_finite(), [f"image-{i}" for i in range(len(code))])
        return code

    def _encode_all(self, images: Tensor) -> InversionCode:
        with torch.inference_mode(), self._precision():
            images = images.to(self.device, torch.float32).contiguous(memory_format=torch.channels_last)
            parts = torch.split(images, self.batch_size)
            codes = [self._pair.encode(part) for part in parts]
        # Concatenated outside of inference mode they are normal tensors, from which gradients can be taken.
        return InversionCode.cat(codes).to(torch.float32)

    def reconstruct(self, code: InversionCode) -> Tensor:
        """Generates the images (B, 3, H, W) of codes on this device, in [-1, 1] except where they overshoot.

        Raises:
            ConfigError: if the codes are not for this generator.
            DataError: if an image has numbers that are not finite.
        """
        return self._reconstruct(code, [f"image-{i}" for i in range(len(code))])

    def _reconstruct(self, code: InversionCode, names: Sequence[str]) -> Tensor:
        with torch.inference_mode(), self._precision():
            # Clones, because products of matrices depend on where in memory they begin in the last bit.
            parts = [code[i : i + self.batch_size].clone() for i in range(0, len(code), self.batch_size)]
            images = [self._pair.synthesize(*part.parts) for part in parts]
        joined = torch.cat(images).float()
        self._check_finite(joined.isfinite().flatten(1).all(dim=1), names)
        return joined

    def _check_finite(self, finite: Tensor, names: Sequence[str]) -> None:
        """Raises DataError naming those photographs whose code or image is not finite."""
        bad = [name for name, is_finite in zip(names, finite.tolist(), strict=True) if not is_finite]
        if bad:
            cause = "weights and edits" if self._half is None else "weights, edits, and precision, which 32 rules out"
            raise DataError(
                f"{', '.join(dict.fromkeys(bad))}: the networks give NaN or infinite numbers for it; check {cause}."
            )

    def load(self, path: PathLike) -> Inversion:
        """Does what :meth:`Inversion.load` does for this generator, whose fingerprint is taken only once.

        Raises:
            CheckpointError: as :meth:`Inversion.load` does.
        """
        return read_inversion(path, self.generator, self.fingerprint)

    def _precision(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._half is None else torch.autocast(self.device.type, self._half)


class _Bar:
    """A progress bar in images, or in steps of refinement if there are any; nothing unless it is to be shown."""

    def __init__(self, images: int, refine: int, show: bool, on_step: Callable[[int, Tensor], None] | None) -> None:
        self.unit = refine or 1
        self.on_step = on_step
        self.bar: Any = None
        if show:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=images * self.unit, unit="step" if refine else "image")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def step(self, number: int, lowest: Tensor) -> None:
        """Counts a step of refinement of every image of a batch."""
        if self.on_step is not None:
            self.on_step(number, lowest)
        if self.bar is not None:
            self.bar.update(len(lowest))
            self.bar.set_postfix(loss=f"{lowest.mean():.4f}")

    def finish(self, images: int) -> None:
        """Counts images as done, even if they did not need all their steps."""
        if self.bar is not None:
            self.bar.update(images * self.unit - self.bar.n)
