"""Reports: pages that stages write below the store's `reports/`, how they are shown safely, and what an index notes of them. Light."""
