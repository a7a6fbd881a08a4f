"""What answers before TensorFlow is imported."""
