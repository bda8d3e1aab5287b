"""The `ciris-mesh` command: parse, call, render."""
