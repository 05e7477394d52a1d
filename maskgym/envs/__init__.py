"""The faces of the game: Env, VectorEnv, PettingZoo, Stable-Baselines3."""
