"""Tables, figures and pages of evaluations and channel analyses.

May import evaluation and what lies below it.
"""
