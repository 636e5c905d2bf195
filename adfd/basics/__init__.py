"""Foundations: errors, files, seeds, progress bars, batches. Imports nothing of adfd and knows nothing of faces."""
