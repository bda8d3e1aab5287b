"""Links between nodes: Reticulum, and a loopback with the same guarantees."""
