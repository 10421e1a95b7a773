"""Measurements that anyone can run; docs/decisions.md and docs/performance.md quote them."""
