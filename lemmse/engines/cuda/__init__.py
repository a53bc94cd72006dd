"""The engines compiled for GPUs."""
