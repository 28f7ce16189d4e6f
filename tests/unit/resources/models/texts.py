"""Texts that tests of embedders share."""

TEXTS = ["Thank you so much for the soup.", "No.", "", "This is a disgrace, and I am furious about all of it."]
