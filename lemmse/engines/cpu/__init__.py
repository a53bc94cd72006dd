"""The engines compiled for CPUs."""
