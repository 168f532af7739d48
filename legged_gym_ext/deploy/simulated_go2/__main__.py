"""`python -m legged_gym_ext.deploy.simulated_go2`."""

from legged_gym_ext.deploy.simulated_go2.program import main
from legged_gym_ext.utils.errors import run_main

if __name__ == "__main__":
    run_main(main)
