"""Model weights: what there is by name, and the folder that holds it."""

from stages.weights.folder import Held, Weights
from stages.weights.registry import BUNDLES, REGISTRY, Weight, members

__all__ = ["BUNDLES", "REGISTRY", "Held", "Weight", "Weights", "members"]
