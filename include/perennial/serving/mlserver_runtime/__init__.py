"""MLServer's runtime of this project: versions that Seldon Core 2 puts on a server are answered by the same core as everywhere.

Runs in an environment of its own: `python -m perennial.serving.mlserver_runtime --models FOLDER`.
"""
