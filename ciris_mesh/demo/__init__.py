"""Several real nodes on one machine, converging while the terminal shows it."""
