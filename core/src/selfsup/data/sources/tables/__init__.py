"""Table files: csv, json, parquet, arrow, workbooks, text."""
