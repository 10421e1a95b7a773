"""Code that gateway, worker and webhook sender share. It imports neither Flask nor TensorFlow."""
