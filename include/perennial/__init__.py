"""Perennial keeps models fresh: the library behind the stages. Knows no Airflow."""
