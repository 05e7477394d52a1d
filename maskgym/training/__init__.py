"""Training agents: many workers over shared weights, folders that outlive a kill, figures to watch."""
