"""The scripts: one verb a file, behind the parts that its header names. engine/scripts.py reads them."""
