"""What ECharts is told to draw for each view."""
