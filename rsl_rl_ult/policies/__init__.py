"""What acts outside of training, and its exportable forms."""
