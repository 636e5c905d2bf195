"""The channel analyses: callable settings, which compute `Channels` from networks and a seed.

May import models and what lies below them.
"""
