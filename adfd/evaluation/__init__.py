"""Measurements on runs and on pictures made by other programs, with confidence intervals.

May import runs and what lies below it.
"""
