"""The indexes, by size, and the only room that imports faiss.

exact.py compares every row; projection.py and inverted.py hold the approximate index of larger collections, training.py
makes one and measures it.
"""
