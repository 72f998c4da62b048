"""Benchmarks that asv compares between versions."""
