"""What a person looks at, as typed objects: made from the store alone, so that pages and commands say the same. Light.

>>> import tempfile
>>> from perennial.store import open_store
>>> from perennial.views.models import models
>>> {row.name: row.state for row in models(open_store(tempfile.mkdtemp())).rows}["flight_delays"]
'nothing trained'
"""
