"""MuJoCo: model, ground, batched physics, drawing."""
