"""Reinforcement learning that decides what to hide in masked image modelling of medical images."""

__version__ = "0.1.0"
