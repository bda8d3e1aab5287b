"""A node in the browser: read only, loopback unless told otherwise, nothing from elsewhere."""
