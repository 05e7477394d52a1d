"""The page to play on: `maskgym view` serves it on this machine alone."""
