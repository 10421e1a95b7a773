"""`classification-server classify`: classifies a folder of photos; writes a table and a contact sheet."""
