"""Cited figures the models are built on."""
