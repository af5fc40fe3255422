"""The cache as a filesystem: fsspec's (`fsspec*.py`) and pyarrow's (`pyarrow.py`)."""
