"""Training PadInv: the LightningModule, and callbacks that count in images."""

from padinv.training.distributed import SyncBatchNorm
from padinv.training.last_checkpoint import LastCheckpoint
from padinv.training.module import PadInvModule
from padinv.training.pictures import ReconstructionPictures
from padinv.training.progress import ImageProgressBar
from padinv.training.report import RunReport
from padinv.training.schedule import ImageSchedule
from padinv.training.stopping import StopAtSignals

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
