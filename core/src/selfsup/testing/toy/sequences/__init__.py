"""A modality in one small package, to test the core without images and to show plugin authors what a plugin is made of.

``plugin.py`` is the entry module; each object that its specs name is in a file of its own. A row has one column, ``sequence``:
a list of ids (a text of a toy language), or a list of frames (lists of numbers, as a sensor gives them). So both kinds of token
target are here, and ids come ragged, so that padding is met everywhere.
"""
