"""What a study came to, as a page to open and as Markdown."""
