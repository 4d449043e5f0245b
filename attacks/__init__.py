"""Attacks: one file each; nothing here imports a defence or a model backend."""
