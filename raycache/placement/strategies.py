"""Wishes for a node, as Ray takes them."""

from __future__ import annotations

from typing import Any

from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def soft_affinity(node: str, *, spill: bool = True) -> NodeAffinitySchedulingStrategy:
    """Run on this node; elsewhere when it is busy or gone. Without `spill` it waits behind a busy node."""
    return NodeAffinitySchedulingStrategy(node, soft=True, _spill_on_unavailable=spill)


def label_wish(node: str) -> dict[str, Any]:
    """Ray options for a node, by labels: public API."""
    return {"label_selector": {"ray.io/node-id": node}, "fallback_strategy": [{"label_selector": {}}]}
