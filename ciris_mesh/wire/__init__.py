"""CRPL frames: messages to bytes and back. Pure: no I/O, clock or threads."""
