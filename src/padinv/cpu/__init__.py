"""What makes CPUs fast: algorithms for convolutions, weights that are prepared once, memory, fused optimizers.

All of it is here, and no other module knows how it is done. ``padinv.ops`` asks :func:`conv3x3` and
:func:`transposed_conv3x3` for its convolutions. A layer says what can be prepared (:class:`FrozenWeight`, ``folded``)
or computed again (:class:`Recomputable`); :func:`fold` and :func:`recompute_activations` ask for it. On other devices
all of this calls torch's own functions.
"""

from padinv.cpu.doubling import split_taps, transposed_conv3x3
from padinv.cpu.folding import FrozenWeight, fold
from padinv.cpu.memory import fuse_on_cpus, keep_freed_memory, set_apart
from padinv.cpu.recomputation import Recomputable, buffers_kept, recompute_activations
from padinv.cpu.winograd import conv3x3, transform_weight

__all__ = [
    "FrozenWeight",
    "Recomputable",
    "buffers_kept",
    "conv3x3",
    "fold",
    "fuse_on_cpus",
    "keep_freed_memory",
    "recompute_activations",
    "set_apart",
    "split_taps",
    "transform_weight",
    "transposed_conv3x3",
]
