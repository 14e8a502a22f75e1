"""Whole histories under faults, and the checker that judges them."""
