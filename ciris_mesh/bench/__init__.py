"""Measuring: how fast records travel and how a large store behaves, told as ratios of one run.

A ratio to a floor measured in the same minute on the same machine says something on a Pi and on a
server alike; seconds alone do not. Nothing here is used by a node.
"""
