"""Decisions about time: pure, without I/O and without a clock of their own."""
