"""Periodic evaluation during training and the best model."""
