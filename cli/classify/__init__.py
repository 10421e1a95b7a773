"""`classification-server classify`: photos in, a table and a contact sheet out."""
