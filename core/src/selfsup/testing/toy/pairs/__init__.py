"""A modality whose rows join two sequences, to test what the core does with rows of several parts.

The parts are called ``first`` and ``second``, and each is of the modality ``sequence`` of :mod:`selfsup.testing.toy.sequences`,
whose plugin registers this one, too. A fifth of the mock rows lack one of them.
"""
