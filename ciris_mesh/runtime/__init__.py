"""Threads, time and wiring: what turns directory, protocol and transport into a node."""
