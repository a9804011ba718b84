"""A whole Scrip on this machine, and the story that `scrip demo` and `make demo` tell on it."""
