"""What a run does and leaves behind: the loop over people and ages, the run directory, sheets, films, trackers.

May import methods, analysis, faces and what lies below them.
"""
