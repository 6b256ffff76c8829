#!/bin/bash
# Run once by PostgreSQL's image, on an empty data folder: a database and a user for Airflow, and for MLflow.
set -euo pipefail
for name in airflow mlflow; do
    variable="${name^^}_DATABASE_PASSWORD"
    psql --username postgres --quiet --set ON_ERROR_STOP=1 --set name="$name" --set password="${!variable}" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name" ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
