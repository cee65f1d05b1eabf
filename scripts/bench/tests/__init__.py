"""Tests of what the benchmark makes of its measurements. They measure nothing."""
