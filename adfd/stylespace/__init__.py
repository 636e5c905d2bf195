"""The code `s` of a face: its layout, what is known of its channels, and how that becomes channel weights.

May import basics.
"""
