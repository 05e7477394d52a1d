"""The networks that fill hidden patches in, and how they are saved and loaded."""
