"""The program that runs an exported policy on a Unitree Go2."""
