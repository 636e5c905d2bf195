"""Photos and people: a picture is found, aligned, inverted into latents and kept for later runs.

May import models and what lies below them.
"""
