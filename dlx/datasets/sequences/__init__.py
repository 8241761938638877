"""Sequences: text, tagged sentences, music, time series, images read pixel by pixel."""
