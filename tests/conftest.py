"""What holds for all tests."""

import hypothesis

# How long an example takes says more of the machine than of the code: no test is timed.
hypothesis.settings.register_profile("perennial", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("perennial")
