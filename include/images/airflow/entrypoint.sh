#!/bin/sh
# Arguments are Airflow's (`scheduler`), or a whole command where they begin with a program: Airflow's own chart passes both kinds.
# By an option of its Airflow is told of our DAG files, whose specs are watched, and of those of PERENNIAL_PROJECT.
if [ -z "${AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST:-}" ]; then
    AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST=$(python -m perennial.projects)
    export AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST
fi
case "${1:-}" in
    airflow | bash | sh | python | python3) exec "$@" ;;
    *) exec airflow "$@" ;;
esac
