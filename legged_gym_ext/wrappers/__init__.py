"""Views of the environment for different learning libraries."""
