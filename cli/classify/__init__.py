"""`classification-server classify`: classifies a folder of photos into a table and a contact sheet."""
