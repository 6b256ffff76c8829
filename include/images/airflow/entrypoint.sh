#!/bin/sh
# Arguments are Airflow's (`scheduler`), or a whole command where they begin with a program: Airflow's own chart passes both kinds.
case "${1:-}" in
    airflow | bash | sh | python | python3) exec "$@" ;;
    *) exec airflow "$@" ;;
esac
