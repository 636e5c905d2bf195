"""What people look at: tables, figures and pages of evaluations and of channel analyses.

May import evaluation and what lies below it.
"""
