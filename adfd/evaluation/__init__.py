"""Measurements on runs and on other programs' pictures, with confidence intervals.

May import runs and what lies below it.
"""
