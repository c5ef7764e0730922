"""What a run looks like from outside: a Grafana dashboard (dubline.json) and Prometheus alert rules (alerts.yaml)."""
