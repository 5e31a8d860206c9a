"""One module per measured system; each prints one JSON object and knows nothing of the others."""
