"""Where images come from: phantoms, official data-set layouts, splits, cache."""
