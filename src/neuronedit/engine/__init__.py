"""Fit an edit, apply it a block of cells at a time, say in words what it did."""
