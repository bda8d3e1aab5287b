"""The record store: one interface, in memory and on SQLite, and the one way in, `admit`."""
