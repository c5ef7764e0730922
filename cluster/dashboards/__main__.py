"""`python -m cluster.dashboards > cluster/dashboards/dubline.json` makes the dashboard anew."""

import sys

from cluster.dashboards.dashboard import as_json

if __name__ == "__main__":
    sys.stdout.write(as_json())
