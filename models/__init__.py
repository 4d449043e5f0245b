"""Recipes and the backends that train them."""
