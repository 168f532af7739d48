"""Thin translations for hosts that do not speak the runner protocol of rsl-rl-lib 5, and what tells hosts apart."""
