"""From records to ranked tables: rows, references, comparisons, verdicts, and the words for them."""
