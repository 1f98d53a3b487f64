"""The tests; the folders mirror the packages. Nothing imports them."""
