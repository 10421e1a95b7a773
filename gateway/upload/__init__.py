"""Reads and checks uploads: the multipart form, its fields and images, their sizes and their speed."""
