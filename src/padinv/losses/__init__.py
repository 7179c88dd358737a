"""Losses, each a small class with plain options. Packages that one of them needs are imported when it is built."""

from padinv.losses.adversarial import AdversarialLoss, gradient_penalty
from padinv.losses.base import Frozen, ReconstructionLoss, WeightedSum
from padinv.losses.cycle import CycleConsistency, random_steps
from padinv.losses.discriminator_features import DiscriminatorFeatureLoss, feature_distance
from padinv.losses.identity import IdentityLoss, crop_face
from padinv.losses.perceptual import PerceptualLoss
from padinv.losses.pixel import FeatureRegularization, LatentRegularization, PixelLoss

__all__ = [
    "AdversarialLoss",
    "CycleConsistency",
    "DiscriminatorFeatureLoss",
    "FeatureRegularization",
    "Frozen",
    "IdentityLoss",
    "LatentRegularization",
    "PerceptualLoss",
    "PixelLoss",
    "ReconstructionLoss",
    "WeightedSum",
    "crop_face",
    "feature_distance",
    "gradient_penalty",
    "random_steps",
]
