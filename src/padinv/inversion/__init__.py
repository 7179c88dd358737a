"""Photographs to codes and back."""

from padinv.inversion.alignment import FFHQ, PORTRAIT, Crop, Recipe, centre_square, face_square, warp
from padinv.inversion.detectors import MtcnnDetector, find_detector
from padinv.inversion.inversion import Inversion
from padinv.inversion.inverter import Inverter
from padinv.inversion.landmarks import FaceDetector, choose_faces, find_landmarks, given_landmarks, load_landmarks
from padinv.inversion.latents import read_latents
from padinv.inversion.paste import paste_back, paste_into
from padinv.inversion.photographs import read_photographs
from padinv.inversion.refinement import refine

__all__ = [
    "FFHQ",
    "PORTRAIT",
    "Crop",
    "FaceDetector",
    "Inversion",
    "Inverter",
    "MtcnnDetector",
    "Recipe",
    "centre_square",
    "choose_faces",
    "face_square",
    "find_detector",
    "find_landmarks",
    "given_landmarks",
    "load_landmarks",
    "paste_back",
    "paste_into",
    "read_latents",
    "read_photographs",
    "refine",
    "warp",
]
