"""What the chapters of the book measure: networks held against the formula, the truth and controls."""
