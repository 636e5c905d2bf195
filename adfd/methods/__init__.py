"""The methods of the paper and its baselines, one file each.

A method is a pure function `(networks, anchors, draws, *, settings, on_step) -> Iterator[Sample]` of frozen networks,
N anchors and the outputs to make of them with their random latents; it yields samples as they finish.
"""
