"""Training PadInv: the LightningModule, and callbacks that count in images."""

from padinv.training.callbacks.last_checkpoint import LastCheckpoint
from padinv.training.callbacks.pictures import ReconstructionPictures
from padinv.training.callbacks.process import StopAtSignals
from padinv.training.callbacks.report import RunReport
from padinv.training.callbacks.schedule import ImageProgressBar, ImageSchedule
from padinv.training.distributed import SyncBatchNorm
from padinv.training.module import PadInvModule

__all__ = [
    "ImageProgressBar",
    "ImageSchedule",
    "LastCheckpoint",
    "PadInvModule",
    "ReconstructionPictures",
    "RunReport",
    "StopAtSignals",
    "SyncBatchNorm",
]
