"""Masked pre-training under any agent: student, teacher, losses, the loop, and the papers as recipes."""
