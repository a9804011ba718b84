"""`make prove`: what shows that the contracts do what their documents say, beyond `make test`."""
