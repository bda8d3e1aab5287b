"""`python -m ciris_mesh` is the `ciris-mesh` command."""

from __future__ import annotations

from ciris_mesh.cli.main import main

if __name__ == "__main__":
    main()
