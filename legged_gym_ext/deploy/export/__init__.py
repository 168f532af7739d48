"""From a run to files that a robot or another simulator runs."""
