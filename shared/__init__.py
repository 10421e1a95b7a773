"""Code that gateway, worker and webhook sender share. The package imports neither Flask nor TensorFlow."""
