"""What the stages add to the Airflow web UI."""
