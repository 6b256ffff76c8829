"""Perennial keeps ML models fresh: the library behind the stages. It does not depend on Airflow."""
