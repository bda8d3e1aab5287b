"""What answers over HTTP: optional, off by default, on this machine unless told otherwise."""
