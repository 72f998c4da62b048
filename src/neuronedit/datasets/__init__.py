"""Data to try things on: public sets with real held-out truth, and simulations whose truth is known."""

from ._bodenmiller import bodenmiller_4stim
from ._cytonorm import cytonorm_volunteers
from ._imubac import imubac_krieg
from ._simulate import simulate_batches, simulate_combination

__all__ = ["bodenmiller_4stim", "cytonorm_volunteers", "imubac_krieg", "simulate_batches", "simulate_combination"]
