"""What happens to a shard; packages in the order the data goes through. Nothing here imports Ray."""

import os

# torch's threads sleep while they wait for each other. By default they spin, which is no faster alone and costs 48 %
# more CPU beside an encoder (measured with Wav2Lip: 127 against 86 core-ms a crop). OpenMP reads this when torch is
# loaded, whichever network does it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
