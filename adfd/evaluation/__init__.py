"""What is measured on runs, and on other programs' pictures, and with which certainty.

May import runs and what lies below it.
"""
