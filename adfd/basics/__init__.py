"""What all else stands on: errors, files, seeds, progress, batches. Knows nothing of faces, imports nothing of adfd."""
