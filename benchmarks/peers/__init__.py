"""One model behind several servers, measured side by side."""
