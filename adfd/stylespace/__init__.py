"""StyleSpace: the layout of the code `s`, statistics of its channels, and the channel weights computed from them.

May import basics.
"""
