"""Defences: one file each, formal or heuristic, said in the class."""
