"""Compiled kernels: arrays in, integers out."""
