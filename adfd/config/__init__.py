"""Configuration to objects: the typed schema of every stage, one builder for each, and Hydra's callback for sweeps.

May import everything but the stages.
"""
