"""Training a generator for a domain of one's own: StyleGAN2 with adaptive augmentation."""

from padinv.gan.augmentation import AdaptiveAugmentation
from padinv.gan.module import StyleGAN2Module
from padinv.gan.projected import ProjectedDiscriminator

__all__ = ["AdaptiveAugmentation", "ProjectedDiscriminator", "StyleGAN2Module"]
