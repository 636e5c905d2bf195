"""Photos and people: find photos, align faces, invert them into latents, cache both for later runs.

May import models and what lies below them.
"""
