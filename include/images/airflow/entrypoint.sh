#!/bin/sh
# Arguments are Airflow's (`scheduler`), or a whole command where they begin with a program: Airflow's own chart passes both kinds.
# What PERENNIAL_PROJECT names has DAG files of its own, which Airflow must be told of by an option of its.
if [ -n "${PERENNIAL_PROJECT:-}" ] && [ -z "${AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST:-}" ]; then
    AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST=$(python -m perennial.projects)
    export AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST
fi
case "${1:-}" in
    airflow | bash | sh | python | python3) exec "$@" ;;
    *) exec airflow "$@" ;;
esac
