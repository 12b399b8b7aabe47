"""The ways for a step to travel, one module each."""
