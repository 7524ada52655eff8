"""How the parts are started: on this machine, and from images."""
