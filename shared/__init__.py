"""Code that gateway, worker and webhook sender share. This code imports neither Flask nor TensorFlow."""
