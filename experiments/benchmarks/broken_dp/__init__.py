"""Deliberately broken DP-SGD trainers, and what the audit says of each."""
