"""Answers: pure functions of the records there are, this node's trust, and an instant."""
