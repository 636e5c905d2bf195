"""The methods of the paper and its baselines, one file each.

A method is a pure function `(networks, anchors, draws, *, settings, on_step) -> Iterator[Sample]`. It takes frozen
networks, N anchors, and draws that name the outputs to make from each anchor with their random latents. It yields each
sample when it is finished.
"""
