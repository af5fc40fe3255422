"""Processes of a node that are no part of the Ray cluster: how they find the node's endpoint, and read through it."""
