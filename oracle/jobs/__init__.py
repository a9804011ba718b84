"""Programs a provider runs for a buyer, one a template. Each is `python -m oracle.jobs.<name> <workdir>`.

A program reads `params.json` (what the buyer asked for) and `settings.json` (what the provider's catalogue
fixes) in its work directory and leaves `output.bin` and `usage.json` there. It needs nothing else: no
network, no other file.
"""
