"""How Airflow starts and watches stages: everything that imports Airflow and is no DAG."""
