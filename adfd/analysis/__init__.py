"""The channel analyses: pure functions of networks and settings that return `Channels`."""
