"""What a terminal shows: pure functions from values to rich renderables."""
