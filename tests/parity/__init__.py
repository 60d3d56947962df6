"""Do our networks compute what the originals do? `python -m tests.parity DIR`, see `__main__.py`."""
