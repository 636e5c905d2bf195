"""A run: the loop over ages and people, the run directory, contact sheets, animations, trackers.

May import methods, analysis, faces and what lies below them.
"""
