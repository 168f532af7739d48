"""Tests of rsl_rl_ult.interchange."""
