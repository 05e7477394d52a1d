"""The report of a study: read its files, say what they come to, write one HTML page and Markdown beside it."""
