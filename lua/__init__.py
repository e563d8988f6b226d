"""The scripts: one verb a file, each behind the shared prelude. engine/scripts.py reads them."""
