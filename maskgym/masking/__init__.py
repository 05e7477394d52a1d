"""Pure tensor functions: patches, selection, schedules, batched k-means."""
