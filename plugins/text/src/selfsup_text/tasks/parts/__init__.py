"""What several text tasks share: masks over tokens, spans, a decoder, and the ids of special tokens."""
