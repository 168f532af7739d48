"""Data sets in the formats of others, written and read: Minari, and npz or hdf5 files with the keys of D4RL."""
