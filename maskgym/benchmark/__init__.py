"""Measuring: points, par, statistics, speed."""
