"""The dub as 16 kHz mono samples and the features a generator hears."""
