"""Brokers and backends that need no server, found through the same hooks as any plugin.

Rule of this room: what lives here sees contracts and model only, like an adapter of a stranger.
"""
