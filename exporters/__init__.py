"""From a torch adaptation to a bundle: training graph, inference graph, weights, state, manifest.

Only the workstation imports this room; what it writes runs on the device by `edge_adapt.runtime` alone.
"""
