"""Metering: readings of what a job uses, taken at the edges of its lease and once a second in between."""
