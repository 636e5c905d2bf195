"""The channel analyses: settings that, called with networks, a seed and shards, compute `Channels`.

Each has `verb` and `unit`, the labels of its progress bar, and `extends`, true where it adds to the statistics in the
networks' channels file. May import models and what lies below them.
"""
