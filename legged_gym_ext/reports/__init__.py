"""Reports of runs: what was logged and measured, drawn and put on one page."""
