"""The trainer of every learner: rollouts, updates, workers over shared weights, checkpoints, metrics."""
