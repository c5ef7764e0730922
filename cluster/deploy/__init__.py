"""Files that put dubline onto machines: KubeRay, Kubernetes, systemd, Ray's cluster launcher, the image."""
