"""How a method is trained: an objective, a sampler, an optimiser and hooks, one file for each, and the loop over them.

What is chosen (`strategies`) works without torch, so that training can be counted; the loop (`trainer`) needs it.
"""
